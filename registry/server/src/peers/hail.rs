//! Asks every other member once a second how it is.
//!
//! ```text
//! Up ──an answer is missing──▶ Suspicious ──three in a row──▶ Down        any ──it answers──▶ Up
//! ```

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use landbridge_model::MemberId;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_wire::peers::HailAnswer;
use metrics::gauge;
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};
use tracing::{info, warn};

use super::{call::Calls, list::Addresses};
use crate::metrics as names;

/// Between two questions, and how long an answer may take.
const EVERY: Duration = Duration::from_secs(1);

/// So many missing answers in a row mean that a member is down (Nacos: `maxFailAccessCnt`).
const DOWN_AFTER: u32 = 3;

/// How another member is, in Nacos's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers.
    Up,
    /// An answer is missing.
    Suspicious,
    /// Three answers are missing, or it never gave one.
    Down,
}

impl Health {
    /// Nacos's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Suspicious => "SUSPICIOUS",
            Self::Down => "DOWN",
        }
    }
}

/// What is known of another member.
#[derive(Clone, Debug)]
pub(crate) struct Hail {
    pub(crate) health: Health,
    /// Its phase when it last answered.
    pub(crate) phase: String,
    /// Its version when it last answered.
    pub(crate) version: String,
    /// The last Raft entry that it had applied then.
    pub(crate) applied: u64,
    /// How much room its disk had then.
    pub(crate) disk: String,
    /// The SDK connections that were open then; none from a member that does not say.
    pub(crate) connections: Option<u32>,
    /// Why the last question was not answered.
    pub(crate) why: Option<String>,
    missed: u32,
}

impl Hail {
    /// Of whom nothing was heard so far.
    pub(crate) fn unknown() -> Self {
        let [phase, version, disk] = [(); 3].map(|()| String::new());
        let (health, connections, why) = (Health::Down, None, None);
        Self { health, phase, version, applied: 0, disk, connections, why, missed: DOWN_AFTER }
    }
}

/// What is known of every other member; copies see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hails(Arc<ArcSwap<BTreeMap<MemberId, Hail>>>);

impl Hails {
    /// Every other listed member.
    pub(crate) fn all(&self) -> Arc<BTreeMap<MemberId, Hail>> {
        self.0.load_full()
    }

    /// Whether some other member answers questions, as far as is known.
    fn company(&self) -> bool {
        self.all().values().any(|hail| hail.health != Health::Down && hail.phase == "ready")
    }
}

/// Asks until the process ends; `company` says whether another member is up and ready.
pub(crate) async fn hail(
    calls: Calls,
    (addresses, me): (Addresses, MemberId),
    hails: Hails,
    company: watch::Sender<bool>,
    shutdown: Shutdown,
) {
    let mut look = tokio::time::interval(EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = shutdown.wait() => return,
        }
        let mut asked = JoinSet::new();
        for member in addresses.all().keys().copied().filter(|member| *member != me) {
            let calls = calls.clone();
            asked.spawn(async move { (member, calls.hail(member, EVERY).await) });
        }
        let mut known = BTreeMap::new();
        while let Some(answer) = asked.join_next().await {
            // A question that panicked is a missing answer like any other.
            let Ok((member, answer)) = answer else { continue };
            let before = hails.all().get(&member).cloned().unwrap_or_else(Hail::unknown);
            let after = heard(&before, answer);
            tell(member, &before, &after);
            known.insert(member, after);
        }
        for health in [Health::Up, Health::Suspicious, Health::Down] {
            let count = known.values().filter(|hail| hail.health == health).count();
            gauge!(names::PEERS, "state" => health.word()).set(count as f64);
        }
        hails.0.store(Arc::new(known));
        company.send_replace(hails.company());
    }
}

fn heard(before: &Hail, answer: Result<HailAnswer, String>) -> Hail {
    match answer {
        Ok(HailAnswer { phase, version, applied, disk, connections }) => {
            Hail { health: Health::Up, phase, version, applied, disk, connections, why: None, missed: 0 }
        }
        Err(why) => {
            let missed = before.missed.saturating_add(1);
            let health = if missed >= DOWN_AFTER { Health::Down } else { Health::Suspicious };
            Hail { health, missed, why: Some(why), ..before.clone() }
        }
    }
}

fn tell(member: MemberId, before: &Hail, after: &Hail) {
    if before.health == after.health {
        return;
    }
    let state = after.health.word();
    match &after.why {
        None => info!(event = "member_state", %member, state),
        Some(why) => warn!(event = "member_state", %member, state, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_suspicious_before_it_is_down() {
        let well = HailAnswer { phase: "ready".into(), version: "1".into(), ..HailAnswer::default() };
        let mut hail = heard(&Hail::unknown(), Ok(well.clone()));
        assert_eq!(hail.health, Health::Up);

        let states: Vec<_> = (0..4)
            .map(|_| {
                hail = heard(&hail, Err("no answer".into()));
                hail.health.word()
            })
            .collect();

        assert_eq!(states, ["SUSPICIOUS", "SUSPICIOUS", "DOWN", "DOWN"]);
        assert_eq!(heard(&hail, Ok(well)).health, Health::Up);
    }
}
