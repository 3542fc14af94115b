//! What may leave for each other region: calls and bytes a second, counted by all cores together.
//!
//! Bytes are paid after they passed: a call may begin while less than a second's worth is owed.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, MonotonicClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use landbridge_model::Region;
use metrics::Counter;

use crate::{
    config::PeerRegion,
    metrics::{CROSSING_BYTES, CROSSINGS, CROSSINGS_DENIED},
};

type Bucket = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// All regions that are configured as peers.
pub(crate) type Crossings = BTreeMap<Region, Arc<Crossing>>;

/// The way to one other region.
pub(crate) struct Crossing {
    terms: Terms,
    calls: Option<Bucket>,
    bytes: Option<Debt>,
    passed: Counter,
    denied: Counter,
    carried: Counter,
}

impl std::fmt::Debug for Crossing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crossing").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Bytes that were used before they were earned.
#[derive(Debug)]
struct Debt {
    per_second: u64,
    begun: Instant,
    /// The nanosecond since `begun` at which all is paid.
    paid_at: AtomicU64,
}

impl Debt {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn add(&self, bytes: u64) {
        let now = self.now();
        let cost = u128::from(bytes) * u128::from(NANOS_PER_SECOND) / u128::from(self.per_second);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let pay = |paid_at: u64| Some(paid_at.max(now).saturating_add(cost));
        // The closure always gives a value, so this cannot fail.
        let _ = self.paid_at.fetch_update(Relaxed, Relaxed, pay);
    }

    /// How long until less than a second's worth is owed.
    fn wait(&self) -> Option<Duration> {
        let owed = self.paid_at.load(Relaxed).saturating_sub(self.now());
        owed.checked_sub(NANOS_PER_SECOND).map(Duration::from_nanos)
    }
}

/// The ways to all peers; one that had the same quotas `before` goes on, with what is owed.
pub(crate) fn crossings(peers: &[PeerRegion], before: &Crossings) -> Arc<Crossings> {
    let one = |peer: &PeerRegion| {
        let kept = before.get(&peer.region).filter(|way| way.terms == Terms::of(peer)).cloned();
        (peer.region.clone(), kept.unwrap_or_else(|| Arc::new(Crossing::new(peer))))
    };
    Arc::new(peers.iter().map(one).collect())
}

/// What makes a way another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    relayed: bool,
    requests_per_second: Option<u32>,
    bytes_per_second: Option<u64>,
}

impl Terms {
    fn of(peer: &PeerRegion) -> Self {
        let (requests_per_second, bytes_per_second) = (peer.requests_per_second, peer.bytes_per_second);
        Self { relayed: peer.relayed, requests_per_second, bytes_per_second }
    }
}

impl Crossing {
    pub(crate) fn new(peer: &PeerRegion) -> Self {
        let quota = |rate: u32| Quota::per_second(NonZero::new(rate).unwrap_or(NonZero::<u32>::MIN));
        let name = peer.region.to_string();
        let way = if peer.relayed { "relay" } else { "direct" };
        Self {
            terms: Terms::of(peer),
            calls: peer
                .requests_per_second
                .map(|rate| RateLimiter::direct_with_clock(quota(rate), MonotonicClock)),
            bytes: peer.bytes_per_second.map(|per_second| Debt {
                per_second: per_second.max(1),
                begun: Instant::now(),
                paid_at: AtomicU64::new(0),
            }),
            passed: metrics::counter!(CROSSINGS, "peer" => name.clone(), "kind" => way),
            denied: metrics::counter!(CROSSINGS_DENIED, "peer" => name.clone()),
            carried: metrics::counter!(CROSSING_BYTES, "peer" => name),
        }
    }

    /// Lets one more try leave, or tells how long to wait.
    pub(crate) fn leave(&self) -> Result<(), Duration> {
        let calls = self.calls.as_ref().map_or(Ok(()), Bucket::check);
        let late = calls.map_err(|until| until.wait_time_from(MonotonicClock.now())).err();
        match late.max(self.owes()) {
            Some(wait) => {
                self.denied.increment(1);
                Err(wait)
            }
            None => {
                self.passed.increment(1);
                Ok(())
            }
        }
    }

    /// How long bytes are to wait, because more than a second's worth is owed.
    pub(crate) fn owes(&self) -> Option<Duration> {
        self.bytes.as_ref().and_then(Debt::wait)
    }

    /// Counts bytes that went there or came from there.
    pub(crate) fn carry(&self, bytes: u64) {
        self.carried.increment(bytes);
        if let Some(debt) = &self.bytes {
            debt.add(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(requests_per_second: Option<u32>, bytes_per_second: Option<u64>) -> Crossing {
        let region = Region::parse("west").unwrap();
        let gateways = Vec::new();
        Crossing::new(&PeerRegion { region, relayed: true, gateways, requests_per_second, bytes_per_second })
    }

    #[test]
    fn calls_past_the_quota_are_told_how_long_to_wait() {
        let crossing = crossing(Some(2), None);

        let left = (0..5).map(|_| crossing.leave()).filter(Result::is_ok).count();

        assert_eq!(left, 2);
        assert!(crossing.leave().unwrap_err() <= Duration::from_secs(1));
        assert!((0..50).all(|_| self::crossing(None, None).leave().is_ok()));
    }

    #[test]
    fn what_is_owed_is_owed_after_a_reload_that_leaves_the_quotas_alone() {
        let peer = |rate: u64| PeerRegion {
            region: Region::parse("west").unwrap(),
            relayed: true,
            gateways: Vec::new(),
            requests_per_second: None,
            bytes_per_second: Some(rate),
        };
        let before = crossings(&[peer(1_000)], &Crossings::new());
        before.values().for_each(|way| way.carry(5_000));
        let moved =
            PeerRegion { gateways: vec![(landbridge_model::Address::parse("a").unwrap(), 1)], ..peer(1_000) };

        let owes = |peer: PeerRegion| crossings(&[peer], &before).values().any(|way| way.owes().is_some());

        assert!(owes(moved), "only its gateways are others");
        assert!(!owes(peer(2_000)), "another quota begins anew");
    }

    #[test]
    fn bytes_are_owed_for_a_second_and_then_hold_calls_back() {
        let crossing = crossing(None, Some(1_000));
        crossing.carry(900);
        assert_eq!(crossing.leave(), Ok(()));

        crossing.carry(3_000);

        let wait = crossing.leave().unwrap_err();
        assert!(wait > Duration::from_secs(2) && wait < Duration::from_secs(3), "{wait:?}");
    }
}
