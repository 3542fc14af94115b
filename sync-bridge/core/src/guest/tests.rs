//! A guest's dialogue with its host, step by step: what goes, what is held, and what never comes in.

use std::sync::Arc;

use landbridge_model::{Address, Cluster, Instance, Life, MemberId, Region, Registration, Stamp};

use super::*;

const SETTLE_MS: u64 = 60_000;
const HOLD_MS: u64 = 600_000;
const LATER: u64 = SETTLE_MS + 1;

const SETTINGS: Settings = Settings {
    settle_ms: SETTLE_MS,
    hold_max_ms: HOLD_MS,
    mass_window_ms: 10_000,
    mass_share_percent: 30,
    mass_instances_min: 50,
    instances_max: 1_000,
    services_max: 100,
    notices: true,
};

fn service(name: &str) -> ServiceKey {
    ServiceKey::parse("public", "shop", name).unwrap()
}

fn place() -> Place {
    Selection::parse("public/shop/ALL").unwrap().place()
}

fn task(name: &str, selection: &str) -> Task {
    let selection = Selection::parse(selection).unwrap();
    Task { name: name.into(), way: Way::In, selection, paused: false }
}

fn native(host: usize) -> Native {
    native_with(host, &[])
}

fn native_with(host: usize, pairs: &[(&str, &str)]) -> Native {
    let ip = Address::parse(&format!("10.0.{}.{}", host / 250, host % 250)).unwrap();
    let metadata = Metadata::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into()))).unwrap();
    let key = InstanceKey { ip, port: 80, cluster: Cluster::parse("").unwrap() };
    Native { key, instance: Instance::plain(metadata), persistent: false }
}

/// A guest with what it did so far.
struct Stage {
    guest: Guest,
    effects: Vec<Effect>,
}

impl Stage {
    fn new(known: Vec<(RecordKey, Record)>) -> Self {
        let guest = Guest::new(SETTINGS, vec![task("all", "public/shop/ALL")], known);
        Self { guest, effects: Vec::new() }
    }

    /// What follows from an input at a moment.
    fn at(&mut self, ms: u64, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.guest.step(Moment(ms), ms, input, &mut effects);
        self.effects.extend(effects.clone());
        effects
    }

    fn lists(&mut self, ms: u64, names: &[&str]) -> Vec<Effect> {
        let services = names.iter().map(|name| service(name)).collect();
        self.at(ms, Input::Listed { place: place(), services, whole: true })
    }

    fn hears(&mut self, ms: u64, name: &str, hosts: impl IntoIterator<Item = usize>) -> Vec<Effect> {
        let instances = hosts.into_iter().map(native).collect();
        self.at(ms, Input::Heard { service: service(name), made_ms: ms, instances })
    }

    /// Connected at 0 with so many instances of `orders`, and settled.
    fn settled(hosts: usize) -> Self {
        let mut stage = Self::new(Vec::new());
        stage.at(0, Input::Connected);
        stage.lists(0, &["orders"]);
        stage.hears(0, "orders", 0..hosts);
        assert_eq!(stage.guest.state(), State::Open);
        stage
    }

    fn shown(&self) -> usize {
        self.guest.counts().0
    }
}

fn opened(effects: &[Effect]) -> Option<usize> {
    effects.iter().find_map(|effect| match effect {
        Effect::Open { records } => Some(records.len()),
        _ => None,
    })
}

#[test]
fn a_feed_is_opened_only_when_every_listed_service_was_heard() {
    let mut stage = Stage::new(Vec::new());

    stage.at(0, Input::Connected);
    assert_eq!(opened(&stage.lists(1, &["orders", "pay"])), None);
    assert_eq!(opened(&stage.hears(2, "orders", 0..3)), None);
    assert_eq!(opened(&stage.hears(3, "pay", 3..5)), Some(5));
}

#[test]
fn a_partial_list_neither_opens_the_feed_nor_takes_anything_away() {
    let mut stage = Stage::settled(3);
    let services = BTreeSet::new();

    stage.at(LATER, Input::Listed { place: place(), services: services.clone(), whole: false });
    stage.at(LATER + HOLD_MS, Input::Tick);
    assert_eq!(stage.shown(), 3);

    stage.at(LATER + HOLD_MS, Input::Connected);
    let effects = stage.at(LATER + HOLD_MS, Input::Listed { place: place(), services, whole: false });
    assert_eq!((opened(&effects), stage.shown()), (None, 3));
}

#[test]
fn on_a_settled_connection_what_is_gone_goes_at_once() {
    let mut stage = Stage::settled(10);

    let effects = stage.hears(LATER, "orders", 1..10);

    assert!(effects.contains(&Effect::Went { instances: 1 }), "{effects:?}");
    assert_eq!(stage.shown(), 9);
}

#[test]
fn silence_of_any_length_deletes_nothing_and_closes_the_feed() {
    let mut stage = Stage::settled(10);

    assert!(stage.at(LATER, Input::Lost).contains(&Effect::Close));
    stage.at(LATER + 10 * HOLD_MS, Input::Tick);

    assert_eq!((stage.shown(), stage.guest.state()), (10, State::Silent));
}

#[test]
fn a_guest_that_came_back_empty_keeps_what_it_showed_until_its_clients_are_back() {
    let mut stage = Stage::settled(10);
    let restart = LATER;

    stage.at(restart, Input::Lost);
    stage.at(restart + 5_000, Input::Connected);
    assert_eq!(opened(&stage.lists(restart + 5_000, &[])), Some(10), "the new feed lacks what is held");
    stage.lists(restart + 20_000, &["orders"]);
    stage.hears(restart + 20_000, "orders", 0..4);
    stage.hears(restart + 40_000, "orders", 0..10);
    stage.at(restart + 5_000 + SETTLE_MS + 1, Input::Tick);

    assert_eq!(stage.shown(), 10);
    assert!(!stage.effects.iter().any(|effect| matches!(effect, Effect::Went { .. })));
}

#[test]
fn one_that_died_with_the_restart_goes_when_the_guest_has_settled() {
    let mut stage = Stage::settled(10);
    stage.at(LATER, Input::Connected);
    stage.lists(LATER, &["orders"]);
    stage.hears(LATER, "orders", 1..10);
    assert_eq!(stage.shown(), 10);

    stage.at(LATER + SETTLE_MS - 1, Input::Tick);
    assert_eq!(stage.shown(), 10);
    stage.at(LATER + SETTLE_MS, Input::Tick);

    assert_eq!(stage.shown(), 9);
}

#[test]
fn a_guest_that_lost_its_memory_is_held_until_an_operator_or_the_longest_hold_ends() {
    for by_operator in [true, false] {
        let mut stage = Stage::settled(3);
        stage.at(LATER, Input::Connected);
        stage.lists(LATER, &[]);

        let effects = stage.at(LATER + SETTLE_MS, Input::Tick);
        assert!(effects.contains(&Effect::Held { instances: 3 }), "{effects:?}");
        stage.at(LATER + HOLD_MS - 1, Input::Tick);
        assert_eq!(stage.shown(), 3);
        if by_operator {
            stage.at(LATER + HOLD_MS - 1, Input::Release);
        } else {
            stage.at(LATER + HOLD_MS, Input::Tick);
        }

        assert_eq!(stage.shown(), 0);
    }
}

#[test]
fn a_mass_loss_without_an_interruption_is_held_too() {
    let mut stage = Stage::settled(100);

    let effects = stage.hears(LATER, "orders", 60..100);

    assert_eq!(stage.shown(), 100);
    assert!(effects.contains(&Effect::Held { instances: 60 }), "{effects:?}");
    let effects = stage.hears(LATER + 1_000, "orders", 0..100);
    assert!(effects.contains(&Effect::Held { instances: 0 }), "{effects:?}");
}

#[test]
fn silence_does_not_count_towards_the_longest_hold() {
    let mut stage = Stage::settled(3);
    stage.at(LATER, Input::Connected);
    stage.lists(LATER, &[]);
    stage.at(LATER + 1, Input::Lost);

    stage.at(LATER + 2 * HOLD_MS, Input::Connected);
    stage.lists(LATER + 2 * HOLD_MS, &[]);

    assert_eq!(stage.shown(), 3);
}

#[test]
fn a_refused_service_keeps_what_is_held_of_it_and_holds_nobody_up() {
    let mut stage = Stage::settled(3);
    stage.at(LATER, Input::Connected);
    stage.lists(LATER, &["orders"]);

    let effects = stage.at(LATER, Input::Refused { service: service("orders") });
    stage.at(LATER + HOLD_MS, Input::Tick);

    assert_eq!((opened(&effects), stage.shown()), (Some(3), 3));
}

#[test]
fn what_a_synchroniser_wrote_into_the_guest_never_comes_back() {
    let mut stage = Stage::settled(0);
    let stamped = STAMPS.map(|stamp| native_with(1, &[(stamp, "west")]));

    for native in stamped {
        stage.at(1, Input::Heard { service: service("orders"), made_ms: 1, instances: vec![native] });
    }

    assert_eq!(stage.shown(), 0);
}

#[test]
fn an_answer_that_is_older_than_the_last_news_is_dropped() {
    let mut stage = Stage::settled(3);

    stage.hears(LATER + 10, "orders", 0..4);
    let stale = Input::Heard { service: service("orders"), made_ms: LATER, instances: Vec::new() };
    stage.at(LATER + 11, stale);

    assert_eq!(stage.shown(), 4);
}

#[test]
fn after_a_restart_of_the_bridge_an_unchanged_record_keeps_its_stamp_and_a_changed_one_gets_a_greater() {
    let stamp = Stamp { clock: Stamp::clock_at(500), member: MemberId(1) };
    let native = native(1);
    let life = Life::Session(Arc::new(native.instance.clone()));
    let key = RecordKey::Instance(service("orders"), native.key.clone());
    let known = (key, Record::Registration(Registration { stamp, take: 0, life }));
    let mut stage = Stage::new(vec![known]);
    stage.at(10, Input::Connected);
    stage.lists(10, &["orders"]);

    let same = stage.hears(11, "orders", [1]);
    let changed = native_with(1, &[("version", "2")]);
    let news = Input::Heard { service: service("orders"), made_ms: 12, instances: vec![changed] };
    let changed = stage.at(12, news);

    let clocks = |effects: &[Effect]| -> Vec<u64> {
        let records = effects.iter().flat_map(|effect| match effect {
            Effect::Open { records } => records.iter().map(|(_, record)| record.clone()).collect(),
            Effect::Write { changes } => changes.iter().filter_map(|change| change.record.clone()).collect(),
            _ => Vec::new(),
        });
        records.filter_map(|record| Some(record.registration()?.stamp.clock)).collect()
    };
    assert_eq!(clocks(&same), [stamp.clock]);
    assert!(clocks(&changed)[0] > stamp.clock, "{changed:?}");
}

#[test]
fn a_paused_task_keeps_what_it_brought_and_a_deleted_one_takes_it_away() {
    let mut stage = Stage::settled(3);

    let paused = Task { paused: true, ..task("all", "public/shop/ALL") };
    stage.at(LATER, Input::Tasks(vec![paused]));
    stage.hears(LATER + 1, "orders", []);
    assert_eq!((stage.shown(), stage.guest.places().len()), (3, 0));
    let effects = stage.at(LATER + 2, Input::Tasks(Vec::new()));

    let deleted =
        effects.iter().any(|effect| matches!(effect, Effect::Write { changes } if changes.len() == 3));
    assert!(deleted && stage.shown() == 0, "{effects:?}");
}

#[test]
fn more_instances_than_there_is_room_for_are_told_and_not_taken() {
    let mut stage = Stage::settled(0);

    let effects = stage.hears(1, "orders", 0..1_010);

    assert!(effects.contains(&Effect::Full { instances: 10 }), "{effects:?}");
    assert_eq!(stage.shown(), 1_000);
}

#[test]
fn regions_are_told_from_the_guest() {
    let way = Way::Out(Region::parse("west").unwrap());
    let guest = Guest::new(SETTINGS, vec![Task { way, ..task("out", "public/shop/ALL") }], Vec::new());

    assert!(guest.places().is_empty() && guest.watched().is_empty());
}
