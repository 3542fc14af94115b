//! R2, R4, R16 and R18: what the directory lets live.

use landbridge_model::{Change, RecordKey, View};

use super::world::*;
use crate::{Effect, Input, Message, Role};

fn unlist(index: u64) -> Change {
    Change { key: RecordKey::Directory(feed(index)), record: None }
}

/// Members a and c with a record each; both follow the other.
fn two() -> World {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), listed(2, 0)]);
    world.member("c", 2, &[listed(1, 0), listed(2, 0)]);
    world.connect("a", "c");
    world.write("a", vec![set(1, session(1, "a"))]);
    world.write("c", vec![set(2, session(1, "c"))]);
    world.tick(1);
    assert_eq!(world.shown("c").len(), 2);
    world
}

#[test]
fn r2_a_feed_that_is_not_listed_is_neither_asked_for_nor_taken() {
    let mut world = two();
    world.member("x", 3, &[listed(3, 0)]);
    let stream = world.connect("x", "c");
    world.run();
    assert!(world.copy("c", &feed(3)).is_none());

    let begin = Message::Begin { feed: feed(3), view: View::WHOLE };
    let end = Message::End { feed: feed(3), view: View::WHOLE, position: at(1) };
    world.give("c", Input::Received { stream, message: begin });
    world.give("c", Input::Received { stream, message: end });

    assert!(world.copy("c", &feed(3)).is_none());
}

#[test]
fn r2_a_slow_supplier_cannot_bring_a_closed_feed_back() {
    let mut world = two();
    world.apply("c", 11, vec![unlist(1)]);
    assert!(world.copy("c", &feed(1)).is_none());

    world.write("a", vec![set(3, session(3, "late"))]);
    world.tick(5);

    assert!(world.copy("c", &feed(1)).is_none());
    assert_eq!(world.shown("c").into_keys().collect::<Vec<_>>(), [2]);
}

#[test]
fn r2_a_closed_feed_that_waits_to_be_dropped_takes_no_more_steps() {
    let mut world = two();
    let here = world.copy("c", &feed(1)).unwrap().position().seq;
    let need = world.copy("c", &feed(2)).unwrap().position().seq + 1;
    let stream = *world.streams.keys().map(|(id, _)| id).min().unwrap();
    world.apply("c", 11, vec![unlist(1), change(listed(2, need))]);

    let changes = vec![set(3, session(3, "late"))];
    let (from, to) = (at(here), at(here + 1));
    let message = Message::Batch { feed: feed(1), view: View::WHOLE, from, to, changes };
    world.give("c", Input::Received { stream, message });

    assert_eq!(world.copy("c", &feed(1)).map(|copy| copy.position()), Some(at(here)));
}

#[test]
fn r4_a_closed_feed_is_shown_until_what_replaced_it_has_come() {
    let mut world = two();
    let c_at = world.copy("c", &feed(2)).unwrap().position().seq;

    world.apply("a", 11, vec![unlist(1), change(listed(2, c_at))]);
    world.apply("c", 11, vec![unlist(1), change(listed(2, c_at + 1))]);
    assert_eq!(world.shown("c").len(), 2, "the need is not reached");

    world.write("c", vec![set(1, session(2, "moved"))]);

    assert!(world.copy("c", &feed(1)).is_none());
    assert_eq!(world.shown("c")[&1], "moved");
    assert!(world.effects.contains(&("c", Effect::Dropped { feed: feed(1) })));
}

#[test]
fn r4_a_member_shows_its_own_records_until_its_next_feed_does() {
    let mut world = two();
    world.apply("a", 11, vec![unlist(1)]);
    assert_eq!(world.shown("a").len(), 2, "its own close is its own affair");

    world.give("a", Input::Ended);
    world.tick(1);
    assert_eq!(world.shown("a").len(), 2);
    world.apply("a", 12, vec![change(listed(12, 0))]);
    world.give("a", Input::Begun { feed: feed(12), records: vec![(key(1), session(1, "a"))] });

    assert_eq!(world.shown("a").len(), 2);
    assert!(world.copy("a", &feed(1)).is_none());
}

#[test]
fn r16_a_region_that_settles_drops_nothing() {
    let mut world = two();
    let era = landbridge_model::Era(2);
    let new = |seq| landbridge_model::Position { era, seq };
    let settling = (RecordKey::Settling, landbridge_model::Record::Settling);

    world.give("c", Input::Installed { position: new(1), records: vec![settling] });
    world.give("c", Input::Ended);
    assert!(world.holders["c"].settling(&near()));
    assert_eq!(world.shown("c").len(), 2);
    let opened = landbridge_model::FeedId::Member { region: near(), era, index: 2 };
    let (_, entry) = listed(2, 0);
    let open = Change { key: RecordKey::Directory(opened.clone()), record: Some(entry) };
    world.give("c", Input::Applied { position: new(2), changes: vec![open] });
    world.give("c", Input::Begun { feed: opened, records: vec![(key(2), session(1, "c"))] });
    assert_eq!(world.shown("c").len(), 2);

    let settled = Change { key: RecordKey::Settling, record: None };
    world.give("c", Input::Applied { position: new(3), changes: vec![settled] });

    assert_eq!(world.shown("c").into_keys().collect::<Vec<_>>(), [2]);
}

#[test]
fn r18_a_saved_copy_is_loaded_only_if_the_loaded_directory_can_know_it() {
    let mut world = World::new();
    world.bridge("b", near());
    let records = vec![listed(1, 0), listed(2, 7)];
    world.give("b", Input::Loaded { feed: raft(), view: View::WHOLE, position: at(10), records });

    world.load("b", feed(1), at(5), vec![set(1, session(1, "listed"))]);
    world.load("b", feed(3), at(5), vec![set(3, session(1, "closed, and its need not reached"))]);
    world.load("b", feed(11), at(5), vec![set(11, session(1, "newer"))]);

    assert_eq!(world.shown("b").into_keys().collect::<Vec<_>>(), [1, 3]);
    assert!(world.effects.contains(&("b", Effect::Dropped { feed: feed(11) })));
    world.load("b", feed(2), at(7), vec![set(2, session(1, "what was needed"))]);
    assert_eq!(world.shown("b").into_keys().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn r18_a_member_takes_its_own_directory_from_raft_and_from_no_copy() {
    let mut world = World::new();
    world.add("a", near(), Role::Member(landbridge_model::MemberId(1)), limits());
    let records = vec![listed(1, 0)];

    world.give("a", Input::Loaded { feed: raft(), view: View::WHOLE, position: at(10), records });

    assert!(world.holders["a"].directory(&near()).is_empty());
}

#[test]
fn r18_loaded_copies_are_unverified_until_their_heartbeat_advances() {
    let mut world = two();
    world.bridge("b", near());
    let records = vec![listed(1, 0)];
    world.give("b", Input::Loaded { feed: raft(), view: View::WHOLE, position: at(10), records });
    world.load("b", feed(1), at(2), vec![set(1, session(1, "a"))]);
    let unverified = |world: &World| world.holders["b"].shown(&near(), &service("orders"))[0].unverified;
    assert!(unverified(&world));

    world.connect("b", "a");
    world.run();
    assert!(unverified(&world), "the first heartbeat after a start says nothing");
    world.tick(1);

    assert!(!unverified(&world));
}
