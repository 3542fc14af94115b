//! What registries say happens, and its lines for people.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::call::Caller;
use crate::output::escaped;

use super::report::Talk;

/// Events of a registry that wait to be taken; when more come, the registry is read more slowly and says what it dropped.
pub(super) const EVENTS_MAX: usize = 4_096;

/// A registry must begin to answer within this.
const ANSWER_MS: u64 = 3_000;

/// A registry that is away is asked again after this.
const RETRY_AFTER: Duration = Duration::from_millis(300);

/// What happens within this time is told together.
const TOGETHER: Duration = Duration::from_secs(1);

/// So many things are remembered as told; when more come, all are forgotten and may be told again.
const TOLD_MAX: usize = 4_096;

/// More services than this that change together are counted, not listed.
const LISTED_MAX: usize = 4;

/// The event that a service's view differs.
pub(super) const SERVICE_CHANGED: &str = "service_changed";

/// One event.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    pub(super) event: String,
    pub(super) origin: Option<String>,
    pub(super) service: Option<String>,
    pub(super) what: String,
}

impl Event {
    /// The service's own name, without namespace and group.
    pub(super) fn service_name(&self) -> Option<&str> {
        self.service.as_deref().and_then(|key| key.rsplit("@@").next())
    }
}

/// Reads a registry's events from here on, until it goes away or nobody takes them; each with the time it was read.
pub(super) async fn read(registry: SocketAddr, events: mpsc::Sender<(Event, Instant)>) {
    let caller = Caller::new(&registry.to_string(), None, ANSWER_MS);
    let ended = caller.lines("/landbridge/v1/events", |line| {
        let at = Instant::now();
        match serde_json::from_str(line) {
            // Who does not keep up misses events; nobody waits for it.
            Ok(event) => events.try_send((event, at)).or(Ok(())),
            Err(_) => Ok::<(), Infallible>(()),
        }
    });
    tokio::select! {
        // Gone or ended: either way there is nothing more to read.
        _ = ended => {}
        () = events.closed() => {}
    }
}

/// Tells what happens in a region until the task is ended.
pub(super) async fn tell(region: &'static str, registry: SocketAddr, talk: Talk) {
    let mut told = BTreeMap::new();
    loop {
        let (events, mut heard) = mpsc::channel(EVENTS_MAX);
        let mut reading = JoinSet::new();
        reading.spawn(async move { read(registry, events).await });
        while let Some((first, at)) = heard.recv().await {
            let mut batch = vec![first];
            let until = tokio::time::Instant::now() + TOGETHER;
            while let Ok(Some((event, _))) = tokio::time::timeout_at(until, heard.recv()).await {
                batch.push(event);
            }
            if told.len() > TOLD_MAX {
                told.clear();
            }
            for line in lines(batch, &mut told) {
                talk.event(at, region, &line);
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// What is worth telling of events that came together: the last word on each thing, if it is news.
fn lines(batch: Vec<Event>, told: &mut BTreeMap<String, String>) -> Vec<String> {
    let mut services: BTreeMap<String, String> = BTreeMap::new();
    let mut others: Vec<(String, String)> = Vec::new();
    for event in batch {
        match (event.service_name(), event.event.as_str()) {
            (Some(service), SERVICE_CHANGED) => {
                services.insert(escaped(service), escaped(&event.what));
            }
            // Said with every feed that opens or closes, which is told by itself.
            (None | Some(_), "directory_changed") => {}
            (None | Some(_), _) => others.push(other(&event)),
        }
    }
    let mut is_news =
        |(about, what): &(String, String)| told.insert(about.clone(), what.clone()).as_ref() != Some(what);
    let mut lines: Vec<(String, String)> = others.into_iter().filter(&mut is_news).collect();
    let news: Vec<(String, String)> = services.into_iter().filter(&mut is_news).collect();
    if news.len() > LISTED_MAX {
        lines.push((format!("{} services", news.len()), "changed".to_owned()));
    } else {
        lines.extend(news);
    }
    lines.into_iter().map(|(about, what)| format!("{about}: {what}")).collect()
}

/// An event that is not about a service: what it is about, and what is so.
fn other(event: &Event) -> (String, String) {
    let Event { event, origin, what, .. } = event;
    let (origin, what) = (escaped(origin.as_deref().unwrap_or_default()), escaped(what));
    match event.as_str() {
        "origin_standing" => (format!("origin {origin}"), what),
        "feed_opened" => (format!("feed {what}"), "opened".to_owned()),
        "feed_dropped" => (format!("feed {what}"), "closed and dropped".to_owned()),
        "feed_doubted" => (format!("copy of feed {what}"), "differs and is repaired".to_owned()),
        "phase_changed" => ("the member".to_owned(), what),
        name => (escaped(name), what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(service: &str, what: &str) -> Event {
        Event {
            event: SERVICE_CHANGED.to_owned(),
            origin: None,
            service: Some(format!("public@@DEFAULT_GROUP@@{service}")),
            what: what.to_owned(),
        }
    }

    #[test]
    fn only_the_last_word_on_a_service_is_told_and_only_once() {
        let mut told = BTreeMap::new();

        let first =
            lines(vec![changed("greeter", "1 instances"), changed("greeter", "2 instances")], &mut told);
        let again = lines(vec![changed("greeter", "2 instances")], &mut told);

        assert_eq!(first, ["greeter: 2 instances"]);
        assert!(again.is_empty());
    }

    #[test]
    fn many_services_are_counted() {
        let batch = (0..=LISTED_MAX).map(|place| changed(&format!("s{place}"), "gone")).collect();

        assert_eq!(lines(batch, &mut BTreeMap::new()), ["5 services: changed"]);
    }

    #[test]
    fn what_a_tenant_named_cannot_steer_the_terminal() {
        let told = lines(vec![changed("a\u{1b}[2J", "1 instances")], &mut BTreeMap::new());

        assert_eq!(told, ["a\\u{1b}[2J: 1 instances"]);
    }
}
