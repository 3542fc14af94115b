//! Rates of calls by caller region, caller and service, each key with a leaky bucket of its own (GCRA).
//!
//! Buckets are shared by all cores and reached through each core's own map, so that a call takes no lock. A bucket holds
//! calls to this gateway's part of the rate; what is asked of it is counted, for the parts follow that.
//!
//! Invariant: a rule keeps at most `keys_max` buckets apart; further keys share one.

use std::{
    collections::{BTreeMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use ecow::{EcoString, eco_format};
use landbridge_gateway_core::{Bucket, Name, Rate, Service};
use landbridge_model::Region;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::config::Limit;

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
#[derive(Debug)]
struct Counted {
    /// What it is called among gateways.
    name: EcoString,
    bucket: Bucket,
    /// This gateway's part of the rate, as the bits of a number from 0 to 1.
    part: AtomicU64,
    /// Calls that asked since they were counted last.
    asked: AtomicU64,
}

impl Counted {
    fn new(name: EcoString, part: f64) -> Arc<Self> {
        let (bucket, asked) = (Bucket::default(), AtomicU64::new(0));
        Arc::new(Self { name, bucket, part: AtomicU64::new(part.to_bits()), asked })
    }
}

/// A limit with its buckets.
pub(crate) struct Rule {
    limit: Limit,
    /// What it is called among gateways: the same limit has the same name everywhere.
    name: EcoString,
    keys_max: usize,
    begun: Instant,
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
        let rest = Counted::new(rest.clone(), shares.load().part(&rest));
        Arc::new(Self {
            limit: limit.clone(),
            name,
            keys_max,
            begun: Instant::now(),
            shares: shares.clone(),
            buckets: Mutex::default(),
            rest,
        })
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
        let fresh = Counted::new(name, part);
        buckets.insert(key.clone(), fresh.clone());
        fresh
    }

    fn take(&self, counted: &Counted, at: Instant) -> Result<(), Duration> {
        counted.asked.fetch_add(1, Relaxed);
        let rate = Rate {
            per_second: f64::from(self.limit.requests_per_second),
            burst: f64::from(self.limit.burst),
        };
        let now_ns = at.saturating_duration_since(self.begun).as_nanos() as u64;
        let rate = rate.part(f64::from_bits(counted.part.load(Relaxed)));
        counted.bucket.take(now_ns, rate).map_err(Duration::from_nanos)
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
            counted.part.store(parts.part(&counted.name).to_bits(), Relaxed);
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
        at: Instant,
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
            rule.take(way, at)?;
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
        let now = rules[0].begun;
        (0..10).filter(|_| limiter.check(rules, who, service, now).is_ok()).count()
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

        let wait = limiter.check(&rules, &who("east", "a"), &service, rules[0].begun).unwrap_err();

        assert_eq!(wait, Duration::from_secs(1));
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
        shares.store(Arc::new(Parts { gateways: 2, rest: 0.5, of: BTreeMap::new() }));
        assert_eq!(allowed(&mut limiter, &rules, &anybody, &service), 5, "a new bucket has its part at once");
        let mut told = BTreeMap::new();
        rules[0].asked(|name, asked, _| told.extend([(name.clone(), asked)]));
        let (name, asked) = told.into_iter().max_by_key(|(_, asked)| *asked).unwrap();
        assert_eq!((name.as_str(), asked), ("service/1/10/   static:s", 10));

        let mut wait = || limiter.check(&rules, &anybody, &service, rules[0].begun).unwrap_err();
        assert_eq!(wait(), Duration::from_secs(2));

        shares.store(Arc::new(Parts { gateways: 2, rest: 0.5, of: [(name, 1.0)].into() }));
        rules[0].share();

        assert_eq!(wait(), Duration::from_secs(1));
    }
}
