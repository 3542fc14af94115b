//! Leaving in order (R3b, R13): no client is absent, nothing is deleted, and the process may go.

use super::rig::*;
use crate::{Effect, Input, Phase, Refusal};

fn departed(rig: &Rig) -> bool {
    rig.seen.iter().any(|(_, effect)| *effect == Effect::Departed)
}

#[test]
fn a_lone_member_departs_at_once_and_closes_nothing() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();

    rig.give(0, Input::Drain);

    assert!(departed(&rig));
    assert_eq!((rig.feeds(), rig.ports(0)), (1, vec![1]));
}

#[test]
fn a_leaving_member_deletes_nothing_when_its_connections_end() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.give(0, Input::Drain);

    rig.hang_up(0, 1);

    assert_eq!(rig.ports(1), [1]);
    assert_eq!(rig.register(0, 2, "b"), Err(Refusal::Draining));
    assert_eq!(rig.member(0).phase(), Phase::Draining);
}

#[test]
fn a_leaving_member_does_not_wait_when_nobody_else_is_ready() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.give(0, Input::Alone);
    assert!(!departed(&rig), "it was not asked to leave");
    rig.give(0, Input::Drain);
    assert!(!departed(&rig), "its client has not moved");

    rig.give(0, Input::Alone);

    assert!(departed(&rig));
}

#[test]
fn a_leaving_member_names_no_place_to_note_beats_any_more() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();
    let slot = |rig: &mut Rig| rig.view(0).expect("the service").hosts[0].slot;
    assert!(slot(&mut rig).is_some());
    rig.seen.clear();

    rig.give(0, Input::Drain);

    assert!(rig.seen.contains(&(0, Effect::Touched { service: service() })));
    assert!(slot(&mut rig).is_none());
}

#[test]
fn a_member_whose_clients_have_moved_closes_its_feed_and_departs_and_nobody_blinks() {
    let mut rig = Rig::ready(3);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.give(0, Input::Drain);
    rig.ticks(10);
    assert_eq!((rig.feeds(), departed(&rig)), (3, false), "it waits for its client");

    rig.connect(1, 2);
    rig.publish(1, 2, 1, "moved").unwrap();
    rig.hang_up(0, 1);
    for _ in 0..10 {
        rig.ticks(1);
        assert!((1..3).all(|at| rig.shown(at) == [(1, "moved".to_owned())]));
    }

    assert_eq!((rig.feeds(), departed(&rig)), (2, true));
}

#[test]
fn a_member_whose_clients_stay_away_closes_its_feed_after_60_s() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.give(0, Input::Drain);

    rig.ticks(60);
    assert!(!departed(&rig));
    rig.ticks(6);

    assert_eq!((rig.feeds(), departed(&rig)), (1, true));
    assert!(rig.ports(1).is_empty());
}

#[test]
fn a_member_that_cannot_close_its_feed_departs_all_the_same() {
    let mut rig = Rig::ready(2);
    rig.quorum = false;
    rig.give(0, Input::Drain);

    rig.ticks(120);
    assert!(!departed(&rig));
    rig.ticks(2);

    assert!(departed(&rig));
}
