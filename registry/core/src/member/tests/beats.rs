//! Beats at the owner, elsewhere, after the owner's death, and in masses (R11, protection).

use landbridge_model::{FeedId, Life, Registration};

use super::rig::*;
use crate::{Effect, Input, Outcome, Refusal};

fn winner(rig: &Rig, at: usize, port: u16) -> (FeedId, Registration) {
    let found = rig.member(at).holder().winner(&own_region(), &service(), &key(port));
    let (feed, record) = found.expect("the key has a record");
    (feed.clone(), record.clone())
}

fn own(rig: &Rig, at: usize) -> FeedId {
    rig.member(at).token().expect("an own feed").feed.clone()
}

fn healthy(rig: &mut Rig, at: usize) -> Vec<bool> {
    rig.view(at).expect("the service").hosts.iter().map(|host| host.instance.healthy).collect()
}

const RENEWED: Outcome = Outcome::Renewed { interval_ms: 5_000 };

#[test]
fn silence_makes_unhealthy_after_15_s_and_removes_after_30_s() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();

    rig.ticks(15);
    assert_eq!(healthy(&mut rig, 0), [true]);
    rig.ticks(1);
    assert_eq!(healthy(&mut rig, 0), [false]);
    rig.ticks(14);
    assert_eq!(rig.ports(0), [1]);
    rig.ticks(1);
    assert!(rig.ports(0).is_empty());
}

#[test]
fn a_beat_brings_health_back_and_keeps_the_instance() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    rig.ticks(20);

    assert_eq!(rig.beat(0, 1), Ok(RENEWED));
    rig.ticks(1);

    assert_eq!(healthy(&mut rig, 0), [true]);
    rig.ticks(25);
    assert_eq!(rig.ports(0), [1]);
}

#[test]
fn a_beat_noted_on_the_board_needs_no_word_to_the_core() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    let board = rig.member(0).board();
    let slot = rig.view(0).and_then(|view| view.host(&key(1))?.slot).expect("the view names the slot");

    for _ in 0..20 {
        board.renew(slot);
        rig.ticks(5);
    }

    assert_eq!(healthy(&mut rig, 0), [true]);
}

#[test]
fn metadata_shortens_the_times_and_the_answer_tells_the_interval() {
    let mut rig = Rig::ready(1);
    let instance = tagged(&[
        ("preserved.heart.beat.interval", "1000"),
        ("preserved.heart.beat.timeout", "3000"),
        ("preserved.ip.delete.timeout", "5000"),
    ]);
    rig.ask(0, |ticket| Input::Register { ticket, target: target(1), instance }).unwrap();

    assert_eq!(rig.beat(0, 1), Ok(Outcome::Renewed { interval_ms: 1_000 }));
    rig.ticks(4);
    assert_eq!(healthy(&mut rig, 0), [false]);
    rig.ticks(2);
    assert!(rig.ports(0).is_empty());
}

#[test]
fn a_light_beat_of_an_unknown_instance_is_answered_unknown_and_a_full_one_registers() {
    let mut rig = Rig::ready(1);
    assert_eq!(rig.beat(0, 1), Ok(Outcome::Unknown));

    let full = Some(labelled("from a beat"));
    let answer = rig.ask(0, |ticket| Input::Beat { ticket, target: target(1), full });

    assert_eq!(answer, Ok(RENEWED));
    assert_eq!(rig.shown(0), [(1, "from a beat".to_owned())]);
}

#[test]
fn a_beat_of_something_deregistered_elsewhere_is_answered_unknown() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();
    rig.deregister(1, 1).unwrap();

    assert_eq!(rig.beat(0, 1), Ok(Outcome::Unknown));
}

#[test]
fn a_beat_at_another_member_renews_where_the_record_stands() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();

    rig.ticks_beating(60, 1, &[1]);

    assert_eq!(winner(&rig, 1, 1).0, own(&rig, 0));
    assert_eq!(healthy(&mut rig, 1), [true]);
    assert_eq!(rig.member(1).counts().leases, 0);
}

#[test]
fn a_beat_whose_owner_is_dead_is_taken_over_under_its_old_stamp() {
    let mut rig = Rig::ready(3);
    rig.register(0, 1, "a").unwrap();
    let (_, before) = winner(&rig, 1, 1);
    rig.leader = 1;
    rig.kill(0);

    for _ in 0..100 {
        assert_eq!(rig.beat(1, 1), Ok(RENEWED));
        rig.ticks(1);
        assert_eq!(rig.shown(2), [(1, "a".to_owned())], "at {} ms", rig.now);
    }

    let (feed, after) = winner(&rig, 2, 1);
    assert_eq!((feed, after.stamp, after.take), (own(&rig, 1), before.stamp, before.take + 1));
    assert_eq!(rig.feeds(), 2, "the dead feed was closed meanwhile");
}

#[test]
fn beats_are_noted_on_the_board_of_who_took_them_over_and_of_nobody_else() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();
    let has_slot = |rig: &mut Rig, at| rig.view(at).expect("the service").hosts[0].slot.is_some();
    assert!(has_slot(&mut rig, 0) && !has_slot(&mut rig, 1));
    rig.seen.clear();
    rig.cuts.insert((0, 1));

    rig.beat(1, 1).unwrap();
    rig.ticks(3);

    assert_eq!(winner(&rig, 1, 1).0, own(&rig, 1));
    let touched = |(at, effect): &(usize, Effect)| matches!(effect, Effect::Touched { .. }).then_some(*at);
    let told: std::collections::BTreeSet<usize> = rig.seen.iter().filter_map(touched).collect();
    assert_eq!(told, [0, 1].into(), "a view is read again only when its service was touched");
    assert!(!has_slot(&mut rig, 0) && has_slot(&mut rig, 1));
}

#[test]
fn a_beat_whose_answers_are_lost_is_taken_over() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();
    rig.cuts.insert((0, 1));

    rig.beat(1, 1).unwrap();
    rig.ticks(2);

    assert_eq!(winner(&rig, 1, 1).0, own(&rig, 1));
}

#[test]
fn a_take_over_of_an_old_value_never_beats_a_newer_registration() {
    let mut rig = Rig::ready(3);
    rig.register(0, 1, "old").unwrap();
    rig.cuts.extend([(2, 1), (0, 1)]);
    rig.register(2, 1, "new").unwrap();

    rig.beat(1, 1).unwrap();
    rig.ticks(3);
    rig.cuts.clear();
    rig.ticks(3);

    assert!((0..3).all(|at| rig.shown(at) == [(1, "new".to_owned())]));
}

#[test]
fn a_record_of_an_earlier_incarnation_is_taken_over_at_once() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    let disk = rig.disk(0);
    rig.kill(0);
    rig.start(0, disk);

    assert_eq!(rig.beat(0, 1), Ok(RENEWED));

    let (feed, record) = winner(&rig, 0, 1);
    assert_eq!((feed, record.take), (own(&rig, 0), 1));
    assert!(!rig.seen.iter().any(|(_, effect)| matches!(effect, Effect::ForwardBeat { .. })));
}

#[test]
fn a_member_that_leaves_says_not_mine_and_the_beat_is_taken_over_at_once() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();
    rig.give(0, Input::Drain);
    assert_eq!(rig.beat(0, 1), Err(Refusal::Draining));

    rig.beat(1, 1).unwrap();

    assert_eq!(winner(&rig, 1, 1).0, own(&rig, 1));
}

#[test]
fn a_record_that_lost_runs_out_of_its_lease_unseen() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();
    rig.register(1, 1, "b").unwrap();

    rig.ticks_beating(40, 1, &[1]);

    assert_eq!(rig.member(0).counts().claims, 0);
    assert_eq!(rig.shown(0), [(1, "b".to_owned())]);
}

#[test]
fn a_beating_record_of_a_connection_is_none() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();

    assert_eq!(rig.beat(0, 1), Ok(Outcome::Unknown));
}

fn held(rig: &Rig) -> Vec<usize> {
    let held = |(_, effect): &(usize, Effect)| {
        let Effect::Held { origin, count, .. } = effect else { return None };
        assert_eq!(*origin, own_region());
        Some(*count)
    };
    rig.seen.iter().filter_map(held).collect()
}

#[test]
fn a_mass_lapse_is_held_marked_and_let_go_when_the_others_prove_that_beats_arrive() {
    let mut rig = Rig::ready(1);
    let ports: Vec<u16> = (1..=100).collect();
    for port in &ports {
        rig.register(0, *port, "a").unwrap();
    }
    let alive = &ports[60..];

    rig.ticks_beating(35, 0, alive);

    let view = rig.view(0).expect("the service");
    assert_eq!(view.hosts.len(), 100, "nothing is removed");
    assert_eq!(view.hosts.iter().filter(|host| host.unverified).count(), 60);
    assert_eq!(held(&rig), [60]);

    rig.ticks_beating(40, 0, alive);

    assert_eq!((rig.ports(0).len(), rig.member(0).counts().lapses), (40, 60));
    assert_eq!(held(&rig), [60, 0]);
}

#[test]
fn a_held_lease_that_beats_again_is_free_of_its_mark() {
    let mut rig = Rig::ready(1);
    let ports: Vec<u16> = (1..=100).collect();
    for port in &ports {
        rig.register(0, *port, "a").unwrap();
    }
    rig.ticks(35);
    assert_eq!(rig.member(0).counts().held, 100);

    rig.ticks_beating(2, 0, &ports);

    let view = rig.view(0).expect("the service");
    assert!(view.hosts.iter().all(|host| host.instance.healthy && !host.unverified));
    assert_eq!((view.hosts.len(), rig.member(0).counts().held), (100, 0));
}

#[test]
fn an_operator_lets_a_mass_lapse_go_and_a_deregistration_is_never_held() {
    let mut rig = Rig::ready(1);
    let ports: Vec<u16> = (1..=100).collect();
    for port in &ports {
        rig.register(0, *port, "a").unwrap();
    }
    rig.ticks(35);
    rig.deregister(0, 1).unwrap();
    assert_eq!(rig.ports(0).len(), 99);

    rig.give(0, Input::Release { origin: own_region() });

    assert!(rig.ports(0).is_empty());
}

#[test]
fn leases_that_lost_to_another_member_are_no_mass_lapse() {
    let mut rig = Rig::ready(2);
    let ports: Vec<u16> = (1..=100).collect();
    for port in &ports {
        rig.register(0, *port, "a").unwrap();
        rig.register(1, *port, "b").unwrap();
    }

    rig.ticks_beating(35, 1, &ports);

    assert_eq!(rig.member(0).counts().leases, 0);
    assert!(held(&rig).is_empty());
}

#[test]
fn beats_are_known_as_soon_as_the_copies_are_also_while_the_member_starts() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    let disk = rig.disk(0);
    rig.kill(0);
    rig.quorum = false;
    rig.start(0, disk);

    assert_eq!(rig.beat(0, 1), Ok(RENEWED));

    rig.quorum = true;
    rig.ticks(3);
    let (feed, record) = winner(&rig, 0, 1);
    assert!(matches!(record.life, Life::Beat(_)));
    assert_eq!(feed, own(&rig, 0), "published when the feed opened");
}
