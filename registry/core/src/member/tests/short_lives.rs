//! Lives that end right after they began leave feeds of which nobody has a copy, and everybody asks everybody for them.

use super::rig::*;
use crate::Phase;

#[test]
fn members_that_all_lack_a_feed_come_to_rest_and_wait_for_its_close() {
    for members in [2, 3, 5, 7, 9] {
        let mut rig = Rig::ready(members);
        rig.connect(0, 1);
        rig.publish(0, 1, 1, "a").unwrap();
        let disks: Vec<_> = (0..members).map(|at| rig.disk(at)).collect();
        // Nothing of the second life is saved.
        for _ in 0..2 {
            (0..members).for_each(|at| rig.kill(at));
            disks.iter().enumerate().for_each(|(at, disk)| rig.start(at, disk.clone()));
        }

        // Each tick ends once all messages are told, so an endless exchange would never come back.
        rig.ticks(50);

        assert_ne!(rig.member(0).phase(), Phase::Ready, "of {members}");
    }
}
