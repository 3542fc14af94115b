//! R25: the writer's word, and the repair of a copy that differs from it.

use landbridge_model::View;

use super::world::*;
use crate::{Effect, Input, Message};

/// A writer, a bridge that follows it, and one in the west that follows the bridge.
fn chain() -> World {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), policy(2, "public/*/*")]);
    world.bridge("east", near());
    world.bridge("west", far());
    world.connect("east", "a");
    world.connect("west", "east");
    world.write("a", vec![set(1, session(1, "x")), set(2, session(1, "y"))]);
    world.tick(2);
    world
}

/// Changes a record behind the back of everything that counts.
fn corrupt(world: &mut World, name: &'static str) {
    let holder = world.holders.get_mut(name).unwrap();
    let copy = holder.holdings.copy_mut(&feed(1)).unwrap();
    copy.body.corrupt(&key(1), session(1, "rotten"));
}

fn value(world: &World, name: &str) -> String {
    world.shown(name)[&1].clone()
}

#[test]
fn r25_a_copy_that_changed_silently_is_doubted_served_and_repaired_hop_by_hop() {
    let mut world = chain();
    corrupt(&mut world, "east");
    corrupt(&mut world, "west");
    assert_eq!((value(&world, "east"), value(&world, "west")), ("rotten".into(), "rotten".into()));

    world.tick(5);
    assert_eq!(value(&world, "east"), "x");
    world.tick(5);

    assert_eq!(value(&world, "west"), "x");
    assert!(world.effects.contains(&("east", Effect::Doubted { feed: feed(1) })));
    assert!(world.effects.contains(&("west", Effect::Doubted { feed: feed(1) })));
    assert!(world.holders.values().all(|holder| holder.copies().all(|(_, copy)| !copy.doubted())));
}

#[test]
fn r25_a_good_copy_is_never_doubted_under_any_view() {
    let mut world = chain();

    world.tick(20);
    world.apply("a", 11, vec![change(policy(11, "nobody/*/*"))]);
    world.tick(20);

    assert!(!world.effects.iter().any(|(_, effect)| matches!(effect, Effect::Doubted { .. })));
}

#[test]
fn r25_only_the_writers_word_is_passed_on() {
    let mut world = chain();
    world.bridge("c", near());
    let stream = world.connect("c", "east");
    world.run();
    corrupt(&mut world, "east");
    world.drains = false;
    // With the writer gone nobody vouches: the corrupted holder must not vouch for itself.
    let direct = *world.streams.keys().map(|(id, _)| id).min().unwrap();
    world.cut(direct);
    for _ in 0..30 {
        world.give("east", Input::Tick { unix_ms: 0 });
    }

    assert!(!world.queued(stream, "east").iter().any(|m| matches!(m, Message::Verify { .. })));
}

#[test]
fn r25_a_verification_of_another_position_or_view_is_no_news() {
    let mut world = chain();
    let stream = *world.streams.keys().map(|(id, _)| id).min().unwrap();
    let verify = |position, view| Message::Verify {
        feed: feed(1),
        view,
        position,
        digests: crate::Digests::empty(),
        n: 1000,
    };

    world.give("east", Input::Received { stream, message: verify(at(9), View::WHOLE) });

    assert!(!world.effects.iter().any(|(_, effect)| matches!(effect, Effect::Doubted { .. })));
}

#[test]
fn r6_a_repair_keeps_the_position_but_never_goes_back() {
    let mut world = chain();
    let before = world.copy("east", &feed(1)).unwrap().position();
    corrupt(&mut world, "east");

    world.tick(5);

    assert_eq!(value(&world, "east"), "x");
    assert_eq!(world.copy("east", &feed(1)).unwrap().position(), before);
}
