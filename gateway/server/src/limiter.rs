//! Rates of calls by caller region, caller and service, each key with a leaky bucket of its own (GCRA, by governor).
//!
//! Buckets are shared by all cores and reached through each core's own map, so that a call takes no lock. A bucket holds
//! calls to this gateway's part of the rate; what is asked of it is counted, for the parts follow that.
//!
//! A bucket's quota never changes, for its calls would be forgotten: the whole rate is counted in cells, and a call costs
//! the more of them the smaller the part is. Cells and their time are whole numbers; up to 100,000 calls a second that
//! makes less than a hundredth of the rate.
//!
//! Invariant: a rule keeps at most `keys_max` buckets apart; further keys share one.

use std::{
    collections::{BTreeMap, hash_map::Entry},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use ecow::{EcoString, eco_format};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, MonotonicClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use landbridge_gateway_core::{Name, Service};
use landbridge_model::Region;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::{config::Limit, fingerprint::fingerprint};

type Bucket = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

/// Cells that a call costs where the part is the whole; fewer at rates of more than 10,000 calls a second.
const CELLS_MAX: u32 = 1_000;

/// Cells that are paid for in a second at most: governor counts their time in whole nanoseconds.
const CELLS_PER_SECOND_MAX: u32 = 10_000_000;

/// This gateway's parts of the limits that it shares with others of its region.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Gateways that are known, this one included.
    pub(crate) gateways: usize,
    /// Of keys nobody has said anything of.
    pub(crate) rest: f64,
    /// Of the others, by their names.
    pub(crate) of: BTreeMap<EcoString, f64>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { gateways: 1, rest: 1.0, of: BTreeMap::new() }
    }
}

impl Parts {
    /// The parts by the names of their keys.
    pub(crate) fn of_texts(&self) -> BTreeMap<&str, f64> {
        self.of.iter().map(|(name, part)| (name.as_str(), *part)).collect()
    }

    fn part(&self, name: &str) -> f64 {
        self.of.get(name).copied().unwrap_or(self.rest)
    }
}

/// Where the newest parts are.
pub(crate) type Shares = Arc<ArcSwap<Parts>>;

/// Who calls, as far as limits look at it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who {
    pub(crate) region: Region,
    pub(crate) caller: EcoString,
}

/// What a rule counts together: each `None`, or 0, where it does not look at it. The last is the service's serial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(Option<Region>, Option<EcoString>, u64);

/// One key's bucket.
struct Counted {
    /// What it is called among gateways.
    name: EcoString,
    bucket: Bucket,
    /// Cells that one call costs by this gateway's part of the rate.
    cost: AtomicU32,
    begun: Instant,
    /// When a call is paid for that cost more than the bucket holds, in nanoseconds since `begun`.
    paid_at_ns: AtomicU64,
    /// When a call asked last, in nanoseconds since `begun`.
    touched_ns: AtomicU64,
    /// Calls that asked since they were counted last.
    asked: AtomicU64,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A limit in cells.
#[derive(Clone, Copy, Debug)]
struct Cells {
    /// One call of a gateway that has the whole limit.
    per_call: u32,
    per_second: NonZero<u32>,
    /// What comes at once.
    burst: NonZero<u32>,
}

impl Cells {
    fn of(limit: &Limit) -> Self {
        let rate = limit.requests_per_second.max(1);
        let per_call = (CELLS_PER_SECOND_MAX / rate).clamp(1, CELLS_MAX);
        let cells = |calls: u32| NonZero::new(calls.saturating_mul(per_call)).unwrap_or(NonZero::<u32>::MIN);
        Self { per_call, per_second: cells(rate), burst: cells(limit.burst) }
    }

    /// What one call costs whose gateway has a part, above 0 and at most 1.
    fn cost(self, part: f64) -> u32 {
        (f64::from(self.per_call) / part).round() as u32
    }

    fn bucket(self) -> Bucket {
        let quota = Quota::per_second(self.per_second).allow_burst(self.burst);
        RateLimiter::direct_with_clock(quota, MonotonicClock)
    }

    fn time(self, cells: u32) -> Duration {
        Duration::from_secs_f64(f64::from(cells) / f64::from(self.per_second.get()))
    }
}

impl Counted {
    fn new(name: EcoString, cells: Cells, part: f64) -> Arc<Self> {
        Arc::new(Self {
            name,
            bucket: cells.bucket(),
            cost: AtomicU32::new(cells.cost(part)),
            begun: Instant::now(),
            paid_at_ns: AtomicU64::new(0),
            touched_ns: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        })
    }

    /// Lets one call pass, or tells how long to wait.
    fn take(&self, cells: Cells) -> Result<(), Duration> {
        self.asked.fetch_add(1, Relaxed);
        let cost = self.cost.load(Relaxed);
        let now = self.begun.elapsed();
        self.touched_ns.store(nanos(now), Relaxed);
        let owed = Duration::from_nanos(self.paid_at_ns.load(Relaxed)).saturating_sub(now);
        if !owed.is_zero() {
            return Err(owed);
        }
        let taken = NonZero::new(cost).map_or(cells.burst, |cost| cost.min(cells.burst));
        match self.bucket.check_n(taken) {
            Ok(Ok(())) => {}
            Ok(Err(until)) => return Err(until.wait_time_from(MonotonicClock.now())),
            // Not possible: no more is taken than the bucket holds.
            Err(_) => return Err(cells.time(cost)),
        }
        if cost > taken.get() {
            // The bucket never holds a whole call: one passes when it is full, and is paid for before the next.
            self.paid_at_ns.store(nanos(now + cells.time(cost)), Relaxed);
        }
        Ok(())
    }

    /// True when everything that was taken is paid for: it is as good as a new one.
    fn is_full(&self, cells: Cells) -> bool {
        let now = self.begun.elapsed();
        let touched = Duration::from_nanos(self.touched_ns.load(Relaxed));
        let paid_at = Duration::from_nanos(self.paid_at_ns.load(Relaxed));
        now >= paid_at && now.saturating_sub(touched) >= cells.time(cells.burst.get())
    }
}

/// A limit with its buckets.
pub(crate) struct Rule {
    limit: Limit,
    /// What it is called among gateways: the same limit has the same name everywhere.
    name: EcoString,
    keys_max: usize,
    cells: Cells,
    shares: Shares,
    buckets: Mutex<BTreeMap<Key, Arc<Counted>>>,
    /// For all keys past the bound.
    rest: Arc<Counted>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A longer list of services stands in the names of keys by its fingerprint: each key repeats it.
const SERVICES_BYTES_MAX: usize = 64;

fn short(count: usize, services: EcoString) -> EcoString {
    if services.len() <= SERVICES_BYTES_MAX {
        return services;
    }
    eco_format!("{count} services {}", fingerprint(&services))
}

impl Rule {
    pub(crate) fn new(limit: &Limit, keys_max: usize, shares: &Shares) -> Arc<Self> {
        let services = limit.services.iter().flatten().map(Name::to_string).collect::<Vec<_>>();
        let services = short(services.len(), services.join(",").into());
        let (by, rate, burst) = (limit.by.as_str(), limit.requests_per_second, limit.burst);
        let name = eco_format!("{by}/{rate}/{burst}/{services}");
        let rest = eco_format!("{name} *");
        let (cells, part) = (Cells::of(limit), shares.load().part(&rest));
        let rest = Counted::new(rest, cells, part);
        Arc::new(Self {
            limit: limit.clone(),
            name,
            keys_max,
            cells,
            shares: shares.clone(),
            buckets: Mutex::default(),
            rest,
        })
    }

    /// Whether this is the rule of such a limit.
    pub(crate) fn holds(&self, limit: &Limit, keys_max: usize) -> bool {
        self.limit == *limit && self.keys_max == keys_max
    }

    fn key(&self, who: &Who, service: &Service) -> Option<Key> {
        if self.limit.services.as_ref().is_some_and(|services| !services.contains(&service.name)) {
            return None;
        }
        let by = self.limit.by;
        Some(Key(
            by.looks_at_region().then(|| who.region.clone()),
            by.looks_at_caller().then(|| who.caller.clone()),
            if by.looks_at_service() { service.serial() } else { 0 },
        ))
    }

    fn bucket(&self, key: &Key, service: &Service) -> Arc<Counted> {
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get(key) {
            return bucket.clone();
        }
        if buckets.len() >= self.keys_max {
            // Cores hold what they used within a minute, unless they had too many ways: what nobody holds may not be full.
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_full(self.cells));
        }
        if buckets.len() >= self.keys_max {
            return self.rest.clone();
        }
        let region = key.0.as_ref().map_or("", Region::as_str);
        let caller = key.1.as_deref().unwrap_or_default();
        let service = if key.2 == 0 { String::new() } else { service.name.to_string() };
        let name = eco_format!("{} {region} {caller} {service}", self.name);
        let part = self.shares.load().part(&name);
        let fresh = Counted::new(name, self.cells, part);
        buckets.insert(key.clone(), fresh.clone());
        fresh
    }

    /// Tells what was asked of each key since it was told last, and what its limit is a second.
    pub(crate) fn asked(&self, mut tell: impl FnMut(&EcoString, u64, f64)) {
        let per_second = f64::from(self.limit.requests_per_second);
        let buckets = self.buckets.lock();
        for counted in buckets.values().chain([&self.rest]) {
            tell(&counted.name, counted.asked.swap(0, Relaxed), per_second);
        }
    }

    /// Takes the newest parts.
    pub(crate) fn share(&self) {
        let parts = self.shares.load();
        let buckets = self.buckets.lock();
        for counted in buckets.values().chain([&self.rest]) {
            counted.cost.store(self.cells.cost(parts.part(&counted.name)), Relaxed);
        }
    }
}

/// A core that remembers so many ways before a call finds all anew; one call adds a way for each rule at most.
const WAYS_MAX: usize = 10_000;

/// One core's way to the buckets.
#[derive(Default)]
pub(crate) struct Limiter {
    known: FxHashMap<(usize, Key), Arc<Counted>>,
}

impl Limiter {
    /// Counts a call by every rule that looks at it; a refusal tells how long to wait.
    pub(crate) fn check(
        &mut self,
        rules: &[Arc<Rule>],
        who: &Who,
        service: &Service,
    ) -> Result<(), Duration> {
        if self.known.len() >= WAYS_MAX {
            self.known.clear();
        }
        for (number, rule) in rules.iter().enumerate() {
            let Some(key) = rule.key(who, service) else { continue };
            let way = match self.known.entry((number, key)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let bucket = rule.bucket(&new.key().1, service);
                    new.insert(bucket)
                }
            };
            way.take(rule.cells)?;
        }
        Ok(())
    }

    /// Forgets the ways, because the rules changed or a minute has gone.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
