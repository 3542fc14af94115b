//! Tests of rates: keys, bounds, parts, and what is kept of a bucket.

use super::*;
use crate::config::LimitBy;
use landbridge_gateway_core::{Book, Caller, Costs, RouteTable};
use landbridge_model::{Moment, Zone};

fn service(name: &str) -> Arc<Service> {
    let home = Caller { region: Region::parse("east").unwrap(), zone: Zone::unknown() };
    let mut book = Book::new(home, Costs::default(), vec![RouteTable::default()]);
    let config = crate::config::Config::read(crate::testing::PAGE).unwrap();
    book.put(Name::Static(name.into()), Vec::new(), &config.live.settings.pick.health, Moment(0));
    book.snapshot().services().next().unwrap().clone()
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

#[test]
fn a_limit_of_many_services_has_a_short_name_which_is_the_same_everywhere_and_nobody_elses() {
    let many = |last: &str| {
        let names =
            (0..200).map(|number| format!("a-service-with-a-long-name-{number}")).chain([last.to_owned()]);
        let services = Some(names.map(|name| Name::Static(name.as_str().into())).collect());
        Rule::new(&Limit { services, ..limit(LimitBy::Service) }, 2, &Shares::default()).name.clone()
    };

    assert_eq!(many("x"), many("x"));
    assert_ne!(many("x"), many("y"));
    assert!(many("x").len() < 100, "{}", many("x"));
}

#[test]
fn a_bucket_that_was_used_up_is_not_forgotten_for_another_key() {
    let rules = rules(&limit(LimitBy::Caller), 1);
    let mut limiter = Limiter::default();
    let service = service("s");
    assert_eq!(allowed(&mut limiter, &rules, &who("east", "a"), &service), 3);

    limiter.forget();
    assert_eq!(allowed(&mut limiter, &rules, &who("east", "b"), &service), 3, "by what further keys share");

    assert_eq!(allowed(&mut limiter, &rules, &who("east", "a"), &service), 0, "it has its own bucket still");
}
