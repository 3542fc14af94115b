//! Feeds opened, closed and opened again, READY, settling (R1, R3, R9, R14, R16).

use landbridge_model::{Era, FeedId, Position};

use super::rig::*;
use crate::{Command, Effect, Input, Phase, RaftState};

fn phases(rig: &Rig) -> Vec<Phase> {
    let phase = |(_, effect): &(usize, Effect)| {
        let Effect::PhaseChanged { phase } = effect else { return None };
        Some(*phase)
    };
    rig.seen.iter().filter_map(phase).collect()
}

fn own(rig: &Rig, at: usize) -> FeedId {
    rig.member(at).token().expect("an own feed").feed.clone()
}

#[test]
fn a_new_lone_member_is_ready_as_soon_as_its_feed_is_open() {
    let rig = Rig::new(1);

    assert_eq!((rig.now, rig.member(0).phase()), (0, Phase::Ready));
}

#[test]
fn a_restarted_member_writes_a_new_feed_and_its_old_one_stays_until_closed() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.leader = 1;
    let old = own(&rig, 0);
    rig.kill(0);
    rig.start(0, vec![]);

    for second in 0..55 {
        rig.ticks(1);
        assert_eq!(rig.ports(1), [1], "after {second} s");
    }

    assert_ne!(own(&rig, 0), old);
    assert_eq!(rig.feeds(), 3);
    rig.ticks(10);
    assert_eq!((rig.feeds(), rig.ports(1)), (2, vec![]));
}

#[test]
fn a_lone_member_restarted_on_its_disk_is_ready_at_once_and_shows_what_it_knew() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    let disk = rig.disk(0);
    rig.kill(0);

    rig.start(0, disk);

    assert_eq!((rig.member(0).phase(), rig.ports(0)), (Phase::Ready, vec![1]));
    assert!(rig.view(0).expect("the service").hosts[0].unverified);
}

#[test]
fn a_lone_member_waits_a_moment_for_what_a_bridge_of_its_region_has_beyond_its_disk() {
    for supplies in [true, false] {
        let mut rig = Rig::ready(1);
        rig.connect(0, 1);
        rig.publish(0, 1, 1, "a").unwrap();
        let (disk, feed) = (rig.disk(0), own(&rig, 0));
        let (from, to) = (disk[0].1, Position { seq: disk[0].1.seq + 1, ..disk[0].1 });
        rig.kill(0);
        rig.start(0, vec![]);
        rig.open_bridge(0);
        rig.hear(0, &feed, 50, to);

        rig.load(0, disk);
        assert_eq!(rig.member(0).phase(), Phase::Starting);

        if supplies {
            rig.bring(0, feed, from, to);
        } else {
            rig.ticks(10);
        }
        assert_eq!(rig.member(0).phase(), Phase::Ready, "supplied: {supplies}");
    }
}

#[test]
fn a_lone_member_without_its_disk_is_not_ready_before_the_old_feed_is_closed() {
    let mut rig = Rig::ready(1);
    rig.kill(0);
    rig.start(0, vec![]);

    rig.ticks(28);
    assert_eq!(rig.member(0).phase(), Phase::Starting);
    rig.ticks(1);
    assert_eq!(rig.member(0).phase(), Phase::Degraded, "the warm-up took too long");
    rig.ticks(35);
    assert_eq!(rig.member(0).phase(), Phase::Ready);
}

#[test]
fn a_restarted_member_is_not_ready_before_it_has_what_its_peers_have_announced() {
    let mut rig = Rig::ready(3);
    rig.register(1, 1, "a").unwrap();
    let disk = rig.disk(0);
    rig.register(1, 2, "b").unwrap();
    rig.ticks_beating(5, 1, &[1, 2]);
    rig.kill(0);
    rig.cuts.extend([(1, 0), (2, 0)]);
    rig.leader = 1;
    rig.start(0, disk);

    rig.ticks_beating(5, 1, &[1, 2]);
    assert_eq!(rig.member(0).phase(), Phase::Starting, "a checkpoint alone may be old");

    rig.cuts.clear();
    rig.ticks_beating(5, 1, &[1, 2]);
    assert_eq!((rig.member(0).phase(), rig.ports(0)), (Phase::Ready, vec![1, 2]));
}

#[test]
fn a_silent_feed_is_no_reason_to_wait_with_ready() {
    let mut rig = Rig::ready(3);
    let disk = rig.disk(0);
    rig.deaf.extend([0, 1]);
    rig.register(2, 1, "nobody has this").unwrap();
    rig.ticks(2);
    rig.kill(2);
    rig.kill(0);
    rig.deaf.clear();
    rig.leader = 1;
    rig.start(0, disk);

    rig.ticks(8);
    assert_eq!(rig.member(0).phase(), Phase::Starting, "its writer may yet be heard");
    rig.ticks(4);

    assert_eq!(rig.member(0).phase(), Phase::Ready);
}

#[test]
fn ready_waits_for_the_need_that_a_close_has_raised() {
    let mut rig = Rig::ready(2);
    rig.register(1, 1, "a").unwrap();
    let disk = rig.disk(1);
    rig.register(1, 2, "b").unwrap();
    let (feed, seq) = (own(&rig, 1), rig.member(1).token().expect("an own feed").seq);
    rig.kill(0);
    let gone = rig.state.directory().map(|(listed, _)| listed.clone()).find(|listed| *listed != feed);
    let gone = gone.expect("the feed of the dead member");
    rig.commit_and_apply(&Command::Close { feed: gone, cursor: [(feed, seq)].into() });
    rig.kill(1);
    rig.leader = 1;
    rig.start(1, disk);

    rig.ticks(20);

    assert_eq!(rig.member(1).phase(), Phase::Starting, "its checkpoint lacks what the close promised");
}

#[test]
fn ready_waits_for_raft_to_have_caught_up() {
    let mut member = crate::Member::new(settings(0, 1, 1));
    let mut state = RaftState::new(own_region());
    let mut effects = Vec::new();
    let at = landbridge_model::Moment(0);
    member.step(at, Input::Tick { unix_ms: BEGIN_MS, leading: None }, &mut effects);
    state.apply(1, &Command::Found { era: Era(7) });
    member.step(at, Input::Installed { position: state.position(), records: vec![] }, &mut effects);
    let Some(Effect::Propose { command, .. }) = effects.pop() else { panic!("it asks for a feed") };
    let changes = state.apply(2, &command).1;
    member.step(at, Input::Applied { position: state.position(), changes }, &mut effects);
    assert_eq!(member.phase(), Phase::Starting);

    member.step(at, Input::CaughtUp, &mut effects);

    assert_eq!(member.phase(), Phase::Ready);
}

#[test]
fn a_degraded_member_becomes_ready_when_it_is() {
    let mut rig = Rig::ready(3);
    rig.quorum = false;
    rig.kill(0);
    rig.start(0, vec![]);
    rig.ticks(40);
    assert_eq!(rig.member(0).phase(), Phase::Degraded);
    rig.quorum = true;

    rig.ticks(15);

    assert_eq!(rig.member(0).phase(), Phase::Ready);
    assert!(phases(&rig).contains(&Phase::Degraded));
}

#[test]
fn a_dead_members_feed_is_closed_after_60_s_of_silence_and_not_before() {
    let mut rig = Rig::ready(3);
    rig.connect(2, 1);
    rig.publish(2, 1, 1, "a").unwrap();
    rig.kill(2);

    rig.ticks(59);
    assert_eq!((rig.feeds(), rig.ports(0)), (3, vec![1]));
    assert!(rig.view(0).expect("the service").hosts[0].unverified);
    rig.ticks(2);

    assert_eq!((rig.feeds(), rig.ports(0), rig.ports(1)), (2, vec![], vec![]));
}

#[test]
fn silence_without_a_quorum_closes_nothing() {
    let mut rig = Rig::ready(3);
    rig.kill(2);
    rig.quorum = false;
    rig.ticks(300);
    assert_eq!(rig.feeds(), 3);
    rig.quorum = true;

    rig.ticks(50);

    assert_eq!(rig.feeds(), 3, "only ticks with a quorum count");
    rig.ticks(15);
    assert_eq!(rig.feeds(), 2);
}

#[test]
fn a_new_leader_counts_silence_from_its_own_beginning() {
    let mut rig = Rig::ready(3);
    rig.kill(2);
    rig.ticks(50);
    rig.leader = 1;

    rig.ticks(50);
    assert_eq!(rig.feeds(), 3);
    rig.ticks(15);

    assert_eq!(rig.feeds(), 2);
}

#[test]
fn a_leader_that_is_elected_again_counts_from_there() {
    let mut rig = Rig::ready(3);
    rig.kill(2);
    rig.ticks(50);
    rig.term = 2;

    rig.ticks(50);
    assert_eq!(rig.feeds(), 3);
    rig.ticks(15);

    assert_eq!(rig.feeds(), 2);
}

#[test]
fn a_healthy_member_that_the_leader_cannot_hear_is_not_closed_while_another_hears_it() {
    let mut rig = Rig::ready(3);
    rig.cuts.insert((2, 0));

    rig.ticks(200);

    assert_eq!(rig.feeds(), 3);
}

#[test]
fn a_leader_that_lacks_what_a_living_feed_has_announced_closes_nothing() {
    let mut rig = Rig::ready(3);
    rig.kill(2);
    rig.ticks(50);
    rig.deaf.insert(0);
    rig.register(1, 1, "a").unwrap();

    for _ in 0..30 {
        rig.ticks_beating(1, 1, &[1]);
        rig.register(1, 2, "b").unwrap();
    }
    assert_eq!(rig.feeds(), 3, "it does not know where clients have moved");

    rig.deaf.clear();
    rig.relink(0, 1);
    rig.ticks(3);
    assert_eq!(rig.feeds(), 2);
}

#[test]
fn a_close_carries_where_the_leader_stands_in_the_feeds_that_stay() {
    let mut rig = Rig::ready(3);
    rig.kill(2);
    rig.connect(1, 1);
    rig.publish(1, 1, 1, "a").unwrap();
    let seq = rig.member(1).token().expect("an own feed").seq;

    rig.ticks(65);

    let needs: Vec<_> = rig.state.directory().map(|(feed, entry)| (feed.clone(), entry.need)).collect();
    assert!(needs.contains(&(own(&rig, 1), seq)) && needs.contains(&(own(&rig, 0), 1)));
}

#[test]
fn a_member_whose_feed_was_closed_opens_a_new_one_with_the_old_stamps_and_nobody_blinks() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    let old = own(&rig, 0);
    let stamp = |rig: &mut Rig, at: usize| {
        let holder = rig.member(at).holder();
        holder.winner(&own_region(), &service(), &key(1)).map(|(_, record)| record.stamp)
    };
    let before = stamp(&mut rig, 0);

    rig.commit_and_apply(&Command::Close { feed: old.clone(), cursor: Default::default() });

    assert_ne!(own(&rig, 0), old);
    assert_eq!((rig.ports(0), rig.ports(1)), (vec![1], vec![1]));
    assert_eq!((stamp(&mut rig, 0), stamp(&mut rig, 1)), (before, before));
    assert!(rig.member(0).holder().copy(&old).is_none());
}

#[test]
fn between_the_close_of_its_feed_and_the_next_a_member_shows_its_own_records() {
    let mut rig = Rig::ready(2);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.register(0, 2, "b").unwrap();
    let feed = own(&rig, 0);
    rig.close_without_answering(&Command::Close { feed, cursor: Default::default() });
    assert_eq!(rig.member(0).token(), None);
    rig.quorum = false;
    assert_eq!(rig.ports(0), [1, 2]);
    assert!(rig.register(0, 3, "c").is_err());

    rig.hang_up(0, 1);
    assert_eq!(rig.beat(0, 2), Ok(crate::Outcome::Renewed { interval_ms: 5_000 }));

    assert_eq!(rig.ports(0), [2], "a claim that ends meanwhile is gone at once");
    rig.quorum = true;
    rig.ticks(3);
    assert_eq!((rig.ports(0), rig.ports(1)), (vec![2], vec![2]));
}

#[test]
fn a_restored_region_settles_when_its_leader_has_counted_60_s() {
    let mut rig = Rig::ready(1);
    rig.kill(0);
    let position = Position { era: Era(BEGIN_MS * 2), seq: rig.state.position().seq };
    rig.state = RaftState::reborn(own_region(), position, rig.state.records().clone());
    rig.start(0, vec![]);

    rig.ticks(20);
    assert!(rig.member(0).token().is_some());
    assert_eq!(rig.member(0).phase(), Phase::Starting);
    rig.ticks(39);
    assert!(rig.member(0).holder().settling(&own_region()));
    rig.ticks(7);

    assert!(!rig.member(0).holder().settling(&own_region()));
    assert_eq!(rig.member(0).phase(), Phase::Ready);
}
