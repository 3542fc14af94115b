//! Tests of the choice: rules one by one, then properties over random services.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    endpoint::Outcome,
    service::{
        EndpointSpec,
        testing::{RULES as HEALTH, eject, leaving, region, service, spec},
    },
};

const RULES: PickRules =
    PickRules { over_provision: 1.4, panic_share: 0.2, region_share_min: 0.25, health: HEALTH };

const THROWS: u64 = 4_000;

/// The share of first tries each endpoint gets, in percent.
fn shares(service: &Service, ms: u64) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    for throw in 0..THROWS {
        match pick(&RULES, service, service.home(), Moment(ms), throw * 7_919, &[]) {
            Decision::Use(choice) => *counts.entry(choice.endpoint).or_insert(0) += 1,
            Decision::Nobody => {}
        }
    }
    counts.into_iter().map(|(endpoint, count)| (endpoint, (count * 100 + THROWS / 2) / THROWS)).collect()
}

fn near(share: Option<&u64>, percent: u64) -> bool {
    share.is_some_and(|share| share.abs_diff(percent) <= 4)
}

/// A zone with so many endpoints, in region and zone.
fn many(count: usize, region: &str, zone: &str) -> Vec<EndpointSpec> {
    vec![spec(region, zone); count]
}

fn retried(service: &Service, tried: &[u32]) -> Vec<u32> {
    let one = |throw| match pick(&RULES, service, service.home(), Moment(0), throw, tried) {
        Decision::Use(choice) => choice.endpoint,
        Decision::Nobody => u32::MAX,
    };
    let mut all: Vec<u32> = (0..200).map(one).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Where tries beside `tried` go.
fn beside(service: &Service, tried: &[u32], far: bool) -> Vec<u32> {
    let one = |throw| match overtake(&RULES, service, service.home(), Moment(0), throw, tried, far) {
        Decision::Use(choice) => Some(choice.endpoint),
        Decision::Nobody => None,
    };
    let all: std::collections::BTreeSet<u32> = (0..200).filter_map(one).collect();
    all.into_iter().collect()
}

#[test]
fn a_try_beside_others_goes_to_the_next_endpoint_then_zone_and_leaves_the_region_only_when_it_may() {
    let service = service([many(2, "home", "a"), many(2, "home", "b"), many(2, "far", "a")].concat());

    assert_eq!(beside(&service, &[0], false), [1]);
    assert_eq!(beside(&service, &[0, 1], false), [2, 3]);
    assert_eq!(beside(&service, &[0, 1, 2], false), [3]);
    assert_eq!(beside(&service, &[0, 1, 2, 3], false), [], "nobody near is left");
    assert_eq!(beside(&service, &[0, 1, 2], true), [4, 5]);
    eject(&service, 1, 0);
    assert_eq!(beside(&service, &[0], false), [2, 3], "one that is out of rotation helps nobody");
}

#[test]
fn all_calls_stay_in_the_zone_while_it_is_well() {
    let service = service([many(3, "home", "a"), many(3, "home", "b"), many(9, "far", "a")].concat());

    let shares = shares(&service, 0);

    assert_eq!(shares.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert!(shares.values().all(|share| share.abs_diff(33) <= 4), "{shares:?}");
}

#[test]
fn a_zone_keeps_its_calls_until_less_than_five_sevenths_are_left() {
    let service = service([many(4, "home", "a"), many(4, "home", "b")].concat());
    eject(&service, 0, 0);
    assert!(shares(&service, 1).keys().all(|endpoint| *endpoint < 4));

    eject(&service, 1, 0);

    let spilled: u64 = shares(&service, 1).iter().filter(|(at, _)| **at >= 4).map(|(_, share)| share).sum();
    assert!(spilled.abs_diff(30) <= 4, "half a zone bears 70 percent, {spilled} percent left it");
}

#[test]
fn a_dead_zone_sends_its_calls_to_the_region_and_not_abroad() {
    let service = service([many(2, "home", "a"), many(1, "home", "b"), many(5, "far", "a")].concat());
    eject(&service, 0, 0);
    eject(&service, 1, 0);

    assert_eq!(shares(&service, 1), BTreeMap::from([(2, 100)]));
}

#[test]
fn a_stale_region_gets_calls_only_when_no_fresh_one_is_left() {
    let near_but_stale = vec![spec("aaa", "a").stale(); 3];
    let service = service([many(1, "zzz", "a"), near_but_stale].concat());
    assert_eq!(shares(&service, 0), BTreeMap::from([(0, 100)]));

    eject(&service, 0, 0);

    assert!(shares(&service, 1).keys().all(|endpoint| *endpoint > 0));
}

#[test]
fn unverified_endpoints_take_only_what_the_verified_of_their_rung_cannot_bear() {
    let unverified = vec![spec("home", "a").unverified(); 3];
    let lucky = service([many(8, "home", "a"), unverified.clone()].concat());
    assert!(shares(&lucky, 0).keys().all(|endpoint| *endpoint < 8));

    let unlucky = service([many(1, "home", "a"), unverified, many(9, "home", "b")].concat());
    let shares = shares(&unlucky, 0);

    assert!(near(shares.get(&0), 35), "{shares:?}");
    assert!(shares.keys().all(|endpoint| *endpoint < 4), "{shares:?}");
}

#[test]
fn places_that_are_all_short_share_in_proportion() {
    let dead = |place: Vec<EndpointSpec>| place.into_iter().map(EndpointSpec::unhealthy);
    let zone = many(3, "home", "a").into_iter().chain(dead(many(7, "home", "a")));
    let region = many(3, "home", "b").into_iter().chain(dead(many(7, "home", "b")));
    let service = service(zone.chain(region));

    let shares = shares(&service, 0);

    let home: u64 = shares.iter().filter(|(at, _)| **at < 10).map(|(_, share)| share).sum();
    assert!(home.abs_diff(50) <= 4, "{shares:?}");
    assert_eq!(shares.len(), 6, "only healthy ones are used: {shares:?}");
}

#[test]
fn when_nothing_is_healthy_the_nearest_place_is_used_as_if_all_were() {
    let sick = |region, zone| spec(region, zone).unhealthy();
    let service = service([sick("home", "a"), sick("home", "a"), sick("far", "a")]);

    let shares = shares(&service, 0);

    assert!(near(shares.get(&0), 50) && near(shares.get(&1), 50), "{shares:?}");
}

#[test]
fn below_the_panic_share_marks_are_not_believed() {
    let service =
        service((0..10).map(|n| if n < 1 { spec("home", "a") } else { spec("home", "a").unhealthy() }));

    assert_eq!(shares(&service, 0).len(), 10);
}

#[test]
fn calls_follow_the_weights_when_endpoints_are_equally_fast() {
    let service = service([spec("home", "a").weighing(9.0), spec("home", "a")]);

    let shares = shares(&service, 0);

    assert!(near(shares.get(&0), 90) && near(shares.get(&1), 10), "{shares:?}");
}

#[test]
fn a_slow_endpoint_loses_its_calls_to_a_fast_one() {
    let service = service(many(2, "home", "a"));
    service.report(0, &HEALTH, Moment(0), Outcome::Answered { latency_us: 300_000 });

    assert_eq!(shares(&service, 0), BTreeMap::from([(1, 100)]));
}

#[test]
fn a_fast_failing_endpoint_loses_its_calls() {
    let service = service(many(2, "home", "a"));
    service.report(0, &HEALTH, Moment(0), Outcome::Failed { latency_us: 50 });

    assert_eq!(shares(&service, 0), BTreeMap::from([(1, 100)]));
}

#[test]
fn a_busy_endpoint_loses_its_calls_by_its_weight() {
    let service = service([spec("home", "a").weighing(4.0), spec("home", "a")]);
    (0..4).for_each(|_| service.endpoint(0).state.begin(Moment(0)));
    (0..4).for_each(|_| service.endpoint(1).state.begin(Moment(0)));

    assert_eq!(shares(&service, 0), BTreeMap::from([(0, 100)]));
}

#[test]
fn a_retry_goes_to_another_endpoint_then_another_zone_then_another_region() {
    let service = service([many(3, "home", "a"), many(2, "home", "b"), many(2, "far", "a")].concat());

    assert_eq!(retried(&service, &[0]), [1, 2]);
    assert_eq!(retried(&service, &[0, 1]), [3, 4]);
    assert_eq!(retried(&service, &[0, 1, 3]), [5, 6]);
    assert_eq!(retried(&service, &[0, 1, 3, 5]), [2], "all places failed: the nearest that is left");
}

#[test]
fn a_retry_prefers_an_untried_endpoint_that_is_ejected_over_the_one_that_failed() {
    let service = service(many(2, "home", "a"));
    eject(&service, 1, 0);

    assert_eq!(retried(&service, &[0]), [1]);
}

#[test]
fn the_only_endpoint_is_tried_again_rather_than_nobody() {
    assert_eq!(retried(&service([spec("home", "a")]), &[0]), [0]);
}

#[test]
fn a_service_without_endpoints_is_answered_by_nobody() {
    let empty = service([]);

    assert_eq!(pick(&RULES, &empty, empty.home(), Moment(0), 1, &[]), Decision::Nobody);
    assert_eq!(pick(&RULES, &empty, empty.home(), Moment(0), 1, &[0]), Decision::Nobody);
}

fn drill(place: &str, zone: Option<&str>) -> Arc<Evacuation> {
    Arc::new(Evacuation {
        region: region(place),
        zone: zone.map(|zone| landbridge_model::Zone::parse(zone).unwrap()),
        services: None,
        begun: Moment(0),
        ramp_ms: 1_000,
        until: Moment(10_000),
    })
}

fn evacuated(specs: Vec<EndpointSpec>, place: &str, zone: Option<&str>) -> Service {
    leaving(specs, &[drill(place, zone)])
}

fn share_of(shares: &BTreeMap<u32, u64>, endpoints: std::ops::Range<u32>) -> u64 {
    shares.iter().filter(|(at, _)| endpoints.contains(at)).map(|(_, share)| share).sum()
}

#[test]
fn an_evacuated_region_loses_its_calls_along_the_ramp_and_gets_them_back() {
    let places = [many(2, "home", "a"), many(2, "home", "b"), many(2, "far", "a")].concat();
    let service = evacuated(places, "home", None);

    let abroad = [0, 250, 500, 1_000, 9_999, 10_000].map(|ms| share_of(&shares(&service, ms), 4..6));

    for (have, want) in abroad.into_iter().zip([0, 25, 50, 100, 100, 0]) {
        assert!(have.abs_diff(want) <= 4, "{abroad:?}");
    }
}

#[test]
fn an_evacuated_zone_is_replaced_inside_the_region() {
    let places = [many(2, "home", "b"), many(2, "home", "c"), many(2, "far", "a")].concat();
    let service = evacuated(places, "home", Some("b"));

    let shares = shares(&service, 1_000);

    assert_eq!(share_of(&shares, 2..4), 100, "{shares:?}");
}

#[test]
fn an_evacuated_place_answers_when_nobody_else_can() {
    let alone = evacuated(many(2, "home", "a"), "home", None);
    assert_eq!(share_of(&shares(&alone, 5_000), 0..2), 100);

    let far_is_short = evacuated([many(2, "home", "a"), many(2, "far", "a")].concat(), "home", None);
    eject(&far_is_short, 2, 4_900);
    let shares = shares(&far_is_short, 5_000);

    assert!(near(Some(&share_of(&shares, 0..2)), 30), "{shares:?}");
}

#[test]
fn a_retry_goes_back_to_an_evacuated_place_last() {
    let service = evacuated([many(2, "home", "a"), many(2, "far", "a")].concat(), "home", None);

    assert_eq!(retried(&service, &[2]), [3]);
}

#[test]
fn a_region_with_too_little_left_is_passed_over_as_a_whole() {
    let places = [many(1, "home", "a"), many(10, "far", "a"), many(10, "nigh", "a")].concat();
    let service = service(places);
    (0..9).for_each(|endpoint| eject(&service, endpoint, 0));

    let shares = shares(&service, 1);

    assert_eq!(share_of(&shares, 11..21), 100, "{shares:?}");
}

#[test]
fn an_endpoint_that_returned_grows_into_its_share() {
    let rules = HealthRules { failure_penalty_us: 0, ..HEALTH };
    let service = service(many(2, "home", "a"));
    for _ in 0..3 {
        service.report(1, &rules, Moment(0), Outcome::Failed { latency_us: 1 });
    }
    service.endpoint(1).state.begin(Moment(1_000));
    service.endpoint(1).state.end();
    service.report(1, &rules, Moment(1_000), Outcome::Answered { latency_us: 1 });

    let grown = [1_000, 3_500, 6_000].map(|ms| share_of(&shares(&service, ms), 1..2));

    assert!(grown[0] < 20 && grown[0] < grown[1] && grown[1] < grown[2], "{grown:?}");
    assert!(grown[2].abs_diff(50) <= 4, "{grown:?}");
}

#[test]
fn spread_tells_the_shares_that_picks_have() {
    let service = service([many(4, "home", "a"), many(4, "home", "b")].concat());
    (0..2).for_each(|endpoint| eject(&service, endpoint, 0));

    let told = spread(&RULES, &service, service.home(), Moment(1));

    assert!((told[0] - 0.7).abs() < 1e-9 && (told[1] - 0.3).abs() < 1e-9, "{told:?}");
}

/// One endpoint of a random service: where it is, what is said of it, and what has happened to it.
#[derive(Clone, Debug)]
struct Lot {
    spec: EndpointSpec,
    ejected: bool,
    latency_us: u32,
    in_flight: u32,
}

fn lot() -> impl Strategy<Value = Lot> {
    let place = (0..3_usize, 0..4_usize);
    let marks = (prop::bool::weighted(0.8), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let life = (prop::bool::weighted(0.3), 0..500_000_u32, 0..8_u32);
    (place, marks, 1..20_u32, life).prop_map(|((region, zone), marks, weight, life)| {
        let place = spec(["home", "near", "far"][region], ["a", "b", "c", "unknown"][zone]);
        let (healthy, unverified, stale) = marks;
        let spec = EndpointSpec { healthy, unverified, stale, weight: f64::from(weight) / 4.0, ..place };
        Lot { spec, ejected: life.0, latency_us: life.1, in_flight: life.2 }
    })
}

fn built(lots: &[Lot]) -> Service {
    let service = service(lots.iter().map(|lot| lot.spec.clone()));
    for (position, lot) in (0..).zip(lots) {
        service.report(position, &HEALTH, Moment(0), Outcome::Answered { latency_us: lot.latency_us });
        (0..lot.in_flight).for_each(|_| service.endpoint(position).state.begin(Moment(0)));
        if lot.ejected {
            eject(&service, position, 0);
        }
    }
    service
}

/// The weight a rung and region has in all, and what of it is healthy and in rotation; counted from the lots alone.
fn rung_weights(service: &Service, lots: &[Lot]) -> Vec<(f64, f64)> {
    let mut rungs: Vec<((Rung, String), (f64, f64))> = Vec::new();
    for step in service.home().steps() {
        let key = (step.rung, step.region.to_string());
        if rungs.last().is_none_or(|(last, _)| *last != key) {
            rungs.push((key, (0.0, 0.0)));
        }
        let Some((_, (all, available))) = rungs.last_mut() else { unreachable!("one was pushed") };
        for endpoint in step.endpoints() {
            let lot = &lots[endpoint as usize];
            *all += lot.spec.weight;
            *available += if lot.spec.healthy && !lot.ejected { lot.spec.weight } else { 0.0 };
        }
    }
    rungs.into_iter().map(|(_, weights)| weights).collect()
}

/// The position of the rung an endpoint stands on.
fn rung_of(service: &Service, endpoint: u32) -> usize {
    let mut position = 0;
    let steps = service.home().steps();
    for (at, step) in steps.iter().enumerate() {
        if at > 0 && (step.rung, &step.region) != (steps[at - 1].rung, &steps[at - 1].region) {
            position += 1;
        }
        if step.endpoints().any(|stands| stands == endpoint) {
            return position;
        }
    }
    unreachable!("every endpoint stands on a step")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_a_worse_rung_while_a_better_one_has_enough(
        lots in prop::collection::vec(lot(), 1..24), dice: u64, ms in 0..2_000_u64,
    ) {
        let service = built(&lots);
        let lots: Vec<_> =
            lots.into_iter().map(|lot| Lot { ejected: lot.ejected && ms < 1_000, ..lot }).collect();
        let enough = rung_weights(&service, &lots)
            .iter()
            .position(|(all, available)| available * RULES.over_provision >= all * 1.000_001);

        let decision = pick(&RULES, &service, service.home(), Moment(ms), dice, &[]);

        let Decision::Use(choice) = decision else { panic!("{decision:?} though there are endpoints") };
        if let Some(enough) = enough {
            prop_assert!(rung_of(&service, choice.endpoint) <= enough);
            let lot = &lots[choice.endpoint as usize];
            prop_assert!(lot.spec.healthy && !lot.ejected, "a broken endpoint was chosen in good times");
        }
    }

    #[test]
    fn explain_equals_route(
        lots in prop::collection::vec(lot(), 0..24), dice: u64, tried in prop::collection::vec(0..24_u32, 0..4),
    ) {
        let service = built(&lots);
        let tried: Vec<u32> = tried.into_iter().filter(|at| (*at as usize) < lots.len()).collect();

        let decision = pick(&RULES, &service, service.home(), Moment(1), dice, &tried);
        let told = explain(&RULES, &service, service.home(), Moment(1), dice, &tried);

        prop_assert_eq!(decision, told.decision);
        prop_assert_eq!(decision == Decision::Nobody, lots.is_empty());
    }

    #[test]
    fn a_retry_never_repeats_an_endpoint_while_another_is_left(
        lots in prop::collection::vec(lot(), 2..12), dice: u64, first in 0..12_u32,
    ) {
        let service = built(&lots);
        let first = first % lots.len() as u32;

        let decision = pick(&RULES, &service, service.home(), Moment(1), dice, &[first]);

        let Decision::Use(choice) = decision else { panic!("{decision:?} though there are endpoints") };
        prop_assert_ne!(choice.endpoint, first);
    }

    #[test]
    fn an_evacuated_place_gets_nothing_while_the_others_have_enough(
        lots in prop::collection::vec(lot(), 1..24), dice: u64, zone in prop::option::of(0..3_usize),
    ) {
        let zone = zone.map(|zone| ["a", "b", "c"][zone]);
        let leaves = |spec: &EndpointSpec| {
            spec.region.as_str() == "home" && zone.is_none_or(|zone| spec.zone.as_str() == zone)
        };
        let stays: Vec<_> = lots.iter().filter(|lot| !leaves(&lot.spec)).cloned().collect();
        let service = leaving(lots.iter().map(|lot| lot.spec.clone()), &[drill("home", zone)]);
        let staying = built(&stays);
        let enough = rung_weights(&staying, &stays)
            .iter()
            .any(|(all, available)| available * RULES.over_provision >= all * 1.000_001);
        for (position, lot) in (0..).zip(&lots) {
            if lot.ejected {
                eject(&service, position, 1_500);
            }
        }

        let decision = pick(&RULES, &service, service.home(), Moment(2_000), dice, &[]);

        let Decision::Use(choice) = decision else { panic!("{decision:?} though there are endpoints") };
        prop_assert!(!enough || !leaves(&lots[choice.endpoint as usize].spec));
    }

    #[test]
    fn the_shares_of_all_steps_are_one(lots in prop::collection::vec(lot(), 1..24), drilled: bool) {
        let drills = if drilled { vec![drill("home", Some("a"))] } else { Vec::new() };
        let service = leaving(lots.iter().map(|lot| lot.spec.clone()), &drills);
        (0..).zip(&lots).filter(|(_, lot)| lot.ejected).for_each(|(at, _)| eject(&service, at, 0));

        let told = spread(&RULES, &service, service.home(), Moment(500));

        prop_assert!((told.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{told:?}");
    }
}
