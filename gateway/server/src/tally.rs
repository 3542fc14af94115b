//! What one core counts, kept in plain numbers and handed to the recorder once a second.
//!
//! Invariant: counting a call touches nothing another core reads.

use std::collections::BTreeMap;

use http::StatusCode;
use landbridge_gateway_core::{Rung, Service};
use rustc_hash::FxHashMap;

use crate::{
    metrics::{
        CALL_SECONDS, CALLS, CONNECTIONS_ACCEPTED, CONNECTIONS_CUT, EJECTIONS, HEDGES, HEDGES_DENIED,
        HEDGES_WON, REFUSALS, RETRIES, RETRIES_DENIED, RETURNS, TRIES_FAILED, TUNNELS, UPSTREAM_OPENED,
    },
    refusal::Refusal,
    seat::Overrun,
    tunnel,
};

/// Services with a label of their own; further ones are counted together as `other`.
const SERVICE_LABELS_MAX: usize = 1_000;

/// Latency buckets: half powers of two from 64 microseconds to about a minute.
const BUCKETS: usize = 42;

/// Classes of status codes, and none.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a try failed; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Miss {
    /// No connection could be opened.
    Connect,
    /// The connection broke before an answer.
    Broken,
    /// No answer in time.
    Late,
    /// A failure status.
    Status,
}

impl Miss {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Late => "late",
            Self::Status => "status",
        }
    }
}

/// The counts of one service.
#[derive(Debug)]
struct PerService {
    label: String,
    /// By rung (and none), then class.
    calls: [[u64; CLASSES.len()]; Rung::ALL.len() + 1],
    retries: u64,
    denied: u64,
    hedges: u64,
    hedges_won: u64,
    hedges_denied: u64,
    ejections: u64,
    returns: u64,
}

impl PerService {
    fn new(label: String) -> Self {
        Self {
            label,
            calls: Default::default(),
            retries: 0,
            denied: 0,
            hedges: 0,
            hedges_won: 0,
            hedges_denied: 0,
            ejections: 0,
            returns: 0,
        }
    }
}

/// How often, and how long in all, per bucket of latency.
#[derive(Clone, Copy, Debug, Default)]
struct Heap {
    count: u64,
    micros: u64,
}

/// The counts of one core since they were last handed over.
#[derive(Debug)]
pub(crate) struct Tally {
    services: FxHashMap<u64, PerService>,
    latency: [[Heap; BUCKETS]; Rung::ALL.len() + 1],
    refusals: BTreeMap<&'static str, u64>,
    misses: BTreeMap<(Rung, Miss), u64>,
    cuts: BTreeMap<Overrun, u64>,
    tunnels: BTreeMap<tunnel::Kind, u64>,
    accepted: u64,
    opened: u64,
}

/// Where services past the bound, and calls without a service, are counted.
const NO_SERVICE: u64 = 0;

fn bucket(micros: u64) -> usize {
    let doubled = micros.max(64).saturating_mul(micros.max(64));
    ((doubled.ilog2() as usize).saturating_sub(12)).min(BUCKETS - 1)
}

fn place(rung: Option<Rung>) -> usize {
    rung.map_or(Rung::ALL.len(), |rung| rung as usize)
}

fn rung_label(place: usize) -> &'static str {
    Rung::ALL.get(place).map_or("none", |rung| rung.as_str())
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            services: FxHashMap::default(),
            latency: [[Heap::default(); BUCKETS]; Rung::ALL.len() + 1],
            refusals: BTreeMap::new(),
            misses: BTreeMap::new(),
            cuts: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            accepted: 0,
            opened: 0,
        }
    }

    fn of(&mut self, service: Option<&Service>) -> &mut PerService {
        let known = |serial| self.services.contains_key(&serial) || self.services.len() < SERVICE_LABELS_MAX;
        match service.filter(|service| known(service.serial())) {
            Some(service) => self
                .services
                .entry(service.serial())
                .or_insert_with(|| PerService::new(service.name.to_string())),
            None => self.services.entry(NO_SERVICE).or_insert_with(|| PerService::new("other".to_owned())),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &mut self,
        service: Option<&Service>,
        rung: Option<Rung>,
        status: StatusCode,
        micros: u64,
    ) {
        let place = place(rung);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.of(service).calls[place][class] += 1;
        let heap = &mut self.latency[place][bucket(micros)];
        heap.count += 1;
        heap.micros += micros;
    }

    pub(crate) fn refused(&mut self, refusal: Refusal) {
        *self.refusals.entry(refusal.reason()).or_default() += 1;
    }

    pub(crate) fn retried(&mut self, service: &Service) {
        self.of(Some(service)).retries += 1;
    }

    pub(crate) fn denied(&mut self, service: &Service) {
        self.of(Some(service)).denied += 1;
    }

    pub(crate) fn hedged(&mut self, service: &Service) {
        self.of(Some(service)).hedges += 1;
    }

    pub(crate) fn hedge_won(&mut self, service: &Service) {
        self.of(Some(service)).hedges_won += 1;
    }

    pub(crate) fn hedge_denied(&mut self, service: &Service) {
        self.of(Some(service)).hedges_denied += 1;
    }

    pub(crate) fn ejected(&mut self, service: &Service) {
        self.of(Some(service)).ejections += 1;
    }

    pub(crate) fn returned(&mut self, service: &Service) {
        self.of(Some(service)).returns += 1;
    }

    pub(crate) fn missed(&mut self, rung: Rung, miss: Miss) {
        *self.misses.entry((rung, miss)).or_default() += 1;
    }

    pub(crate) fn accepted(&mut self) {
        self.accepted += 1;
    }

    pub(crate) fn cut(&mut self, why: Overrun) {
        *self.cuts.entry(why).or_default() += 1;
    }

    pub(crate) fn tunnelled(&mut self, kind: tunnel::Kind) {
        *self.tunnels.entry(kind).or_default() += 1;
    }

    pub(crate) fn opened_upstream(&mut self) {
        self.opened += 1;
    }

    /// Hands everything to the recorder and starts anew.
    pub(crate) fn hand_over(&mut self) {
        let counts = std::mem::replace(self, Self::new());
        for service in counts.services.into_values() {
            service.hand_over();
        }
        for (place, heaps) in counts.latency.iter().enumerate() {
            for heap in heaps.iter().filter(|heap| heap.count > 0) {
                let mean_seconds = heap.micros as f64 / heap.count as f64 / 1e6;
                let histogram = metrics::histogram!(CALL_SECONDS, "rung" => rung_label(place));
                histogram.record_many(mean_seconds, heap.count as usize);
            }
        }
        for (reason, count) in counts.refusals {
            metrics::counter!(REFUSALS, "reason" => reason).increment(count);
        }
        for ((rung, miss), count) in counts.misses {
            metrics::counter!(TRIES_FAILED, "rung" => rung.as_str(), "kind" => miss.as_str())
                .increment(count);
        }
        for (why, count) in counts.cuts {
            metrics::counter!(CONNECTIONS_CUT, "reason" => why.as_str()).increment(count);
        }
        for (kind, count) in counts.tunnels {
            metrics::counter!(TUNNELS, "kind" => kind.as_str()).increment(count);
        }
        metrics::counter!(CONNECTIONS_ACCEPTED).increment(counts.accepted);
        metrics::counter!(UPSTREAM_OPENED).increment(counts.opened);
    }
}

impl PerService {
    fn hand_over(self) {
        for (place, classes) in self.calls.iter().enumerate() {
            for (class, count) in CLASSES.into_iter().zip(classes).filter(|(_, count)| **count > 0) {
                let (service, rung) = (self.label.clone(), rung_label(place));
                metrics::counter!(CALLS, "service" => service, "rung" => rung, "class" => class)
                    .increment(*count);
            }
        }
        for (name, count) in [
            (RETRIES, self.retries),
            (RETRIES_DENIED, self.denied),
            (HEDGES, self.hedges),
            (HEDGES_WON, self.hedges_won),
            (HEDGES_DENIED, self.hedges_denied),
            (EJECTIONS, self.ejections),
            (RETURNS, self.returns),
        ] {
            if count > 0 {
                metrics::counter!(name, "service" => self.label.clone()).increment(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_bounded() {
        let places: Vec<_> = [0, 64, 91, 128, 1_000, 1_000_000, 60_000_000, u64::MAX].map(bucket).into();

        assert!(places.is_sorted(), "{places:?}");
        assert_eq!((places[0], places[1], places[7]), (0, 0, BUCKETS - 1));
        assert!(places[6] < BUCKETS, "a minute has a bucket of its own: {places:?}");
    }
}
