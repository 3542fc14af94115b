//! Nonsense from a peer: refused or without effect, never a panic.

use landbridge_model::{Change, FeedId, Heartbeat, Position, RecordKey, View};
use proptest::prelude::*;

use super::world::*;
use crate::{BUCKETS, BucketContent, Effect, Input, Limits, Message, Role, StreamId};

/// A writer and a bridge that has just followed it.
fn pair() -> (World, StreamId) {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0)]);
    world.bridge("b", near());
    let stream = world.connect("b", "a");
    world.run();
    world.effects.clear();
    (world, stream)
}

fn is_refused(message: Message) -> bool {
    let (mut world, stream) = pair();
    world.give("b", Input::Received { stream, message: Message::Begin { feed: feed(1), view: View::WHOLE } });
    world.give("b", Input::Received { stream, message });
    let refused = world.effects.iter().any(|(_, effect)| matches!(effect, Effect::Refuse { .. }));
    world.tick(2);
    refused
}

#[test]
fn what_cannot_stand_in_a_feed_is_refused() {
    let step =
        |feed: FeedId, changes| Message::Batch { feed, view: View::WHOLE, from: at(1), to: at(2), changes };
    let misfit = Change { key: RecordKey::Settling, record: Some(session(1, "x")) };
    let far_clock = set(1, session(u64::MAX, "x"));
    let (_, entry) = listed(1, 0);
    let foreign = FeedId::Member { region: far(), era: ERA, index: 1 };
    let foreign = Change { key: RecordKey::Directory(foreign), record: Some(entry) };

    assert!(is_refused(step(feed(1), vec![misfit])));
    assert!(is_refused(step(feed(1), vec![far_clock])));
    assert!(is_refused(step(feed(1), vec![change(listed(1, 0))])));
    assert!(is_refused(step(raft(), vec![set(1, session(1, "x"))])));
    assert!(is_refused(step(raft(), vec![foreign])));
}

#[test]
fn buckets_that_cannot_be_are_refused() {
    let bucket = |bucket, records, last| Message::Bucket {
        feed: feed(1),
        bucket,
        content: BucketContent::Records { records, last },
    };
    let right = crate::bucket_of(&key(1)) as u16;

    assert!(is_refused(bucket(BUCKETS as u16, vec![], true)));
    assert!(is_refused(bucket(right ^ 1, vec![(key(1), session(1, "x"))], true)));
    assert!(!is_refused(bucket(right, vec![(key(1), session(1, "x"))], true)));
}

#[test]
fn positions_and_views_of_another_world_are_refused() {
    let end = |view, position| Message::End { feed: feed(1), view, position };
    let other_era = Position { era: landbridge_model::Era(9), seq: 5 };
    let made_for_others = View { policy: at(1), peer: Some(far()) };

    assert!(is_refused(end(View::WHOLE, other_era)));
    assert!(is_refused(end(made_for_others, at(5))));
}

#[test]
fn bounds_hold_against_a_greedy_peer() {
    let tight = Limits {
        wants_per_stream_max: 2,
        streams_max: 2,
        beats_max: 2,
        directory_max: 1,
        feed_records_max: 3,
        ..limits()
    };
    let greedy: Vec<Vec<Message>> = vec![
        (1..=3).map(|i| Message::Want { feed: feed(i), have: None, digests: None }).collect(),
        vec![Message::Beats {
            unix_ms: 0,
            beats: vec![(feed(1), Heartbeat::default()); 3],
            hears: Vec::new(),
        }],
    ];
    for messages in greedy {
        let (mut world, _) = pair();
        world.add("tight", near(), Role::Bridge, tight.clone());
        let stream = world.connect("b", "tight");
        for message in messages {
            world.give("tight", Input::Received { stream, message });
        }
        assert!(matches!(world.effects.last(), Some(("tight", Effect::Refuse { .. }))));
    }

    let (mut world, _) = pair();
    world.write("a", (1..=4).map(|port| set(port, session(1, "x"))).collect());
    world.add("tight", near(), Role::Bridge, tight);
    world.connect("a", "tight");
    world.tick(1);
    assert!(world.effects.iter().any(|(at, e)| *at == "tight" && matches!(e, Effect::Refuse { .. })));
    world.connect("b", "tight");
    world.connect("b", "tight");
    let third = world.connect("b", "tight");
    assert!(
        world
            .effects
            .contains(&("tight", Effect::Refuse { stream: third, why: "more streams than a holder keeps" }))
    );
}

#[test]
fn a_gateway_supplies_nothing_and_is_asked_for_nothing() {
    let (mut world, _) = pair();
    world.add("g", near(), Role::Gateway, limits());
    let stream = world.connect("g", "b");
    world.tick(2);
    assert!(world.copy("g", &feed(1)).is_some());
    assert!(world.queued(stream, "g").is_empty());

    let message = Message::Want { feed: feed(1), have: None, digests: None };
    world.give("g", Input::Received { stream, message });

    assert!(matches!(world.effects.last(), Some(("g", Effect::Refuse { .. }))));
}

fn messages() -> impl Strategy<Value = Message> {
    let feeds = prop_oneof![
        Just(raft()),
        (1..4u64).prop_map(feed),
        Just(FeedId::Raft(far())),
        Just(FeedId::Member { region: far(), era: ERA, index: 1 })
    ];
    let views = prop_oneof![
        Just(View::WHOLE),
        (0..3u64).prop_map(|seq| View { policy: at(seq), peer: Some(near()) })
    ];
    let positions = || prop_oneof![(0..6u64).prop_map(at), Just(Position::NONE)];
    let entries = || {
        prop_oneof![
            (0..9u16, 0..9u64).prop_map(|(port, clock)| set(port, session(clock, "x"))),
            (0..9u16).prop_map(unset),
            (1..4u64, 0..9u64).prop_map(|(index, need)| change(listed(index, need))),
            Just(change(policy(2, "*/*/*"))),
        ]
    };
    let changes = || prop::collection::vec(entries(), 0..4);
    (feeds, views, positions(), positions(), changes(), 0..300u16, 0..9u8).prop_map(
        |(feed, view, from, to, changes, bucket, kind)| match kind {
            0 => Message::Want { feed, have: Some((view, from)), digests: Some(crate::Digests::empty()) },
            1 => Message::Want { feed, have: None, digests: None },
            2 => Message::Unwant { feed },
            3 => Message::Batch { feed, view, from, to, changes },
            4 => Message::Begin { feed, view },
            5 => Message::Live { feed, changes },
            6 => {
                let records = changes.into_iter().filter_map(|c| Some((c.key, c.record?))).collect();
                let content = BucketContent::Records { records, last: bucket.is_multiple_of(2) };
                Message::Bucket { feed, bucket, content }
            }
            7 => Message::End { feed, view, position: to },
            _ => {
                let beat = Heartbeat { n: from.seq, position: to, unix_ms: 0 };
                Message::Beats { unix_ms: 0, beats: vec![(feed, beat)], hears: Vec::new() }
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_messages_makes_a_holder_panic(list in prop::collection::vec(messages(), 1..60)) {
        let (mut world, _) = pair();
        for message in list {
            for name in ["a", "b"] {
                let up = world.streams.keys().find(|(_, at)| *at == name).map(|(id, _)| *id);
                let stream = up.unwrap_or_else(|| world.connect("b", "a"));
                world.give(name, Input::Received { stream, message: message.clone() });
            }
            world.run();
        }
        world.tick(8);
    }
}
