//! What operators order about another region, and what they ask about it.

use landbridge_model::{Change, Hold, LinkOrder, Position, Record, RecordKey};

use super::world::*;
use crate::{Differs, Effect, Input, Standing, StreamId};

/// Two regions, of which the west shows all that the east has.
fn two_showing() -> (World, StreamId) {
    let (world, link) = two_regions();
    for name in FAR {
        assert_eq!(world.shown(name).len(), 2, "{name} does not show what east has");
    }
    (world, link)
}

const FAR: [&str; 3] = ["west", "member", "gateway"];

fn order(world: &mut World, index: u64, hold: Option<Hold>) {
    let record = hold.map(|hold| Record::Link(LinkOrder { hold, since_ms: 7 }));
    world.apply("member", index, vec![Change { key: RecordKey::Link(near()), record }]);
    world.run();
}

fn values(world: &World, name: &str) -> Vec<String> {
    world.shown(name).into_values().collect()
}

#[test]
fn a_frozen_region_stays_as_it_was_at_every_holder_and_turns_stale() {
    let (mut world, _) = two_showing();
    order(&mut world, 6, Some(Hold::Frozen));

    world.write("a", vec![unset(1), set(2, session(2, "new"))]);
    world.tick(12);

    for name in FAR {
        assert_eq!(values(&world, name), ["x", "y"], "{name} took news of a frozen region in");
        assert_eq!(world.holders[name].status(&near()).unwrap().standing, Standing::Frozen);
        assert_eq!(world.holders[name].order(&near()).map(|order| order.hold), Some(Hold::Frozen));
    }
}

#[test]
fn a_region_that_is_frozen_no_longer_is_caught_up_with() {
    let (mut world, _) = two_showing();
    order(&mut world, 6, Some(Hold::Frozen));
    world.write("a", vec![unset(1), set(2, session(2, "new"))]);
    world.tick(12);

    order(&mut world, 7, None);
    world.tick(3);

    for name in FAR {
        assert_eq!(values(&world, name), ["new"], "{name} was not caught up");
        assert_eq!(world.holders[name].status(&near()).unwrap().standing, Standing::Live);
    }
}

#[test]
fn an_evicted_region_is_gone_everywhere_and_does_not_come_back_by_itself() {
    let (mut world, _) = two_showing();

    order(&mut world, 6, Some(Hold::Evicted));

    for name in FAR {
        assert_eq!(world.shown(name).len(), 0, "{name} kept an evicted region");
        assert!(world.copy(name, &feed(1)).is_none() && world.copy(name, &raft()).is_none());
        assert!(
            world.effects.contains(&(name, Effect::Dropped { feed: feed(1) })),
            "{name} keeps it on disk"
        );
    }
    world.write("a", vec![set(3, session(3, "z"))]);
    world.tick(20);
    assert!(FAR.iter().all(|name| world.holders[name].status(&near()).is_none()));
    assert_eq!(world.shown("east").len(), 3, "only the region that ordered it forgets");
}

#[test]
fn an_evicted_region_comes_back_whole_when_the_order_is_taken_back() {
    let (mut world, _) = two_showing();
    order(&mut world, 6, Some(Hold::Evicted));
    world.tick(3);

    order(&mut world, 7, None);
    world.tick(3);

    for name in FAR {
        assert_eq!(values(&world, name), ["x", "y"], "{name} did not get it back");
    }
}

#[test]
fn a_copy_of_an_evicted_region_is_not_loaded_from_disk() {
    let (mut world, _) = two_showing();
    order(&mut world, 6, Some(Hold::Evicted));

    world.load("west", raft(), at(10), Vec::new());

    assert!(world.copy("west", &raft()).is_none());
}

#[test]
fn an_order_about_another_region_stays_at_home() {
    let (mut world, _) = two_showing();
    let key = RecordKey::Link(region("north"));
    let record = Some(Record::Link(LinkOrder { hold: Hold::Frozen, since_ms: 7 }));

    world.apply("a", 11, vec![Change { key: key.clone(), record }]);
    world.run();

    assert!(world.copy("east", &raft()).unwrap().record(&key).is_some());
    assert!(world.copy("west", &raft()).unwrap().record(&key).is_none());
}

#[test]
fn a_look_finds_nothing_between_a_copy_and_its_origin_that_agree() {
    let (mut world, _) = two_showing();

    world.give("west", Input::Look { region: near() });
    world.run();

    let look = world.holders["west"].look_of(&near()).unwrap();
    assert_eq!(look.outcome(), Some(Ok(())));
    let feeds: Vec<_> = look.found().iter().map(|found| (found.feed.clone(), found.keys.len())).collect();
    assert_eq!(feeds, [(raft(), 0), (feed(1), 0)]);
    assert!(look.found().iter().all(|found| found.held == found.told));
}

#[test]
fn a_look_names_what_differs_and_changes_nothing() {
    let (mut world, _) = two_showing();
    order(&mut world, 6, Some(Hold::Frozen));
    world.write("a", vec![unset(1), set(2, session(2, "new")), set(3, session(2, "z"))]);
    world.tick(2);

    world.give("west", Input::Look { region: near() });
    world.run();

    let look = world.holders["west"].look_of(&near()).unwrap();
    let found = &look.found()[1];
    assert_eq!((found.missing, found.extra, found.changed), (1, 1, 1));
    let mut keys = found.keys.clone();
    keys.sort_by_key(|(_, key)| key.clone());
    assert_eq!(keys, [(Differs::Extra, key(1)), (Differs::Changed, key(2)), (Differs::Missing, key(3))]);
    assert!(found.held < found.told);
    assert_eq!(values(&world, "west"), ["x", "y"], "a dry run took something in");
}

#[test]
fn a_feed_that_was_looked_at_goes_on_afterwards() {
    let (mut world, _) = two_showing();
    let swaps = world.copy("west", &feed(1)).unwrap().swaps();
    world.give("west", Input::Look { region: near() });
    world.write("a", vec![set(3, session(2, "during"))]);
    world.run();

    world.write("a", vec![set(4, session(3, "after"))]);
    world.tick(1);

    assert_eq!(world.shown("west").len(), 4);
    assert_eq!(world.copy("west", &feed(1)).unwrap().swaps(), swaps, "the look ended in a reconcile");
}

#[test]
fn a_look_sees_what_a_silent_fault_has_changed() {
    let (mut world, _) = two_showing();
    let holder = world.holders.get_mut("west").unwrap();
    holder.holdings.copy_mut(&feed(1)).unwrap().body.corrupt(&key(1), session(1, "rotten"));

    world.give("west", Input::Look { region: near() });
    world.run();

    let look = world.holders["west"].look_of(&near()).unwrap();
    assert_eq!(look.found()[1].keys, [(Differs::Changed, key(1))]);
}

#[test]
fn a_look_without_a_stream_fails_and_one_whose_stream_ends_too() {
    let (mut world, link) = two_showing();
    let said = |world: &World| world.holders["west"].look_of(&near()).and_then(|look| look.outcome());

    world.give("west", Input::Look { region: near() });
    assert_eq!(said(&world), None);
    world.cut(link);
    assert_eq!(said(&world), Some(Err("the stream ended")));

    world.give("west", Input::Look { region: near() });
    assert_eq!(said(&world), Some(Err("no stream to a bridge of that region is up")));
}

#[test]
fn a_resync_rebuilds_every_copy_and_takes_nothing_back() {
    let (mut world, _) = two_showing();
    let before = world.copy("west", &feed(1)).unwrap().position();
    let holder = world.holders.get_mut("west").unwrap();
    holder.holdings.copy_mut(&feed(1)).unwrap().body.corrupt(&key(1), session(1, "rotten"));

    world.give("west", Input::Resync { region: near() });
    assert_eq!(values(&world, "west"), ["rotten", "y"], "it is served until it is rebuilt");
    world.run();

    assert_eq!(values(&world, "west"), ["x", "y"]);
    let copy = world.copy("west", &feed(1)).unwrap();
    assert_eq!((copy.position() >= before, copy.doubted()), (true, false));
    assert!(world.copy("west", &raft()).unwrap().position() > Position::NONE);
}
