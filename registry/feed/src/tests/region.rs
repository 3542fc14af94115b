//! R15, R17, R19 to R22 and R26: between regions, and signs of life.

use landbridge_model::{Change, RecordKey, View};

use super::world::*;
use crate::{Effect, Input, Limits, Message, Role, Standing, StreamId};

/// Member a, bridges east and west, all connected, with these policy globs for west.
fn across(allow: &str) -> World {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), policy(2, allow)]);
    world.bridge("east", near());
    world.bridge("west", far());
    world.connect("east", "a");
    world.connect("west", "east");
    world.write("a", vec![set(1, session(1, "x"))]);
    world.tick(5);
    world
}

#[test]
fn a_region_stands_as_soon_as_it_is_held_and_is_suspect_until_it_is_heard() {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), policy(2, "*/*/*")]);
    world.bridge("east", near());
    world.connect("east", "a");

    world.run();

    let status = world.holders["east"].status(&near()).expect("no tick is awaited");
    assert_eq!((status.standing, status.age_ms), (Standing::Suspect, 0));
}

#[test]
fn r15_a_region_offers_other_regions_only_its_own_feeds() {
    let mut world = across("*/*/*");
    world.bridge("third", region("north"));
    let stream = world.connect("third", "west");
    world.tick(2);

    assert_eq!(world.holders["third"].regions().count(), 0);
    world.give(
        "west",
        Input::Received { stream, message: Message::Want { feed: feed(1), have: None, digests: None } },
    );

    assert!(matches!(world.effects.last(), Some(("west", Effect::Refuse { .. }))));
}

#[test]
fn r15_nobody_takes_a_feed_from_a_region_it_was_not_born_in() {
    let mut world = across("*/*/*");
    let stream = world.connect("east", "west");
    let view = View { policy: at(2), peer: Some(near()) };

    world.give("east", Input::Received { stream, message: Message::Begin { feed: feed(1), view } });

    assert!(matches!(world.effects.last(), Some(("east", Effect::Refuse { .. }))));
}

#[test]
fn r15_another_region_cannot_vouch_for_a_feed_of_this_one() {
    let mut world = across("*/*/*");
    let stream = world.connect("east", "west");
    let before = world.holders["east"].heartbeat(&feed(1));
    let beat = landbridge_model::Heartbeat { n: 1_000, position: at(9), unix_ms: 0 };

    let message = Message::Beats { unix_ms: 0, beats: vec![(feed(1), beat)], hears: Vec::new() };
    world.give("east", Input::Received { stream, message });

    assert!(matches!(world.effects.last(), Some(("east", Effect::Refuse { .. }))));
    assert_eq!(world.holders["east"].heartbeat(&feed(1)), before);
}

#[test]
fn r15_inside_a_region_any_holder_supplies_what_it_holds() {
    let mut world = across("*/*/*");
    world.add("w1", far(), Role::Member(landbridge_model::MemberId(1)), limits());
    world.add("w2", far(), Role::Member(landbridge_model::MemberId(2)), limits());
    world.connect("w1", "west");
    world.connect("w2", "w1");
    world.tick(2);

    assert_eq!(world.shown("w2").len(), 1);
}

#[test]
fn only_bridges_speak_to_other_regions() {
    let mut world = across("*/*/*");
    let stream = world.connect("west", "a");

    assert!(world.effects.iter().any(|(_, e)| matches!(e, Effect::Refuse { stream: s, .. } if *s == stream)));
}

#[test]
fn r17_without_a_policy_only_the_directory_leaves_and_addresses_stay_at_home() {
    let mut world = across("nobody/*/*");

    assert_eq!(world.shown("west").len(), 0);
    let entry = &world.holders["west"].directory(&near())[&feed(1)];
    assert_eq!(entry.address, "");
    assert_eq!(world.copy("west", &feed(1)).unwrap().position(), at(2), "the seq is the same in all views");
    world.write("a", vec![set(2, session(2, "y"))]);
    world.run();
    assert_eq!(world.copy("west", &feed(1)).unwrap().position(), at(3), "an empty step is a step");
}

#[test]
fn r17_a_policy_change_makes_a_new_view_and_a_reconcile() {
    let mut world = across("public/*/*");
    assert_eq!(world.shown("west").len(), 1);

    world.apply("a", 11, vec![change(policy(11, "nobody/*/*"))]);
    world.run();
    assert_eq!(world.shown("west").len(), 0);
    let view = View { policy: at(11), peer: Some(far()) };
    assert_eq!(*world.copy("west", &feed(1)).unwrap().view(), view);

    world.apply("a", 12, vec![change(policy(12, "public/*/*"))]);
    world.run();
    assert_eq!(world.shown("west").len(), 1);
}

#[test]
fn r17_a_supplier_with_an_older_view_is_behind() {
    let mut world = across("public/*/*");
    world.bridge("old", near());
    let stream = world.connect("old", "a");
    world.run();
    world.cut(stream);
    world.apply("a", 11, vec![change(policy(11, "nobody/*/*"))]);
    world.run();

    let stream = world.connect("west", "old");
    let view = View { policy: at(11), peer: Some(far()) };
    let message = Message::Want { feed: feed(1), have: Some((view, at(2))), digests: None };
    world.give("old", Input::Received { stream, message });

    assert!(world.queued(stream, "old").iter().all(|m| matches!(m, Message::Beats { .. })));
}

#[test]
fn r17_a_newer_view_never_brings_an_older_position() {
    let mut world = across("public/*/*");
    world.write("a", vec![set(2, session(2, "y"))]);
    world.run();
    let before = world.copy("west", &feed(1)).unwrap().position();
    let (stream, _) = *world.streams.keys().find(|(_, name)| *name == "west").unwrap();
    let view = View { policy: at(11), peer: Some(far()) };
    let mut finish = |position| {
        // On the first the follower says anew what it holds; a supplier starts over, and that one stands.
        for _ in 0..2 {
            let begin = Message::Begin { feed: feed(1), view: view.clone() };
            world.give("west", Input::Received { stream, message: begin });
        }
        let end = Message::End { feed: feed(1), view: view.clone(), position };
        world.give("west", Input::Received { stream, message: end });
        (world.copy("west", &feed(1)).unwrap().position(), world.shown("west").len())
    };

    let older = finish(at(before.seq - 1));
    let equal = finish(before);

    assert_eq!(older, (before, 2), "an older position of a newer view would undo what is known");
    assert_eq!(equal, (before, 0), "the same position of a newer view is what the new policy shows");
}

#[test]
fn r17_other_peers_policies_are_nobodys_business() {
    let mut world = across("public/*/*");
    let (_, record) = policy(11, "*/*/*");
    let other = RecordKey::Policy(region("north"));

    world.apply("a", 11, vec![Change { key: other.clone(), record: Some(record) }]);
    world.run();

    assert!(world.copy("east", &raft()).unwrap().record(&other).is_some());
    assert!(world.copy("west", &raft()).unwrap().record(&other).is_none());
}

#[test]
fn r17_a_restored_policy_starts_a_view_of_the_new_era() {
    let mut world = across("public/*/*");
    let era = landbridge_model::Era(2);
    let position = landbridge_model::Position { era, seq: 3 };
    let settling = (RecordKey::Settling, landbridge_model::Record::Settling);

    world.give("a", Input::Installed { position, records: vec![settling, policy(2, "public/*/*")] });
    world.run();

    let raft = world.copy("west", &raft()).unwrap();
    assert_eq!((raft.position(), raft.view().policy.era), (position, era));
}

#[test]
fn r19_silence_marks_and_deletes_nothing() {
    let mut world = across("*/*/*");
    assert_eq!(world.holders["west"].status(&near()).unwrap().standing, Standing::Live);
    let streams: Vec<_> = world.streams.keys().map(|(id, _)| *id).collect();
    streams.into_iter().for_each(|stream| world.cut(stream));

    world.tick(3);
    assert_eq!(world.holders["west"].status(&near()).unwrap().standing, Standing::Suspect);
    world.tick(10_000);

    let status = world.holders["west"].status(&near()).unwrap();
    assert_eq!(status.standing, Standing::Frozen);
    assert!(status.age_ms >= 10_000_000);
    assert_eq!(world.shown("west").len(), 1);
    assert!(world.holders["west"].shown(&near(), &service("orders"))[0].unverified);
}

#[test]
fn r20_heartbeats_reach_whoever_the_writer_cannot_reach() {
    let mut world = World::new();
    let directory = [listed(1, 0), listed(2, 0), listed(3, 0)];
    world.member("a", 1, &directory);
    world.member("b", 2, &directory);
    world.member("c", 3, &directory);
    world.connect("a", "b");
    world.connect("b", "c");

    world.tick(4);

    let n = world.holders["c"].heartbeat(&feed(1)).unwrap().n;
    assert!(n >= 2, "{n}");
    assert!(!world.holders["c"].unverified(&feed(1)));
}

#[test]
fn r21_the_writer_is_asked_first_and_another_when_it_stalls() {
    let mut world = World::new();
    let directory = [listed(1, 0), listed(2, 0)];
    world.member("a", 1, &directory);
    world.member("c", 2, &directory);
    world.connect("a", "c");
    world.bridge("b", near());
    let other = world.connect("b", "c");
    world.tick(1);
    let direct = world.connect("b", "a");
    world.tick(1);
    assert_eq!(world.wanted(other), [raft(), feed(2)]);
    assert_eq!(world.wanted(direct), [feed(1)]);

    // The writer's stream stays up, but nothing comes over it any more.
    world.mute(direct, "a");
    world.write("a", vec![set(1, session(1, "x"))]);
    world.tick(2);
    assert_eq!(world.shown("b").len(), 0);
    world.tick(3);

    assert_eq!(world.shown("b").len(), 1);
}

/// Members a, b and c, all connected; b and c have just been told of a's second feed and have no copy of it.
fn with_a_slow_writer() -> (World, [StreamId; 2]) {
    let mut world = World::new();
    let directory = [listed(1, 0), listed(2, 0), listed(3, 0)];
    world.member("a", 1, &directory);
    world.member("b", 2, &directory);
    world.member("c", 3, &directory);
    let streams = [world.connect("b", "a"), world.connect("c", "a")];
    world.connect("b", "c");
    world.tick(2);
    (world, streams)
}

#[test]
fn r21_a_writer_that_is_heard_is_not_given_up_for_a_short_stall() {
    let (mut world, [direct, _]) = with_a_slow_writer();

    // The writer's records hang for a few seconds, its heartbeats do not; the other follower has them all the while.
    world.withhold(direct, "a", is_no_beat);
    world.write("a", vec![set(1, session(1, "x"))]);
    for _ in 0..10 {
        world.tick(1);
        assert!(world.wanted(direct).contains(&feed(1)));
    }
    world.let_go(direct, "a");

    assert_eq!([world.shown("b").len(), world.shown("c").len()], [1, 1]);
}

#[test]
fn r21_a_writer_that_was_silent_comes_first_again_when_it_is_heard() {
    let (mut world, [direct, _]) = with_a_slow_writer();
    world.withhold(direct, "a", |_| true);
    world.write("a", vec![set(1, session(1, "x"))]);
    world.tick(5);
    assert!(!world.wanted(direct).contains(&feed(1)));

    world.let_go(direct, "a");
    world.tick(2);

    assert!(world.wanted(direct).contains(&feed(1)));
}

#[test]
fn r21_a_writer_that_is_heard_but_never_answers_is_given_up_at_last() {
    let (mut world, [direct, _]) = with_a_slow_writer();
    world.withhold(direct, "a", is_no_beat);
    world.write("a", vec![set(1, session(1, "x"))]);

    world.tick(Limits::STANDARD.retry_ticks + 1);

    assert!(!world.wanted(direct).contains(&feed(1)));
    assert_eq!(world.shown("b").len(), 1, "the other follower has it");
}

fn is_no_beat(message: &Message) -> bool {
    !matches!(message, Message::Beats { .. })
}

#[test]
fn r22_a_long_sleep_is_one_tick() {
    let mut world = across("*/*/*");

    world.now += 3_600_000;
    world.tick(1);

    assert!(!world.holders["west"].unverified(&feed(1)));
    assert_eq!(world.holders["west"].status(&near()).unwrap().standing, Standing::Live);
}

#[test]
fn r26_only_an_advance_of_n_verifies_and_ten_silent_ticks_undo_it() {
    let mut world = across("*/*/*");
    let beat = world.holders["east"].heartbeat(&feed(1)).unwrap();
    assert!(!world.holders["east"].unverified(&feed(1)));
    let streams: Vec<_> = world.streams.keys().map(|(id, _)| *id).collect();
    streams.into_iter().for_each(|stream| world.cut(stream));
    world.effects.clear();

    world.bridge("echo", near());
    let stream = world.connect("echo", "east");
    for _ in 0..10 {
        world.tick(1);
        let message = Message::Beats { unix_ms: 0, beats: vec![(feed(1), beat)], hears: Vec::new() };
        world.give("east", Input::Received { stream, message });
    }

    assert!(world.holders["east"].unverified(&feed(1)), "relays repeat old values");
    let touched = Effect::Touched { region: near(), service: service("orders") };
    assert!(world.effects.contains(&("east", touched)));
}

#[test]
fn a_feed_is_not_silent_before_it_is_known() {
    let mut world = across("*/*/*");
    world.tick(50);

    world.apply("a", 11, vec![change(listed(11, 0))]);
    world.run();

    for name in ["a", "east", "west"] {
        assert_eq!(world.holders[name].silent_ticks(&feed(11)), 0, "at {name}");
        assert!(world.holders[name].unverified(&feed(11)));
    }
}

#[test]
fn what_is_neither_listed_nor_held_leaves_nothing_behind() {
    let mut world = across("*/*/*");
    let stream = *world.streams.keys().map(|(id, _)| id).min().unwrap();
    let beat = landbridge_model::Heartbeat { n: 5, position: at(1), unix_ms: 0 };
    let heard = |world: &World, index| world.holders["east"].heartbeat(&feed(index)).is_some();
    world.apply("a", 11, vec![change(listed(11, 0))]);
    world.run();
    let beats = vec![(feed(11), beat), (feed(12), beat)];
    world.give(
        "east",
        Input::Received { stream, message: Message::Beats { unix_ms: 0, beats, hears: Vec::new() } },
    );
    assert_eq!((heard(&world, 11), heard(&world, 12)), (true, false));

    world.apply("a", 12, vec![Change { key: RecordKey::Directory(feed(11)), record: None }]);
    world.tick(2);

    assert!(!heard(&world, 11));
}

#[test]
fn lag_is_the_age_of_the_newest_heartbeat_that_was_reached() {
    let mut world = across("*/*/*");
    world.tick(5);
    let status = world.holders["west"].status(&near()).unwrap();
    assert_eq!(status.lag_seqs, 0);
    assert!(status.lag_ms.is_some_and(|lag| lag <= 2000), "{:?}", status.lag_ms);
    assert_eq!((status.feeds, status.records), (1, 3));
}
