//! Tests of slow zones: small worlds whose time is counted, then properties over random services.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    endpoint::Outcome,
    ladder::{Caller, Costs},
    pick::{Decision, PickRules, explain, overtake, pick, spread},
    route::RouteTable,
    service::{
        EndpointSpec, Name,
        testing::{RULES as HEALTH, caller, eject, service, spec},
    },
    snapshot::Book,
};

const RULES: PickRules =
    PickRules { over_provision: 1.4, panic_share: 0.2, region_share_min: 0.25, health: HEALTH };

/// How an endpoint answers: after a time, and at most so many calls a second, one after the other.
#[derive(Clone, Copy)]
struct Manner {
    latency_ms: u64,
    each_ms: u64,
}

const FAST: Manner = Manner { latency_ms: 1, each_ms: 0 };
const SLOW: Manner = Manner { latency_ms: 300, each_ms: 0 };

/// Two endpoints in each of three places, home/a, home/b and far/a, and calls at their pace.
struct World {
    service: Service,
    manners: [Manner; 6],
    free_at: [u64; 6],
    now: u64,
    open: BTreeMap<(u64, u64), (u32, u64)>,
    calls: u64,
    every_ms: u64,
    rules: PickRules,
}

/// What share of calls went to each place.
#[derive(Clone, Copy, Debug)]
struct Shares {
    zone: f64,
    region: f64,
    far: f64,
}

impl World {
    fn new(per_second: u64) -> Self {
        let places = [("home", "a"), ("home", "b"), ("far", "a")];
        let service = service(places.iter().flat_map(|(region, zone)| vec![spec(region, zone); 2]));
        Self {
            service,
            manners: [FAST; 6],
            free_at: [0; 6],
            now: 1_000,
            open: BTreeMap::new(),
            calls: 0,
            every_ms: 1_000 / per_second,
            rules: RULES,
        }
    }

    fn set(&mut self, endpoints: std::ops::Range<usize>, manner: Manner) {
        self.manners[endpoints].fill(manner);
    }

    /// Lives through so many milliseconds.
    fn run(&mut self, ms: u64) -> Shares {
        let mut counts = [0.0; 3];
        for now in self.now..self.now + ms {
            while let Some(entry) = self.open.first_entry().filter(|entry| entry.key().0 <= now) {
                let (endpoint, begun) = entry.remove();
                let outcome = Outcome::Answered { latency_us: (now - begun) as u32 * 1_000 };
                self.service.report(endpoint, &self.rules.health, Moment(now), outcome);
                self.service.endpoint(endpoint).state.end();
            }
            if now % self.every_ms != 0 {
                continue;
            }
            let dice = self.calls.wrapping_mul(0x2545_f491_4f6c_dd1d);
            let decision = pick(&self.rules, &self.service, self.service.home(), Moment(now), dice, &[]);
            let Decision::Use(choice) = decision else { panic!("{decision:?} though there are endpoints") };
            let at = choice.endpoint as usize;
            self.service.endpoint(choice.endpoint).state.begin(Moment(now));
            self.free_at[at] = self.free_at[at].max(now) + self.manners[at].each_ms;
            let answered = self.free_at[at] + self.manners[at].latency_ms;
            self.open.insert((answered, self.calls), (choice.endpoint, now));
            self.calls += 1;
            counts[at / 2] += 1.0;
        }
        self.now += ms;
        let all: f64 = counts.iter().sum();
        Shares { zone: counts[0] / all, region: counts[1] / all, far: counts[2] / all }
    }
}

#[test]
fn a_slow_zone_is_left_within_a_second_and_keeps_a_trickle() {
    for per_second in [50, 100, 500] {
        let mut world = World::new(per_second);
        assert_eq!(world.run(2_000).zone, 1.0);

        world.set(0..2, SLOW);
        world.run(1_000);
        let shares = world.run(20_000);

        assert!(shares.zone > 0.005 && shares.zone < 0.04, "{per_second}/s: {shares:?}");
        assert_eq!(shares.far, 0.0, "nobody leaves the region for slowness");
    }
}

#[test]
fn a_zone_that_was_slow_comes_back_by_itself() {
    let mut world = World::new(50);
    world.set(0..2, SLOW);
    world.run(10_000);

    world.set(0..2, FAST);
    world.run(15_000);

    assert_eq!(world.run(5_000).zone, 1.0);
}

#[test]
fn a_zone_of_few_calls_is_left_and_comes_back_too() {
    let mut world = World::new(4);
    world.set(0..2, SLOW);
    world.run(10_000);
    assert!(world.run(60_000).zone < 0.15);

    world.set(0..2, FAST);
    world.run(120_000);

    assert_eq!(world.run(10_000).zone, 1.0);
}

#[test]
fn a_zone_with_one_fast_endpoint_keeps_its_calls() {
    let mut world = World::new(50);
    world.set(0..1, SLOW);

    assert_eq!(world.run(10_000).zone, 1.0);
}

#[test]
fn a_zone_below_the_floor_keeps_its_calls_however_fast_the_next_one_is() {
    let mut world = World::new(50);
    world.set(0..2, Manner { latency_ms: 80, ..FAST });

    assert_eq!(world.run(10_000).zone, 1.0);
}

#[test]
fn a_service_that_is_slow_everywhere_stays_but_for_a_few_calls_that_explore() {
    for latency_ms in [300, 2_000] {
        let mut world = World::new(50);
        world.set(0..6, Manner { latency_ms, ..FAST });
        world.run(10_000);

        let shares = world.run(60_000);

        assert!(shares.zone > 0.95, "{latency_ms} ms: {shares:?}");
        assert_eq!(shares.far, 0.0);
    }
}

#[test]
fn a_zone_that_answered_once_late_is_not_left() {
    let mut world = World::new(50);
    world.run(1_000);
    world.set(0..2, SLOW);
    world.run(40);
    world.set(0..2, FAST);

    assert_eq!(world.run(5_000).zone, 1.0);
}

#[test]
fn the_rest_of_a_region_that_is_slow_under_the_load_shares_it_with_the_zone() {
    let mut world = World::new(100);
    world.set(0..2, SLOW);
    world.set(2..4, Manner { latency_ms: 1, each_ms: 35 });
    world.run(10_000);

    let shares: Vec<Shares> = (0..10).map(|_| world.run(3_000)).collect();

    assert!(shares.iter().all(|one| one.zone > 0.1 && one.region > 0.1 && one.far == 0.0), "{shares:#?}");
    let mean = shares.iter().map(|one| one.zone).sum::<f64>() / 10.0;
    assert!((0.3..0.8).contains(&mean), "the others bear 57 of 100 calls: {shares:#?}");
}

#[test]
fn a_factor_of_zero_leaves_all_calls_where_they_are() {
    let mut world = World::new(50);
    world.rules.health.slow_factor = 0.0;
    world.set(0..2, SLOW);

    assert_eq!(world.run(5_000).zone, 1.0);
}

#[test]
fn a_gateway_that_is_told_to_look_no_more_sends_all_calls_back() {
    let mut world = World::new(50);
    world.set(0..2, SLOW);
    world.run(5_000);

    world.rules.health.slow_factor = 0.0;

    assert_eq!(world.run(2_000).zone, 1.0);
}

#[test]
fn what_was_learned_of_a_zone_is_forgotten_when_nobody_calls() {
    let mut world = World::new(50);
    world.set(0..2, SLOW);
    world.run(5_000);
    let share = |ms: u64| world.service.state.stay.share(&HEALTH, Moment(world.now + ms));

    assert_eq!((share(0), share(u64::from(KNOWN_MS))), (TRICKLE, 1.0));
}

/// A service that left its slow zone, at moment 3,000.
fn left(specs: Vec<EndpointSpec>) -> Service {
    let service = service(specs);
    learn(&service, |endpoint| endpoint.zone.as_str() == "a");
    service
}

/// Lets every endpoint answer for three seconds, slow ones after 300 ms, others after one.
fn learn(service: &Service, is_slow: impl Fn(&Endpoint) -> bool) {
    for now in (0..=3_000).step_by(100) {
        for (position, endpoint) in (0..).zip(service.endpoints()) {
            let latency_us = if is_slow(endpoint) { 300_000 } else { 1_000 };
            service.report(position, &HEALTH, Moment(now), Outcome::Answered { latency_us });
        }
    }
}

#[test]
fn what_the_rest_of_the_region_cannot_bear_stays_in_the_slow_zone() {
    let places = [vec![spec("home", "a"); 2], vec![spec("home", "b"); 4], vec![spec("far", "b"); 4]];
    let service = left(places.concat());
    assert_eq!(spread(&RULES, &service, service.home(), Moment(3_000)), [TRICKLE, 1.0 - TRICKLE, 0.0]);

    (2..4).for_each(|endpoint| eject(&service, endpoint, 3_000));

    let told = spread(&RULES, &service, service.home(), Moment(3_001));
    assert!((told[0] - 0.3).abs() < 1e-6 && (told[1] - 0.7).abs() < 1e-6 && told[2] == 0.0, "{told:?}");
}

#[test]
fn tries_beside_and_after_others_pass_over_a_slow_zone_but_never_over_the_region() {
    let places = [vec![spec("home", "a"); 2], vec![spec("home", "b"); 2], vec![spec("far", "b"); 2]];
    let service = left(places.concat());
    let beside =
        |tried: &[u32]| match overtake(&RULES, &service, service.home(), Moment(3_000), 7, tried, false) {
            Decision::Use(choice) => choice.rung,
            Decision::Nobody => panic!("somebody is near"),
        };
    let again = |tried: &[u32]| match pick(&RULES, &service, service.home(), Moment(3_000), 7, tried) {
        Decision::Use(choice) => choice.rung,
        Decision::Nobody => panic!("somebody is there"),
    };

    assert_eq!((beside(&[0]), again(&[0])), (Rung::SameRegion, Rung::SameRegion));
    assert_eq!((beside(&[2, 3]), again(&[2, 3])), (Rung::SameZone, Rung::SameZone));
}

#[test]
fn what_was_learned_of_a_zone_survives_snapshots_and_holds_for_callers_of_that_place_alone() {
    let mut book = Book::new(caller("home", "a"), Costs::default(), vec![RouteTable::default()]);
    let name = || Name::Static("s".into());
    let at = |port, zone| EndpointSpec { port, ..spec("home", zone) };
    book.put(name(), vec![at(1, "a"), at(2, "b")], &HEALTH, Moment(0));
    let before = book.snapshot();
    learn(before.service(0), |endpoint| endpoint.zone.as_str() == "a");

    book.put(name(), vec![at(1, "a"), at(2, "b"), at(3, "b")], &HEALTH, Moment(3_000));
    let after = book.snapshot();

    let service = after.service(0);
    let first = |caller: &Caller| {
        let told = explain(&RULES, service, &after.ladder(caller, service), Moment(3_000), 1, &[]);
        told.weighed[0].keeps
    };
    assert_eq!((first(&caller("home", "a")), first(&caller("home", "b"))), (TRICKLE, 1.0));
    assert!(Arc::ptr_eq(&before.service(0).state, &service.state));
}

#[test]
fn a_remembered_latency_is_the_median_of_five_to_an_eighth() {
    let usual = Usual::default();
    for (count, latency_us) in [900_000, 900_000, 5, 900_000, 70].into_iter().enumerate() {
        assert_eq!(usual.median_us() > 100_000, count > 3, "three of five");
        usual.learn(Moment(0), latency_us);
    }
    for latency_us in [2, 9, 1_000, 77_777, 300_000, u32::MAX] {
        let floor = floor_us(class(latency_us));
        assert!(floor <= latency_us && floor >= latency_us - latency_us / 8, "{latency_us}: {floor}");
    }
    assert_eq!(usual.known_us(Moment(u64::from(KNOWN_MS) + 64)), None);
}

/// Where an endpoint of a random service stands, and how it does: healthy, verified, in rotation, slow.
type Lot = (usize, [bool; 4]);

fn lot() -> impl Strategy<Value = Lot> {
    let marks = [0.8, 0.8, 0.7, 0.6].map(prop::bool::weighted);
    (0..4_usize, marks)
}

fn built(lots: &[Lot]) -> Service {
    let place = |at: usize| [("home", "a"), ("home", "b"), ("home", "c"), ("far", "a")][at];
    let service = service(lots.iter().map(|(at, [healthy, verified, ..])| EndpointSpec {
        healthy: *healthy,
        unverified: !verified,
        ..spec(place(*at).0, place(*at).1)
    }));
    (0..).zip(lots).filter(|(_, lot)| !lot.1[2]).for_each(|(at, _)| eject(&service, at, 0));
    for now in (100..=900).step_by(100) {
        for (at, lot) in (0..).zip(lots) {
            let latency_us = if lot.1[3] { 300_000 } else { 1_000 };
            if lot.1[2] {
                service.report(at, &HEALTH, Moment(now), Outcome::Answered { latency_us });
            }
        }
    }
    service
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_a_worse_rung_while_a_better_one_has_enough_and_is_not_slow(
        lots in prop::collection::vec(lot(), 1..16), dice: u64,
    ) {
        let service = built(&lots);
        let takes = |(_, [healthy, _, admitted, _]): &&Lot| *healthy && *admitted;
        let of = |places: std::ops::Range<usize>| lots.iter().filter(move |lot| places.contains(&lot.0));
        let bears = |places: std::ops::Range<usize>| {
            let all = of(places.clone()).count() as f64;
            if all == 0.0 { 0.0 } else { of(places).filter(takes).count() as f64 * 1.4 / all }
        };
        let is_slow = of(0..1).filter(takes).all(|lot| lot.1[3]);
        let is_better = of(1..3).filter(takes).any(|lot| lot.1[1] && !lot.1[3]);

        let decision = pick(&RULES, &service, service.home(), Moment(900), dice, &[]);

        let Decision::Use(choice) = decision else { panic!("{decision:?} though there are endpoints") };
        if bears(0..1) >= 1.001 && !is_slow {
            prop_assert_eq!(choice.rung, Rung::SameZone);
        }
        if !is_better {
            let share = service.state.stay.share(&HEALTH, Moment(900));
            prop_assert!(share >= 1.0 - TRICKLE, "{share} stays though nobody near is faster");
        }
        if bears(0..1) + bears(1..3) >= 1.001 {
            prop_assert!(choice.rung <= Rung::SameRegion, "it left the region for slowness");
        }
    }

    #[test]
    fn explain_equals_route_when_zones_are_slow(
        lots in prop::collection::vec(lot(), 1..16), dice: u64, tried in prop::collection::vec(0..16_u32, 0..4),
    ) {
        let service = built(&lots);
        let tried: Vec<u32> = tried.into_iter().filter(|at| (*at as usize) < lots.len()).collect();

        let decision = pick(&RULES, &service, service.home(), Moment(900), dice, &tried);
        let told = explain(&RULES, &service, service.home(), Moment(900), dice, &tried);

        prop_assert_eq!(decision, told.decision);
        let keeps = service.state.stay.share(&HEALTH, Moment(900));
        let is_told = |step: usize| service.home().steps()[step].rung != Rung::SameZone || keeps >= 1.0;
        prop_assert!(told.weighed.iter().all(|one| is_told(one.step) || one.keeps >= keeps));
        let believed = told.weighed.iter().filter(|one| one.capacity > one.keeps + 1e-6);
        prop_assert_eq!(believed.count(), 0, "a slow zone keeps no more than is told: {:?}", told.weighed);
    }
}
