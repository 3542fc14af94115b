//! How old what is shown of the region's decisions is said to be.

use landbridge_feed::Message;
use landbridge_model::{FeedId, Heartbeat, Moment, Position};

use super::rig::*;
use crate::{Effect, Input, Leading};

fn age_ms(rig: &Rig, at: usize) -> u64 {
    rig.member(at).decided_age_ms(Moment(rig.now)).expect("the leader is heard")
}

fn raft() -> FeedId {
    FeedId::Raft(own_region())
}

fn position(rig: &Rig, at: usize) -> Position {
    rig.member(at).holder().copy(&raft()).expect("a copy").position()
}

/// What a member last told another one of the leader's life.
fn told(rig: &Rig, by: usize) -> Heartbeat {
    let beat = |(at, effect): &(usize, Effect)| match effect {
        Effect::Send { message: Message::Beats { beats, .. }, .. } if *at == by => {
            beats.iter().find(|(feed, _)| *feed == raft()).map(|(_, beat)| *beat)
        }
        _ => None,
    };
    rig.seen.iter().rev().find_map(beat).expect("a heartbeat was told")
}

#[test]
fn a_decision_is_as_old_as_the_leaders_word_on_it_and_no_younger() {
    let rig = Rig::ready(3);

    for at in 0..3 {
        let age = age_ms(&rig, at);
        assert!((1_000..=2_000).contains(&age), "{age} ms at member {at}: a beat is made each second");
    }
}

#[test]
fn a_heartbeat_made_at_once_after_another_is_no_younger_than_what_the_quorum_said() {
    let mut rig = Rig::ready(3);
    for _ in 0..2 {
        rig.now += 10;
        let leading = Some(Leading { term: rig.term, quorum: true });
        rig.give(0, Input::Tick { unix_ms: BEGIN_MS + rig.now, leading });
    }

    let age = age_ms(&rig, 0);

    assert!(age >= 1_000, "{age} ms, though the quorum may have been silent for a second");
}

#[test]
fn a_heartbeat_that_was_relayed_is_as_old_as_it_is_and_not_as_its_arrival() {
    let mut rig = Rig::ready(3);
    let direct = age_ms(&rig, 1);
    rig.cuts.insert((0, 1));
    rig.ticks(5);

    let relayed = age_ms(&rig, 1);

    assert!(relayed > direct, "{relayed} ms by way of another member, {direct} ms directly");
    assert!(relayed <= direct + 2_000, "one hop is no more than a second or two: {relayed} ms");
}

#[test]
fn a_word_that_comes_late_makes_nothing_young() {
    let mut rig = Rig::ready(3);
    rig.ticks(1);
    let old = told(&rig, 0);
    rig.open_bridge(1);
    rig.cuts.extend([(0, 1), (2, 1)]);
    rig.ticks(40);
    let before = age_ms(&rig, 1);
    assert!(before >= 40_000, "{before} ms without a word");

    let late = Heartbeat { n: old.n + 1, ..old };
    let message = Message::Beats { unix_ms: BEGIN_MS, beats: vec![(raft(), late)], hears: Vec::new() };
    rig.give(1, Input::Received { stream: landbridge_feed::StreamId(1), message });

    assert!(age_ms(&rig, 1) >= 40_000, "{} ms after an old word", age_ms(&rig, 1));
}

#[test]
fn what_the_leader_has_and_this_member_lacks_is_no_younger_than_what_it_has() {
    let mut rig = Rig::ready(2);
    rig.open_bridge(1);
    rig.cuts.insert((0, 1));
    rig.ticks(1);
    let (before, at) = (age_ms(&rig, 1), position(&rig, 1));

    let n = told(&rig, 0).n + 1;
    rig.hear(1, &raft(), n, Position { seq: at.seq + 1, ..at });
    rig.ticks(10);

    assert!(age_ms(&rig, 1) >= before + 10_000, "{} ms, and it lacks a decision", age_ms(&rig, 1));
}

#[test]
fn a_leader_whose_clock_is_ahead_makes_nothing_younger() {
    let mut even = Rig::ready(2);
    even.ticks(5);
    let mut rig = Rig::with(2, |settings| settings);
    rig.clock_ahead_ms[0] = 20_000;
    rig.ticks(40);

    assert!(age_ms(&rig, 1) >= age_ms(&even, 1), "{} ms by a clock that is ahead", age_ms(&rig, 1));
    rig.cuts.insert((0, 1));
    rig.ticks(15);
    assert!(age_ms(&rig, 1) >= 15_000, "{} ms after 15 s of silence", age_ms(&rig, 1));
}
