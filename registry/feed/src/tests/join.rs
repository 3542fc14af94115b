//! The join: who wins, what is laid over, and who hears of a difference.

use std::sync::Arc;

use landbridge_model::{Change, Definition, Instance, Life, Metadata, Overlay, Record, RecordKey};

use super::world::*;
use crate::Effect;

/// Two members that follow each other.
fn two() -> World {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), listed(2, 0)]);
    world.member("c", 2, &[listed(1, 0), listed(2, 0)]);
    world.connect("a", "c");
    world.tick(3);
    world.effects.clear();
    world
}

fn touches(world: &World, name: &str) -> usize {
    let touched = Effect::Touched { region: near(), service: service("orders") };
    world.effects.iter().filter(|(at, effect)| *at == name && *effect == touched).count()
}

#[test]
fn the_greatest_stamp_wins_whatever_came_last() {
    let mut world = two();
    world.write("a", vec![set(1, session(5, "newer"))]);
    world.write("c", vec![set(1, session(4, "older"))]);
    world.run();

    for name in ["a", "c"] {
        assert_eq!(world.shown(name)[&1], "newer");
        assert_eq!(world.holders[name].greatest_clock(), 5);
    }
}

#[test]
fn a_take_over_wins_under_the_same_stamp_and_the_feed_decides_last() {
    let mut world = two();
    let taken = |take| {
        let mut record = session(5, &format!("take {take}"));
        if let Record::Registration(registration) = &mut record {
            registration.take = take;
        }
        record
    };
    world.write("a", vec![set(1, taken(1)), set(2, session(7, "first feed"))]);
    world.write("c", vec![set(1, taken(0)), set(2, session(7, "second feed"))]);
    world.run();

    assert_eq!(world.shown("a")[&1], "take 1");
    assert_eq!(world.shown("a")[&2], "second feed");
    assert_eq!(world.shown("a"), world.shown("c"));
}

#[test]
fn a_tombstone_hides_older_records_and_is_itself_never_shown() {
    let mut world = two();
    world.write("a", vec![set(1, session(5, "x"))]);
    world.write("c", vec![set(1, tombstone(6))]);
    world.run();
    assert!(world.shown("a").is_empty());
    assert_eq!(world.holders["a"].services(&near()).count(), 0);
    let (_, winner) = world.holders["a"].winner(&near(), &service("orders"), &instance(1)).unwrap();
    assert_eq!(winner.life, Life::Tombstone);

    world.write("c", vec![unset(1)]);
    world.run();

    assert_eq!(world.shown("a").len(), 1);
}

#[test]
fn a_persistent_record_wins_over_its_key_and_overlays_lie_over_the_winner() {
    let mut world = two();
    let metadata = Metadata::new([("v".into(), "persistent".into())]).unwrap();
    let persistent = Record::Persistent(Arc::new(Instance::plain(metadata)));
    let overlay = Overlay { weight: Some(7.0), enabled: Some(false), metadata: None };
    world.write("a", vec![set(1, session(u64::from(u32::MAX), "ephemeral"))]);

    let put = RecordKey::Persistent(service("orders"), instance(1));
    let lay = RecordKey::Overlay(service("orders"), instance(1));
    world.apply(
        "a",
        11,
        vec![change((put.clone(), persistent)), change((lay, Record::Overlay(Arc::new(overlay))))],
    );

    let shown = world.holders["a"].shown(&near(), &service("orders"));
    assert_eq!(shown.len(), 1);
    assert!(shown[0].persistent && !shown[0].unverified && shown[0].stamp.is_none());
    assert_eq!((shown[0].instance.weight, shown[0].instance.enabled), (7.0, false));
    world.apply("a", 12, vec![Change { key: put, record: None }]);
    assert_eq!(world.shown("a")[&1], "ephemeral");
}

#[test]
fn a_defined_service_exists_without_instances() {
    let mut world = two();
    let definition = Definition { protect_threshold: 0.5, metadata: Metadata::default() };
    let key = RecordKey::Definition(service("orders"));

    world.apply("a", 11, vec![change((key.clone(), Record::Definition(Arc::new(definition))))]);
    assert_eq!(world.holders["a"].services(&near()).collect::<Vec<_>>(), [service("orders")]);
    assert_eq!(world.holders["a"].definition(&near(), &service("orders")).unwrap().protect_threshold, 0.5);
    world.apply("a", 12, vec![Change { key, record: None }]);

    assert_eq!(world.holders["a"].services(&near()).count(), 0);
}

#[test]
fn only_services_that_look_different_are_touched() {
    let mut world = two();
    world.write("a", vec![set(1, session(5, "x"))]);
    world.run();
    assert_eq!((touches(&world, "a"), touches(&world, "c")), (1, 1));
    world.effects.clear();

    world.write("c", vec![set(1, session(4, "a loser"))]);
    world.write("a", vec![set(1, session(6, "x"))]);
    world.run();
    assert_eq!((touches(&world, "a"), touches(&world, "c")), (0, 0), "the same instance is still shown");

    world.write("c", vec![set(1, session(7, "x"))]);
    world.run();
    assert_eq!((touches(&world, "a"), touches(&world, "c")), (1, 1), "who writes it takes its beats");
    world.effects.clear();
    world.apply("a", 11, vec![Change { key: RecordKey::Directory(feed(2)), record: None }]);
    assert_eq!(touches(&world, "a"), 1, "dropping the winner uncovers an equal one that is written here");
    world.effects.clear();
    world.write("a", vec![set(1, session(8, "y"))]);
    assert_eq!(touches(&world, "a"), 1);
}
