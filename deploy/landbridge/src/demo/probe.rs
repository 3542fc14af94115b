//! How long a change takes to the other regions: registers in one, and listens to the events of the others.
//!
//! The time of a registration runs from before its request is sent until the line by which the far registry says that it
//! shows the service has been read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::call::Caller;

use super::news::{self, EVENTS_MAX, Event, SERVICE_CHANGED};

/// Between two registrations.
const PACE: Duration = Duration::from_millis(5);

/// The last registration must be everywhere within this.
const ARRIVE_WITHIN: Duration = Duration::from_secs(20);

/// A registry has so long to answer.
const ANSWER_MS: u64 = 5_000;

/// How long registrations took to one far region.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Propagation {
    /// In milliseconds, sorted; one for each registration that arrived.
    took_ms: Vec<f64>,
    /// Registrations that did not arrive in time.
    pub(super) missing: usize,
}

impl Propagation {
    fn of(mut took_ms: Vec<f64>, count: usize) -> Self {
        took_ms.sort_by(f64::total_cmp);
        let missing = count.saturating_sub(took_ms.len());
        Self { took_ms, missing }
    }

    /// The time within which this share of all arrived, in milliseconds.
    pub(super) fn percentile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.took_ms.len() as f64).ceil() as usize;
        self.took_ms.get(rank.saturating_sub(1)).copied()
    }
}

/// Registers `count` services in `near` whose names begin with `prefix`, waits until every one of `far` shows them, and
/// takes them away again; one result for each of `far`.
pub(super) async fn propagation(
    near: SocketAddr,
    far: &[SocketAddr],
    prefix: &str,
    count: usize,
) -> Result<Vec<Propagation>, String> {
    let mut ears: Vec<mpsc::Receiver<(Event, Instant)>> = Vec::new();
    for registry in far {
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(news::read(*registry, events));
        ears.push(heard);
    }
    let near = Caller::new(&near.to_string(), None, ANSWER_MS);
    ready(&near, &mut ears, prefix).await?;
    let mut arrivals = vec![BTreeMap::new(); far.len()];
    let mut sent = BTreeMap::new();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for place in 0..count {
        pace.tick().await;
        let service = format!("{prefix}-{place}");
        sent.insert(service.clone(), Instant::now());
        change(&near, Method::POST, &service).await?;
        for (ear, arrived) in ears.iter_mut().zip(&mut arrivals) {
            while let Ok(heard) = ear.try_recv() {
                note(arrived, &sent, heard);
            }
        }
    }
    let deadline = tokio::time::Instant::now() + ARRIVE_WITHIN;
    for (ear, arrived) in ears.iter_mut().zip(&mut arrivals) {
        while arrived.len() < count {
            let Ok(Some(heard)) = tokio::time::timeout_at(deadline, ear.recv()).await else { break };
            note(arrived, &sent, heard);
        }
    }
    for service in sent.keys() {
        change(&near, Method::DELETE, service).await?;
    }
    Ok(arrivals.into_iter().map(|arrived| Propagation::of(arrived.into_values().collect(), count)).collect())
}

/// Makes sure that every ear hears before anything is measured: registers one service until all have heard of it.
async fn ready(
    near: &Caller,
    ears: &mut [mpsc::Receiver<(Event, Instant)>],
    prefix: &str,
) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + ARRIVE_WITHIN;
    let mut deaf: BTreeSet<usize> = (0..ears.len()).collect();
    let mut attempt = 0;
    while !deaf.is_empty() {
        if tokio::time::Instant::now() > deadline {
            return Err(format!("{} far registries tell no events", deaf.len()));
        }
        let service = format!("{prefix}-ready-{attempt}");
        change(near, Method::POST, &service).await?;
        for (place, ear) in ears.iter_mut().enumerate() {
            let heard = tokio::time::timeout(Duration::from_secs(1), ear.recv()).await;
            if matches!(heard, Ok(Some(_))) {
                deaf.remove(&place);
            }
        }
        change(near, Method::DELETE, &service).await?;
        attempt += 1;
    }
    Ok(())
}

/// Notes the first time that a service is shown.
fn note(
    arrived: &mut BTreeMap<String, f64>,
    sent: &BTreeMap<String, Instant>,
    (event, at): (Event, Instant),
) {
    let Some(name) = event.service_name() else { return };
    let Some(since) = sent.get(name).filter(|_| event.event == SERVICE_CHANGED) else { return };
    arrived.entry(name.to_owned()).or_insert_with(|| at.duration_since(*since).as_secs_f64() * 1_000.0);
}

async fn change(near: &Caller, method: Method, service: &str) -> Result<(), String> {
    let path = format!("/nacos/v1/ns/instance?serviceName={service}&ip=10.0.0.1&port=8080&ephemeral=true");
    let (status, text) = near.text(method, &path).await.map_err(|error| error.to_string())?;
    if status.is_success() { Ok(()) } else { Err(format!("{service}: {status} {}", text.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_within_which_that_share_arrived() {
        let found = Propagation::of((1..=100).rev().map(f64::from).collect(), 102);

        assert_eq!(found.percentile(0.5), Some(50.0));
        assert_eq!(found.percentile(0.99), Some(99.0));
        assert_eq!(found.missing, 2);
        assert_eq!(Propagation::of(Vec::new(), 1).percentile(0.5), None);
    }

    #[test]
    fn only_the_first_showing_counts() {
        let now = Instant::now();
        let sent = BTreeMap::from([("probe-1".to_owned(), now)]);
        let shown = |ms| {
            let service = Some("public@@DEFAULT_GROUP@@probe-1".to_owned());
            let event =
                Event { event: SERVICE_CHANGED.to_owned(), origin: None, service, what: String::new() };
            (event, now + Duration::from_millis(ms))
        };
        let mut arrived = BTreeMap::new();

        note(&mut arrived, &sent, shown(8));
        note(&mut arrived, &sent, shown(20));

        assert_eq!(arrived["probe-1"].round(), 8.0);
    }
}
