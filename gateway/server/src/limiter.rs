//! Rates of calls by caller region and service, each key with a leaky bucket of its own (GCRA, by governor).
//!
//! Buckets are shared by all cores and reached through each core's own map, so that a call takes no lock.
//! Invariant: a rule keeps at most `keys_max` buckets apart; further keys share one.

use std::{collections::BTreeMap, num::NonZero, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, MonotonicClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use landbridge_gateway_core::Service;
use landbridge_model::Region;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::{
    config::{Limit, LimitBy},
    view::Shared,
};

type Bucket = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// The region's number and the service's serial, each 0 where the rule does not look at it.
type Key = (u32, u64);

/// A limit with its buckets.
pub(crate) struct Rule {
    limit: Limit,
    keys_max: usize,
    buckets: Mutex<BTreeMap<Key, Arc<Bucket>>>,
    /// For all keys past the bound.
    rest: Arc<Bucket>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("limit", &self.limit).finish_non_exhaustive()
    }
}

fn bucket(limit: &Limit) -> Arc<Bucket> {
    let positive = |number| NonZero::new(number).unwrap_or(NonZero::<u32>::MIN);
    let quota = Quota::per_second(positive(limit.requests_per_second)).allow_burst(positive(limit.burst));
    Arc::new(RateLimiter::direct_with_clock(quota, MonotonicClock))
}

impl Rule {
    pub(crate) fn new(limit: &Limit, keys_max: usize) -> Arc<Self> {
        let rest = bucket(limit);
        Arc::new(Self { limit: limit.clone(), keys_max, buckets: Mutex::default(), rest })
    }

    fn key(&self, region: u32, service: &Service) -> Option<Key> {
        if self.limit.services.as_ref().is_some_and(|services| !services.contains(&service.name)) {
            return None;
        }
        Some(match self.limit.by {
            LimitBy::CallerRegion => (region, 0),
            LimitBy::Service => (0, service.serial()),
            LimitBy::CallerRegionAndService => (region, service.serial()),
        })
    }

    fn bucket(&self, key: Key) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get(&key) {
            return bucket.clone();
        }
        if buckets.len() >= self.keys_max {
            // Cores forget their ways once a minute: a bucket nobody holds was not used for long, and is full again.
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1);
        }
        if buckets.len() >= self.keys_max {
            return self.rest.clone();
        }
        let fresh = bucket(&self.limit);
        buckets.insert(key, fresh.clone());
        fresh
    }
}

/// One core's way to the buckets.
#[derive(Default)]
pub(crate) struct Limiter {
    known: FxHashMap<(usize, Key), Arc<Bucket>>,
    regions: FxHashMap<Region, u32>,
}

impl Limiter {
    /// Counts a call by every rule that looks at it; a refusal tells how long to wait.
    pub(crate) fn check(
        &mut self,
        rules: &[Arc<Rule>],
        region: u32,
        service: &Service,
    ) -> Result<(), Duration> {
        for (number, rule) in rules.iter().enumerate() {
            let Some(key) = rule.key(region, service) else { continue };
            let bucket = self.known.entry((number, key)).or_insert_with(|| rule.bucket(key));
            if let Err(until) = bucket.check() {
                return Err(until.wait_time_from(MonotonicClock.now()));
            }
        }
        Ok(())
    }

    /// A small number for a caller's region.
    pub(crate) fn number_of(&mut self, shared: &Shared, region: &Region, regions_max: usize) -> u32 {
        if let Some(number) = self.regions.get(region) {
            return *number;
        }
        let number = shared.number_of(region, regions_max);
        if self.regions.len() < regions_max {
            self.regions.insert(region.clone(), number);
        }
        number
    }

    /// Forgets the ways, because the rules changed or a minute has gone.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_gateway_core::{Book, Caller, Costs, Name, RouteTable};
    use landbridge_model::{Moment, Region, Zone};

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

    fn allowed(limiter: &mut Limiter, rules: &[Arc<Rule>], region: u32, service: &Service) -> usize {
        (0..10).filter(|_| limiter.check(rules, region, service).is_ok()).count()
    }

    #[test]
    fn each_region_has_its_own_rate_shared_by_all_cores() {
        let rules = [Rule::new(&limit(LimitBy::CallerRegion), 10)];
        let (mut one, mut two) = (Limiter::default(), Limiter::default());
        let service = service("s");

        assert_eq!(allowed(&mut one, &rules, 1, &service), 3);
        assert_eq!(allowed(&mut two, &rules, 1, &service), 0);
        assert_eq!(allowed(&mut two, &rules, 2, &service), 3);
    }

    #[test]
    fn keys_past_the_bound_share_one_rate() {
        let rules = [Rule::new(&limit(LimitBy::CallerRegion), 2)];
        let mut limiter = Limiter::default();
        let service = service("s");

        let allowed: Vec<_> = (0..5).map(|region| allowed(&mut limiter, &rules, region, &service)).collect();

        assert_eq!(allowed, [3, 3, 3, 0, 0]);
    }

    #[test]
    fn a_refusal_tells_how_long_to_wait() {
        let rules = [Rule::new(&limit(LimitBy::Service), 2)];
        let mut limiter = Limiter::default();
        let service = service("s");
        allowed(&mut limiter, &rules, 0, &service);

        let wait = limiter.check(&rules, 0, &service).unwrap_err();

        assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(500), "{wait:?}");
    }

    #[test]
    fn a_rule_for_other_services_does_not_count() {
        let only = [Name::Static("other".into())].into();
        let rules = [Rule::new(&Limit { services: Some(only), ..limit(LimitBy::Service) }, 2)];

        assert_eq!(allowed(&mut Limiter::default(), &rules, 0, &service("s")), 10);
    }
}
