//! Registering, taking back, claims and tombstones at several members (R10, R12, R14, R24), and the kind of a service.

use super::rig::*;
use crate::{Command, ConnectionId, Input, Kind, Outcome, Published, Refusal};

#[test]
fn registrations_are_refused_until_the_own_feed_is_open() {
    let mut rig = Rig::ready(1);
    rig.kill(0);
    rig.quorum = false;
    rig.start(0, vec![]);

    assert_eq!(rig.register(0, 1, "a"), Err(Refusal::Starting));

    rig.quorum = true;
    rig.ticks(2);
    assert!(matches!(rig.register(0, 1, "a"), Ok(Outcome::Written(_))));
}

#[test]
fn the_answer_of_a_write_names_the_feed_and_the_seq_that_hold_it() {
    let mut rig = Rig::ready(1);

    let Ok(Outcome::Written(token)) = rig.register(0, 1, "a") else { panic!("it is written") };

    let copy = rig.member(0).holder().copy(&token.feed).expect("the own feed");
    assert_eq!((token.seq, copy.position().seq), (2, 2));
    let Ok(Outcome::Written(token)) = rig.register(0, 2, "b") else { panic!("it is written") };
    assert_eq!(token.seq, 3);
}

#[test]
fn a_large_batch_is_written_in_several_steps_and_the_answer_names_the_last() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    let ports: Vec<u16> = (1..=100).collect();

    let Ok(Outcome::Written(token)) = rig.batch(0, 1, &ports) else { panic!("it is written") };

    let copy = rig.member(0).holder().copy(&token.feed).expect("the own feed");
    assert_eq!((token.seq, copy.position().seq, copy.len()), (5, 5, 100));
}

#[test]
fn register_instance_replaces_what_the_connection_published_before() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();

    rig.publish(0, 1, 2, "b").unwrap();

    assert_eq!(rig.ports(0), [2]);
}

#[test]
fn a_batch_replaces_the_whole_set_of_its_connection_only() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.connect(0, 2);
    rig.batch(0, 1, &[1, 2]).unwrap();
    rig.publish(0, 2, 9, "other").unwrap();

    rig.batch(0, 1, &[2, 3]).unwrap();

    assert_eq!(rig.ports(0), [2, 3, 9]);
}

#[test]
fn a_withdrawal_takes_whatever_the_connection_published() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.batch(0, 1, &[1, 2]).unwrap();

    rig.withdraw(0, 1).unwrap();

    assert!(rig.ports(0).is_empty());
    rig.hang_up(0, 1);
    assert_eq!(rig.withdraw(0, 1), Err(Refusal::UnknownConnection));
}

#[test]
fn a_registration_at_one_member_shows_at_all_and_a_later_one_elsewhere_wins() {
    let mut rig = Rig::ready(3);
    rig.register(0, 1, "old").unwrap();

    rig.register(2, 1, "new").unwrap();

    for at in 0..3 {
        assert_eq!(rig.shown(at), [(1, "new".to_owned())], "member {at}");
    }
}

#[test]
fn a_half_dead_connection_found_late_takes_nothing_along() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.connect(0, 2);
    rig.publish(0, 2, 1, "a again").unwrap();
    rig.connect(1, 3);
    rig.publish(1, 3, 2, "b").unwrap();

    rig.hang_up(0, 1);

    assert_eq!(rig.shown(1), [(1, "a again".to_owned()), (2, "b".to_owned())]);
}

#[test]
fn the_end_of_the_newer_claim_shows_the_older_one_again() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.connect(0, 2);
    rig.publish(0, 1, 1, "first").unwrap();
    rig.publish(0, 2, 1, "second").unwrap();

    rig.hang_up(0, 2);

    assert_eq!(rig.shown(0), [(1, "first".to_owned())]);
}

#[test]
fn a_deregistration_works_at_any_member_and_stays() {
    let mut rig = Rig::ready(3);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.dead.insert(ConnectionId(1));

    rig.deregister(2, 1).unwrap();

    for _ in 0..150 {
        rig.ticks(1);
        assert!((0..3).all(|at| rig.ports(at).is_empty()), "at {} ms", rig.now);
    }
}

#[test]
fn a_tombstone_goes_120_s_after_the_last_older_record_was_in_sight() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.dead.insert(ConnectionId(1));
    rig.deregister(1, 1).unwrap();

    rig.ticks(300);
    assert_eq!(rig.member(1).counts().tombstones, 1, "the older record is still there");

    rig.hang_up(0, 1);
    rig.ticks(119);
    assert_eq!(rig.member(1).counts().tombstones, 1);
    rig.ticks(3);
    assert_eq!(rig.member(1).counts().tombstones, 0);
    assert!(rig.ports(0).is_empty() && rig.ports(1).is_empty());
}

#[test]
fn an_instance_does_not_come_back_while_its_dead_members_feed_cannot_be_closed() {
    let mut rig = Rig::ready(3);
    rig.connect(2, 1);
    rig.publish(2, 1, 1, "a").unwrap();
    rig.quorum = false;
    rig.kill(2);
    rig.deregister(1, 1).unwrap();

    for _ in 0..400 {
        rig.ticks(1);
        assert!(rig.ports(0).is_empty() && rig.ports(1).is_empty(), "at {} ms", rig.now);
    }
}

#[test]
fn a_deregistration_with_a_live_claim_left_writes_no_tombstone() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "session").unwrap();
    rig.register(0, 1, "beating").unwrap();

    rig.deregister(0, 1).unwrap();

    assert_eq!(rig.shown(0), [(1, "session".to_owned())]);
    assert_eq!(rig.member(0).counts().tombstones, 0);
}

#[test]
fn a_connections_end_writes_no_tombstone() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "old").unwrap();
    rig.connect(1, 2);
    rig.publish(1, 2, 1, "new").unwrap();

    rig.hang_up(1, 2);

    assert_eq!(rig.shown(0), [(1, "old".to_owned())], "the live claim at the other member shows again");
}

#[test]
fn a_live_connection_hidden_by_a_tombstone_elsewhere_comes_back() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "alive").unwrap();
    rig.deregister(1, 1).unwrap();
    assert!(rig.ports(0).is_empty());

    rig.ticks(4);

    assert_eq!(rig.shown(1), [(1, "alive".to_owned())]);
}

#[test]
fn operations_in_sequence_at_different_members_end_with_the_last() {
    let mut rig = Rig::ready(3);
    rig.register(0, 1, "one").unwrap();
    rig.deregister(1, 1).unwrap();
    rig.register(2, 1, "two").unwrap();
    rig.deregister(0, 1).unwrap();
    rig.register(1, 1, "three").unwrap();

    assert!((0..3).all(|at| rig.shown(at) == [(1, "three".to_owned())]));
}

#[test]
fn a_service_with_persistent_instances_refuses_ephemeral_ones_in_nacos_words() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.ask_to_persist(0, 1);

    let one = rig.register(0, 2, "a").unwrap_err();
    let connection = ConnectionId(1);
    let published = Published::Batch(vec![(key(3), plain())]);
    let batch = rig
        .ask(0, |ticket| Input::Publish { ticket, connection, service: service(), published })
        .unwrap_err();

    let start = "Current service DEFAULT_GROUP@@orders is persistent service, can't";
    assert_eq!(one.to_string(), format!("{start} register ephemeral instance."));
    assert_eq!(batch.to_string(), format!("{start} batch register ephemeral instance."));
}

#[test]
fn a_service_with_ephemeral_instances_refuses_persistent_ones_in_nacos_words() {
    let mut rig = Rig::ready(2);
    rig.register(0, 1, "a").unwrap();

    let command = Command::PutPersistent { service: service(), key: key(2), instance: plain() };
    let refusal = rig.ask(1, |ticket| Input::Submit { ticket, command }).unwrap_err();

    assert_eq!(
        refusal.to_string(),
        "Current service DEFAULT_GROUP@@orders is ephemeral service, can't register persistent instance."
    );
}

#[test]
fn a_race_of_both_kinds_leaves_both_visible_counts_and_refuses_more_ephemeral_ones() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    rig.view(0);
    rig.commit_and_apply(&Command::PutPersistent { service: service(), key: key(2), instance: plain() });

    assert!(matches!(rig.register(0, 3, "b"), Err(Refusal::TypeConflict { .. })));
    assert_eq!(rig.ports(0), [1, 2]);
    assert_eq!(rig.view(0).and_then(|view| view.kind), Some(Kind::Persistent));
    assert_eq!(rig.member(0).counts().type_conflicts, 1);
}

#[test]
fn a_defined_service_takes_the_type_of_its_first_instance() {
    let definition = landbridge_model::Definition { protect_threshold: 0.0, metadata: Default::default() };
    let mut rig = Rig::ready(1);
    rig.commit_and_apply(&Command::Define { service: service(), definition: definition.into() });
    assert_eq!(rig.view(0).map(|view| (view.defined, view.kind)), Some((true, None)));

    rig.register(0, 1, "a").unwrap();

    assert_eq!(rig.view(0).and_then(|view| view.kind), Some(Kind::Ephemeral));
}

#[test]
fn beat_times_that_nacos_refuses_are_refused_in_its_words() {
    let mut rig = Rig::ready(1);
    let instance = tagged(&[("preserved.heart.beat.interval", "20000")]);

    let refusal = rig.ask(0, |ticket| Input::Register { ticket, target: target(1), instance }).unwrap_err();

    assert_eq!(
        refusal.to_string(),
        "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'."
    );
}

#[test]
fn a_bound_that_is_reached_is_named() {
    let mut rig = Rig::with(1, |mut settings| {
        settings.limits.claims_max = 2;
        settings
    });
    rig.ticks(15);
    rig.register(0, 1, "a").unwrap();
    rig.register(0, 2, "b").unwrap();

    let refusal = rig.register(0, 3, "c").unwrap_err();

    assert_eq!(refusal.to_string(), "the limit claims_max = 2 is reached");
}

#[test]
fn commands_of_the_feeds_are_not_for_clients() {
    let mut rig = Rig::ready(1);
    let feed = rig.member(0).token().expect("an own feed").feed.clone();
    let command = Command::Close { feed, cursor: Default::default() };

    assert_eq!(rig.ask(0, |ticket| Input::Submit { ticket, command }), Err(Refusal::Reserved));
}
