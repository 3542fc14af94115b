//! Lives that end right after they began leave feeds of which nobody has a copy; READY does not wait for their close (R14).

use landbridge_model::{FeedId, Position};

use super::rig::*;
use crate::{Command, Phase};

/// Long enough to ask everybody, far shorter than until a close.
const SOON: u64 = 20;

/// What every member's disk holds of a life that lasted.
fn disks(rig: &Rig) -> Vec<Vec<Saved>> {
    (0..rig.members.len()).map(|at| rig.disk(at)).collect()
}

fn kill_all(rig: &mut Rig) {
    (0..rig.members.len()).for_each(|at| rig.kill(at));
}

fn start_all(rig: &mut Rig, disks: &[Vec<Saved>]) {
    disks.iter().enumerate().for_each(|(at, disk)| rig.start(at, disk.clone()));
}

/// Members with an instance in member 0's feed, killed, and killed again before anything of the second life was saved; tells
/// what their disks hold, and the feed of member 0's second life.
fn twice_killed(members: usize) -> (Rig, Vec<Vec<Saved>>, FeedId) {
    let mut rig = Rig::ready(members);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    let disks = disks(&rig);
    kill_all(&mut rig);
    start_all(&mut rig, &disks);
    let short = rig.member(0).token().expect("an own feed").feed.clone();
    kill_all(&mut rig);
    (rig, disks, short)
}

#[test]
fn a_region_that_is_killed_twice_is_ready_soon_and_shows_what_it_showed() {
    for members in [1, 3] {
        let (mut rig, disks, _) = twice_killed(members);

        start_all(&mut rig, &disks);
        rig.ticks(SOON);

        for at in 0..members {
            let state = (rig.member(at).phase(), rig.ports(at));
            assert_eq!(state, (Phase::Ready, vec![1]), "member {at} of {members}");
        }
    }
}

#[test]
fn ready_of_a_region_that_lost_its_disks_waits_for_the_close_of_its_feeds() {
    let (mut rig, disks, _) = twice_killed(3);
    let empty = vec![Vec::new(); disks.len()];

    start_all(&mut rig, &empty);
    rig.ticks(SOON);

    assert_eq!(rig.member(0).phase(), Phase::Starting, "its clients are not back yet");
}

#[test]
fn a_feed_in_which_a_close_has_found_something_is_waited_for() {
    let (mut rig, disks, short) = twice_killed(3);
    let gone = rig.state.directory().last().expect("an open feed").0.clone();
    rig.commit_and_apply(&Command::Close { feed: gone, cursor: [(short, 2)].into() });

    start_all(&mut rig, &disks);
    rig.ticks(SOON);

    assert_eq!(rig.member(0).phase(), Phase::Starting);
}

#[test]
fn a_feed_whose_writer_is_not_back_may_yet_be_told_by_it() {
    let (mut rig, disks, _) = twice_killed(3);

    rig.start(0, disks[0].clone());
    rig.start(1, disks[1].clone());
    rig.ticks(SOON);

    assert_eq!(rig.member(0).phase(), Phase::Starting);
}

#[test]
fn a_feed_that_somebody_has_heard_of_is_waited_for() {
    let (mut rig, disks, short) = twice_killed(3);
    start_all(&mut rig, &disks);
    rig.open_bridge(0);

    rig.hear(0, &short, 1, Position { seq: 2, ..disks[0][0].1 });
    rig.ticks(SOON);

    assert_eq!(rig.member(0).phase(), Phase::Starting);
}

#[test]
fn a_feed_that_somebody_has_begun_to_tell_is_waited_for() {
    let (mut rig, disks, short) = twice_killed(3);
    let (held, position) = (disks[0][0].0.clone(), disks[0][0].1);
    start_all(&mut rig, &disks);
    rig.open_bridge(0);
    rig.hear(0, &held, 1, position);

    for _ in 0..SOON {
        rig.begin(0, short.clone());
        rig.ticks(1);
    }

    assert_eq!(rig.member(0).phase(), Phase::Starting, "a bridge of its region has a copy");
}
