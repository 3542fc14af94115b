//! Who left just now: an endpoint that comes back at once finds its connections again.
//!
//! A registry that hesitates takes an endpoint away and gives it back; each core's connections to it are as good as before
//! and would otherwise be opened anew while calls wait. All else is learned from the beginning.
//!
//! Invariant: a number goes back to the same place of the same service only, spoken to in the same way.

use std::collections::{BTreeMap, VecDeque};

use landbridge_model::{Address, Moment};

use crate::{
    service::{EndpointSpec, Name},
    speech::Speech,
};

/// Who is away for longer is another when it comes back: in so long a machine may have started anew.
pub(crate) const RETURN_MS: u64 = 4_000;

/// So many who left are remembered; of more, those who left first are forgotten.
const LEAVERS_MAX: usize = 4_096;

/// What connections and latencies belong to: a place, and how it is spoken to.
pub(crate) type Way = (Address, u16, Speech);

/// The way to an endpoint.
pub(crate) fn way(spec: &EndpointSpec) -> Way {
    (spec.address.clone(), spec.port, spec.speech.clone())
}

/// The numbers of endpoints that left.
#[derive(Debug, Default)]
pub(crate) struct Leavers {
    numbers: BTreeMap<(Name, Way), (u64, Moment)>,
    /// In the order in which they left; some have come back since.
    left: VecDeque<(Moment, (Name, Way))>,
}

impl Leavers {
    /// Notes that an endpoint left.
    pub(crate) fn leave(&mut self, name: Name, way: Way, serial: u64, now: Moment) {
        self.forget(now);
        let who = (name, way);
        self.numbers.insert(who.clone(), (serial, now));
        self.left.push_back((now, who));
    }

    /// The number of an endpoint that comes back in time.
    pub(crate) fn come_back(&mut self, name: &Name, way: Way, now: Moment) -> Option<u64> {
        self.forget(now);
        self.numbers.remove(&(name.clone(), way)).map(|(serial, _)| serial)
    }

    fn forget(&mut self, now: Moment) {
        let over = |left: Moment| now.since(left) > RETURN_MS;
        while self.left.len() > LEAVERS_MAX || self.left.front().is_some_and(|(left, _)| over(*left)) {
            let Some((left, who)) = self.left.pop_front() else { return };
            // It may have come back and left again since.
            if self.numbers.get(&who).is_some_and(|(_, newest)| *newest == left) {
                self.numbers.remove(&who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::spec;

    fn name() -> Name {
        Name::Static("s".into())
    }

    fn of(port: u16) -> Way {
        way(&EndpointSpec { port, ..spec("home", "a") })
    }

    #[test]
    fn a_number_goes_back_in_time_once_and_to_the_same_way_only() {
        let mut leavers = Leavers::default();
        leavers.leave(name(), of(1), 7, Moment(0));
        leavers.leave(name(), of(2), 8, Moment(10));
        let come_back = |leavers: &mut Leavers, way, ms| leavers.come_back(&name(), way, Moment(ms));

        assert_eq!(leavers.come_back(&Name::Static("t".into()), of(1), Moment(20)), None);
        assert_eq!(come_back(&mut leavers, of(3), 20), None);
        assert_eq!(come_back(&mut leavers, of(1), 20), Some(7));
        assert_eq!(come_back(&mut leavers, of(1), 20), None);
        assert_eq!(come_back(&mut leavers, of(2), 10 + RETURN_MS + 1), None, "it was away for too long");
    }

    #[test]
    fn who_leaves_again_is_remembered_from_then_on() {
        let mut leavers = Leavers::default();
        leavers.leave(name(), of(1), 7, Moment(0));
        leavers.come_back(&name(), of(1), Moment(1));
        leavers.leave(name(), of(1), 7, Moment(3_000));

        assert_eq!(leavers.come_back(&name(), of(1), Moment(3_000 + RETURN_MS)), Some(7));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut leavers = Leavers::default();
        for number in 0..3 * LEAVERS_MAX as u64 {
            leavers.leave(name(), of(number as u16), number, Moment(0));
        }

        assert!(leavers.left.len() <= LEAVERS_MAX + 1 && leavers.numbers.len() <= LEAVERS_MAX + 1);
    }
}
