//! R5 to R8, and credit: how a copy comes on.

use landbridge_model::View;

use super::world::*;
use crate::{BucketContent, Input, Message, StreamId};

/// A member that writes feed 1 and a bridge that follows it, both up to date with two records.
fn pair() -> (World, StreamId) {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0)]);
    world.bridge("b", near());
    let stream = world.connect("b", "a");
    world.write("a", vec![set(1, session(1, "one"))]);
    world.write("a", vec![set(2, session(2, "two"))]);
    world.run();
    assert_eq!(world.copy("b", &feed(1)).unwrap().position(), at(3));
    (world, stream)
}

fn batch(from: u64, to: u64, changes: Vec<landbridge_model::Change>) -> Message {
    Message::Batch { feed: feed(1), view: View::WHOLE, from: at(from), to: at(to), changes }
}

#[test]
fn r5_a_step_is_applied_only_where_it_leads_on() {
    let (mut world, stream) = pair();
    let gap = batch(4, 5, vec![set(9, session(9, "gap"))]);
    let old = batch(1, 2, vec![set(9, session(9, "old"))]);
    let over = batch(2, 4, vec![set(3, session(3, "three"))]);

    for (message, position) in [(gap, 3), (old, 3), (over.clone(), 4), (over, 4)] {
        world.give("b", Input::Received { stream, message });
        assert_eq!(world.copy("b", &feed(1)).unwrap().position(), at(position));
    }

    assert_eq!(world.shown("b").into_keys().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn r5_a_step_under_another_view_changes_nothing() {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), policy(2, "*/*/*")]);
    world.bridge("east", near());
    world.bridge("west", far());
    world.connect("east", "a");
    let stream = world.connect("west", "east");
    world.tick(1);
    let other = View { policy: at(3), peer: Some(far()) };
    let changes = vec![set(9, session(9, "other"))];
    let message = Message::Batch { feed: feed(1), view: other, from: at(1), to: at(2), changes };

    world.give("west", Input::Received { stream, message });

    assert_eq!(world.copy("west", &feed(1)).unwrap().position(), at(1));
}

#[test]
fn r6_a_supplier_that_is_behind_says_nothing_until_it_has_passed_its_follower() {
    let (mut world, _) = pair();
    world.bridge("late", near());
    let stream = world.connect("late", "a");
    world.run();
    world.cut(stream);
    world.write("a", vec![set(1, session(3, "newer"))]);
    world.run();
    let between = world.connect("b", "late");
    let have = Some((View::WHOLE, at(4)));
    world.run();

    world.give("late", received(between, Message::Want { feed: feed(1), have, digests: None }));

    let said = world.queued(between, "late");
    assert!(said.iter().all(|m| matches!(m, Message::Beats { .. })), "{said:?}");
}

fn received(stream: StreamId, message: Message) -> Input {
    Input::Received { stream, message }
}

fn rebuild(world: &mut World, stream: StreamId, position: u64, records: Vec<u16>) {
    let begin = Message::Begin { feed: feed(1), view: View::WHOLE };
    world.give("b", received(stream, begin));
    let mut cuts: Vec<_> =
        records.iter().map(|port| (crate::bucket_of(&key(*port)) as u16, key(*port))).collect();
    cuts.sort();
    for (bucket, key) in cuts {
        let content = BucketContent::Records { records: vec![(key, session(9, "rebuilt"))], last: true };
        world.give("b", received(stream, Message::Bucket { feed: feed(1), bucket, content }));
    }
    let end = Message::End { feed: feed(1), view: View::WHOLE, position: at(position) };
    world.give("b", received(stream, end));
}

#[test]
fn r6_a_finished_reconcile_never_takes_a_copy_back() {
    let (mut world, stream) = pair();

    rebuild(&mut world, stream, 2, vec![7]);
    assert_eq!(world.shown("b").into_keys().collect::<Vec<_>>(), [1, 2]);
    rebuild(&mut world, stream, 3, vec![7]);
    assert_eq!(world.shown("b").into_keys().collect::<Vec<_>>(), [1, 2], "an equal one is no news");

    rebuild(&mut world, stream, 4, vec![7]);
    assert_eq!(world.shown("b").into_keys().collect::<Vec<_>>(), [7]);
}

#[test]
fn r7_a_reconcile_is_seen_only_when_it_is_complete() {
    let (mut world, stream) = pair();
    let bucket = crate::bucket_of(&key(7)) as u16;
    let content = BucketContent::Records { records: vec![(key(7), session(9, "x"))], last: true };

    world.give("b", received(stream, Message::Begin { feed: feed(1), view: View::WHOLE }));
    world.give("b", received(stream, Message::Bucket { feed: feed(1), bucket, content }));

    assert_eq!(world.shown("b").into_keys().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn r7_two_streams_never_fill_one_shadow() {
    let (mut world, stream) = pair();
    world.member("c", 2, &[listed(1, 0)]);
    let other = world.connect("b", "c");
    world.run();
    world.effects.clear();
    let content = BucketContent::Records { records: vec![(key(7), session(9, "x"))], last: true };
    let bucket = crate::bucket_of(&key(7)) as u16;

    world.give("b", received(stream, Message::Begin { feed: feed(1), view: View::WHOLE }));
    world.give("b", received(other, Message::Bucket { feed: feed(1), bucket, content }));
    let end = Message::End { feed: feed(1), view: View::WHOLE, position: at(9) };
    world.give("b", received(other, end));

    assert_eq!(world.copy("b", &feed(1)).unwrap().position(), at(3));
}

#[test]
fn r7_a_shadow_dies_with_its_stream() {
    let (mut world, stream) = pair();
    world.give("b", received(stream, Message::Begin { feed: feed(1), view: View::WHOLE }));

    world.cut(stream);
    let again = world.connect("b", "a");
    let end = Message::End { feed: feed(1), view: View::WHOLE, position: at(9) };
    world.give("b", received(again, end));

    assert_eq!(world.shown("b").len(), 2);
}

/// A writer of 40 records with these bounds, and a bridge that has none of them; nothing drains yet.
fn large(limits: crate::Limits) -> (World, StreamId) {
    let mut world = World::new();
    world.add("a", near(), crate::Role::Member(landbridge_model::MemberId(1)), limits);
    world.give("a", Input::Installed { position: at(10), records: vec![listed(1, 0)] });
    let records = (1..=40).map(|port| (key(port), session(port.into(), "old"))).collect();
    world.give("a", Input::Begun { feed: feed(1), records });
    world.bridge("b", near());
    world.drains = false;
    let stream = world.connect("b", "a");
    (world, stream)
}

/// A credit that ends after some twenty buckets.
fn little() -> crate::Limits {
    crate::Limits { credit_bytes: 4096, bulk_bytes_max: 256, ..limits() }
}

/// Lets everything through, from here on.
fn flow(world: &mut World, stream: StreamId) {
    world.drains = true;
    world.give("a", Input::Drained { stream, bytes: 1 << 20 });
    world.run();
}

fn same_as_writer(world: &World) {
    let (a, b) = (world.copy("a", &feed(1)).unwrap(), world.copy("b", &feed(1)).unwrap());
    assert_eq!(a.position(), b.position());
    assert!(a.records().eq(b.records()));
}

#[test]
fn r7_changes_while_a_reconcile_runs_reach_the_buckets_already_told() {
    let (mut world, stream) = large(little());
    world.run();
    assert!(world.copy("b", &feed(1)).is_none(), "the credit ends in the middle");

    for port in 1..=40 {
        world.write("a", vec![set(port, session(100, "new"))]);
    }
    world.write("a", vec![unset(1), unset(40), set(50, session(100, "more"))]);
    flow(&mut world, stream);

    same_as_writer(&world);
}

#[test]
fn r7_a_supplier_whose_ring_overran_starts_over() {
    let (mut world, stream) = large(crate::Limits { ring_changes_max: 2, ..little() });
    world.run();
    assert!(world.copy("b", &feed(1)).is_none(), "the credit ends in the middle");

    for port in 1..=10 {
        world.write("a", vec![set(port, session(100, "new"))]);
        world.write("a", vec![unset(41 - port)]);
    }
    flow(&mut world, stream);

    same_as_writer(&world);
}

#[test]
fn r7_a_supplier_whose_own_copy_was_replaced_starts_over() {
    let (mut world, stream) = large(little());
    world.run();
    world.cut(stream);
    world.member("c", 2, &[listed(1, 0)]);
    world.add("late", near(), crate::Role::Bridge, little());
    let records = vec![listed(1, 0)];
    world.give("late", Input::Loaded { feed: raft(), view: View::WHOLE, position: at(10), records });
    let held = (1..=40).map(|port| set(port, session(1, "older"))).collect();
    world.load("late", feed(1), landbridge_model::Position { seq: 1, ..at(1) }, held);
    world.connect("b", "late");
    world.run();
    assert!(world.copy("b", &feed(1)).is_none(), "the credit ends in the middle");

    world.write("a", (1..=20).map(|port| set(port, session(100, "new"))).collect());
    world.write("a", (21..=40).map(unset).collect());
    world.drains = true;
    let refill = world.connect("late", "a");
    world.give("a", Input::Drained { stream: refill, bytes: 0 });
    world.tick(8);
    let between = *world.streams.keys().map(|(id, _)| id).min().unwrap();
    world.give("late", Input::Drained { stream: between, bytes: 1 << 20 });
    world.run();

    same_as_writer(&world);
}

#[test]
fn r7_equal_buckets_are_not_sent_again() {
    let (mut world, stream) = pair();
    world.cut(stream);
    // A copy from disk has an empty ring, so it can only reconcile.
    world.bridge("c", near());
    let mut records = vec![set(1, session(1, "one")), set(2, session(2, "two"))];
    records.extend((3..100).map(|port| set(port, session(1, "common"))));
    world.write("a", records[2..].to_vec());
    let stream = world.connect("b", "a");
    world.run();
    world.cut(stream);
    records[0] = set(1, session(5, "changed"));
    world.give(
        "c",
        Input::Loaded { feed: raft(), view: View::WHOLE, position: at(10), records: vec![listed(1, 0)] },
    );
    world.load("c", feed(1), at(300), records);

    let stream = world.connect("b", "c");
    while world.deliver(stream, "b") || world.deliver(stream, "c") {
        let said = world.queued(stream, "c");
        let sent = said.iter().filter_map(|message| match message {
            Message::Bucket { content: BucketContent::Records { records, .. }, .. } => Some(records.len()),
            _ => None,
        });
        assert!(sent.sum::<usize>() <= 4, "only what differs travels");
    }

    assert_eq!(world.copy("b", &feed(1)).unwrap().position(), at(300));
    assert!(world.copy("b", &feed(1)).unwrap().records().eq(world.copy("c", &feed(1)).unwrap().records()));
}

#[test]
fn r7_a_bucket_said_to_be_the_same_is_taken_only_while_it_is() {
    let (mut world, stream) = pair();
    let bucket = crate::bucket_of(&key(1));
    let digest = world.copy("b", &feed(1)).unwrap().digests().0[bucket] ^ 1;

    world.give("b", received(stream, Message::Begin { feed: feed(1), view: View::WHOLE }));
    let content = BucketContent::Same { digest };
    world.give("b", received(stream, Message::Bucket { feed: feed(1), bucket: bucket as u16, content }));
    let end = Message::End { feed: feed(1), view: View::WHOLE, position: at(9) };
    world.give("b", received(stream, end));

    assert_eq!(world.copy("b", &feed(1)).unwrap().position(), at(3));
    assert!(world.queued(stream, "b").iter().any(|m| matches!(m, Message::Want { digests: Some(_), .. })));
}

#[test]
fn r8_a_supplier_without_a_copy_says_nothing_of_a_feed() {
    let (mut world, _) = pair();
    world.bridge("fresh", near());
    let stream = world.connect("b", "fresh");

    let message = Message::Want { feed: feed(1), have: None, digests: None };
    world.give("fresh", received(stream, message));

    let said = world.queued(stream, "fresh");
    assert!(said.iter().all(|m| matches!(m, Message::Want { .. } | Message::Beats { .. })), "{said:?}");
    assert_eq!(world.shown("b").len(), 2);
}

#[test]
fn nothing_is_said_beyond_the_credit_and_what_comes_later_is_coalesced() {
    let (mut world, stream) = pair();
    world.drains = false;
    for round in 0..20_000u64 {
        world.write("a", vec![set((round % 4) as u16, session(10 + round, "again"))]);
    }
    let sent: usize = world.queued(stream, "a").iter().map(Message::weight_bytes).sum();
    assert!(sent <= limits().credit_bytes, "{sent} bytes on their way");

    world.drains = true;
    world.give("a", Input::Drained { stream, bytes: sent });
    let last = world.queued(stream, "a").pop().unwrap();
    world.run();

    assert!(matches!(&last, Message::Begin { .. } | Message::Batch { .. } | Message::End { .. }));
    same_as_writer(&world);
}

#[test]
fn heartbeats_pass_while_a_long_reconcile_uses_up_its_credit() {
    let (mut world, stream) = large(crate::Limits { credit_bytes: 1024, ..little() });
    world.run();
    assert!(world.copy("b", &feed(1)).is_none(), "the credit is used up");

    world.give("a", Input::Tick { unix_ms: 0 });

    assert!(matches!(world.queued(stream, "a").last(), Some(Message::Beats { .. })));
}

#[test]
fn heartbeats_that_found_no_room_go_before_everything_else_with_the_next_credit() {
    let (mut world, stream) = large(crate::Limits { credit_bytes: 900, ..little() });
    world.run();
    (0..6).for_each(|_| world.give("a", Input::Tick { unix_ms: 0 }));
    let before = world.queued(stream, "a");

    world.give("a", Input::Drained { stream, bytes: 900 });

    let said = &world.queued(stream, "a")[before.len()..];
    assert!(matches!(said[0], Message::Beats { .. }), "{said:?}");
    assert!(said.len() > 1, "{said:?}");
}

#[test]
fn with_little_credit_the_heartbeats_of_all_feeds_take_turns() {
    let (mut world, stream) = pair();
    let limits = crate::Limits { credit_bytes: 64 + 2 * 64, bulk_bytes_max: 2 * 64, ..limits() };
    let directory = (1..=6).map(|index| listed(index, 0)).collect();
    world.add("d", near(), crate::Role::Bridge, limits);
    world.cut(stream);
    world.give("d", Input::Installed { position: at(10), records: directory });
    let stream = world.connect("d", "b");
    world.drains = false;

    let mut told = std::collections::BTreeSet::new();
    for _ in 0..4 {
        world.give("d", Input::Tick { unix_ms: 0 });
        world.give("d", Input::Drained { stream, bytes: 64 + 2 * 64 });
    }

    for message in world.queued(stream, "d") {
        if let Message::Beats { beats, .. } = message {
            told.extend(beats.into_iter().map(|(feed, _)| feed));
        }
    }
    assert_eq!(told.len(), 7, "{told:?}");
}

#[test]
fn every_message_of_records_keeps_its_bound_even_after_a_heavy_step() {
    let (mut world, stream) = pair();
    world.drains = false;
    let text = "x".repeat(10_000);
    world.write("a", (100..120).map(|port| set(port, session(port.into(), &text))).collect());
    let mut largest = 0;
    for _ in 0..1000 {
        largest = world.queued(stream, "a").iter().map(Message::weight_bytes).max().unwrap_or(0).max(largest);
        let (bytes_a, bytes_b) = (1 << 20, 1 << 20);
        let busy = world.deliver(stream, "a") | world.deliver(stream, "b");
        world.give("a", Input::Drained { stream, bytes: bytes_a });
        world.give("b", Input::Drained { stream, bytes: bytes_b });
        if !busy {
            break;
        }
    }

    assert!(largest <= limits().bulk_bytes_max + crate::MESSAGE_BYTES_MIN, "{largest}");
    same_as_writer(&world);
}

#[test]
fn a_feed_that_reconciles_does_not_hold_up_the_others() {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), listed(2, 0)]);
    world.bridge("c", near());
    let records = vec![listed(1, 0), listed(2, 0)];
    world.give("c", Input::Loaded { feed: raft(), view: View::WHOLE, position: at(10), records });
    let text = "x".repeat(9_000);
    let big = (0..200).map(|port| set(port, session(1, &text))).collect();
    world.load("c", feed(1), at(5), big);
    world.load("c", feed(2), at(5), vec![set(900, session(1, "small"))]);
    world.bridge("b", near());
    world.drains = false;
    let stream = world.connect("b", "c");
    world.run();

    for _ in 0..4 {
        world.give("c", Input::Drained { stream, bytes: 64 << 10 });
        world.run();
    }

    assert!(world.copy("b", &feed(1)).is_none());
    assert_eq!(world.copy("b", &feed(2)).map(|copy| copy.position()), Some(at(5)));
}
