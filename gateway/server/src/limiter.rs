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

use crate::config::Limit;

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
    /// Calls that asked since they were counted last.
    asked: AtomicU64,
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
            asked: AtomicU64::new(0),
        })
    }

    /// Lets one call pass, or tells how long to wait.
    fn take(&self, cells: Cells) -> Result<(), Duration> {
        self.asked.fetch_add(1, Relaxed);
        let cost = self.cost.load(Relaxed);
        let now = self.begun.elapsed();
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
            let paid_at = (now + cells.time(cost)).as_nanos();
            self.paid_at_ns.store(u64::try_from(paid_at).unwrap_or(u64::MAX), Relaxed);
        }
        Ok(())
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

impl Rule {
    pub(crate) fn new(limit: &Limit, keys_max: usize, shares: &Shares) -> Arc<Self> {
        let services = limit.services.iter().flatten().map(Name::to_string).collect::<Vec<_>>().join(",");
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
            // Cores forget their ways once a minute: a bucket nobody holds was not used for long, and is full again.
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1);
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

/// Ways that a core remembers; past it all are found anew.
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
mod tests {
    use super::*;
    use crate::config::LimitBy;
    use landbridge_gateway_core::{Book, Caller, Costs, RouteTable};
    use landbridge_model::{Moment, Zone};

    fn service(name: &str) -> Arc<Service> {
        let home = Caller { region: Region::parse("east").unwrap(), zone: Zone::unknown() };
        let mut book = Book::new(home, Costs::default(), vec![RouteTable::default()]);
        let config = crate::config::Config::read(crate::testing::PAGE).unwrap();
        book.put(Name::Static(name.into()), Vec::new(), &config.live.settings.pick.health, Moment(0));
        book.snapshot().services()[0].clone()
    }

    fn limit(by: LimitBy) -> Limit {
        Limit { by, services: None, requests_per_second: 1, burst: 3 }
    }

    fn rules(limit: &Limit, keys_max: usize) -> [Arc<Rule>; 1] {
        [Rule::new(limit, keys_max, &Shares::default())]
    }

    fn who(region: &str, caller: &str) -> Who {
        Who { region: Region::parse(region).unwrap(), caller: caller.into() }
    }

    fn allowed(limiter: &mut Limiter, rules: &[Arc<Rule>], who: &Who, service: &Service) -> usize {
        (0..10).filter(|_| limiter.check(rules, who, service).is_ok()).count()
    }

    #[test]
    fn each_region_has_its_own_rate_shared_by_all_cores() {
        let rules = rules(&limit(LimitBy::CallerRegion), 10);
        let (mut one, mut two) = (Limiter::default(), Limiter::default());
        let service = service("s");

        assert_eq!(allowed(&mut one, &rules, &who("east", "a"), &service), 3);
        assert_eq!(allowed(&mut two, &rules, &who("east", "b"), &service), 0);
        assert_eq!(allowed(&mut two, &rules, &who("west", "a"), &service), 3);
    }

    #[test]
    fn each_caller_has_its_own_rate_wherever_it_calls_from() {
        let rules = rules(&limit(LimitBy::Caller), 10);
        let mut limiter = Limiter::default();
        let service = service("s");

        assert_eq!(allowed(&mut limiter, &rules, &who("east", "shop"), &service), 3);
        assert_eq!(allowed(&mut limiter, &rules, &who("west", "shop"), &service), 0);
        assert_eq!(allowed(&mut limiter, &rules, &who("east", "till"), &service), 3);
    }

    #[test]
    fn keys_past_the_bound_share_one_rate() {
        let rules = rules(&limit(LimitBy::Caller), 2);
        let mut limiter = Limiter::default();
        let service = service("s");

        let callers = ["a", "b", "c", "d", "e"].map(|caller| who("east", caller));

        assert_eq!(callers.map(|who| allowed(&mut limiter, &rules, &who, &service)), [3, 3, 3, 0, 0]);
    }

    #[test]
    fn a_refusal_tells_how_long_to_wait() {
        let rules = rules(&limit(LimitBy::Service), 2);
        let mut limiter = Limiter::default();
        let service = service("s");
        allowed(&mut limiter, &rules, &who("east", "a"), &service);

        let wait = limiter.check(&rules, &who("east", "a"), &service).unwrap_err();

        assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(500), "{wait:?}");
    }

    #[test]
    fn a_rule_for_other_services_does_not_count() {
        let only = [Name::Static("other".into())].into();
        let rules = rules(&Limit { services: Some(only), ..limit(LimitBy::Service) }, 2);

        assert_eq!(allowed(&mut Limiter::default(), &rules, &who("east", "a"), &service("s")), 10);
    }

    #[test]
    fn a_bucket_holds_to_the_newest_part_and_tells_what_was_asked_of_it() {
        let shares = Shares::default();
        let rules = [Rule::new(&Limit { burst: 10, ..limit(LimitBy::Service) }, 2, &shares)];
        let mut limiter = Limiter::default();
        let (service, anybody) = (service("s"), who("east", "a"));
        shares.store(Arc::new(Parts { gateways: 2, rest: 0.1, of: BTreeMap::new() }));
        assert_eq!(allowed(&mut limiter, &rules, &anybody, &service), 1, "a new bucket has its part at once");
        let mut told = BTreeMap::new();
        rules[0].asked(|name, asked, _| told.extend([(name.clone(), asked)]));
        let (name, asked) = told.into_iter().max_by_key(|(_, asked)| *asked).unwrap();
        assert_eq!((name.as_str(), asked), ("service/1/10/   static:s", 10));

        let mut wait = || limiter.check(&rules, &anybody, &service).unwrap_err();
        assert!(wait() > Duration::from_secs(5), "a call is paid for in ten seconds");

        shares.store(Arc::new(Parts { gateways: 2, rest: 0.1, of: [(name, 1.0)].into() }));
        rules[0].share();

        assert!(wait() <= Duration::from_secs(1), "and now in one");
    }

    #[test]
    fn a_call_costs_what_its_part_makes_of_it_within_a_hundredth() {
        for (requests_per_second, burst) in [(1, 1), (7, 3), (1_000, 200), (99_999, 1), (100_000, 1_000)] {
            let cells = Cells::of(&Limit { requests_per_second, burst, ..limit(LimitBy::Service) });
            for part in [1.0, 0.86, 0.5, 0.333, 0.1, 0.05, 0.01] {
                let nanos = Duration::from_secs(1).as_nanos() as u32 / cells.per_second.get();
                let rate = 1e9 / (f64::from(nanos) * f64::from(cells.cost(part)));
                let wanted = f64::from(requests_per_second) * part;
                assert!((rate / wanted - 1.0).abs() < 0.01, "{rate} instead of {wanted}");
            }
        }
    }

    #[test]
    fn a_part_smaller_than_a_burst_can_give_is_kept_all_the_same() {
        let limit = Limit { requests_per_second: 2_000, burst: 1, ..limit(LimitBy::Service) };
        let cells = Cells::of(&limit);
        let (whole, tenth) = (Counted::new("a".into(), cells, 1.0), Counted::new("a".into(), cells, 0.1));
        let begun = Instant::now();
        let (mut of_whole, mut of_tenth) = (0, 0);

        while of_whole < 200 {
            of_whole += u32::from(whole.take(cells).is_ok());
            of_tenth += u32::from(tenth.take(cells).is_ok());
        }

        let (elapsed, rate) = (begun.elapsed(), f64::from(limit.requests_per_second) / 10.0);
        // By the time that went by: the whole loses what a machine that stands still does not ask for.
        let allowed = elapsed.as_secs_f64() * rate + 2.0;
        assert!(f64::from(of_tenth) <= allowed, "{of_tenth} beside {of_whole} in {elapsed:?}");
        assert!(of_tenth > 0, "it is not kept from all");
    }
    #[test]
    fn a_call_that_waits_as_it_was_told_passes_however_small_the_part_is() {
        let limit = Limit { requests_per_second: 1_000, burst: 1, ..limit(LimitBy::Service) };
        let cells = Cells::of(&limit);
        let counted = Counted::new("a".into(), cells, 0.05);

        assert_eq!(counted.take(cells), Ok(()), "the first call has nothing to wait for");
        for _ in 0..3 {
            // Where the machine stood still, it has waited already.
            let Err(wait) = counted.take(cells) else { continue };
            assert!(wait <= Duration::from_millis(20), "a twentieth of 1,000 a second: {wait:?}");
            let until = Instant::now() + wait;
            while Instant::now() <= until {
                std::hint::spin_loop();
            }
            assert_eq!(counted.take(cells), Ok(()));
        }
    }
}
