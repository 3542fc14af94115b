//! How long a tombstone stays: until nothing older of its key has been in sight for a while (R12).
//!
//! Invariant: age alone never ends a tombstone; a dead member's feed that cannot be closed would bring the instance back.

use std::collections::BTreeMap;

use landbridge_model::{Mutant, planted};

use crate::input::InstanceRef;

/// The tombstones of one member, each with the last tick at which it hid something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombs {
    needed: BTreeMap<InstanceRef, u32>,
}

impl Tombs {
    /// A tombstone was written.
    pub fn raise(&mut self, target: InstanceRef, tick: u32) {
        self.needed.insert(target, tick);
    }

    /// It was replaced by a registration.
    pub fn drop(&mut self, target: &InstanceRef) {
        self.needed.remove(target);
    }

    /// Takes out those that have hidden nothing for `ticks`; `hides` tells whether a copy of another feed holds an
    /// older record of the key.
    pub fn sweep(
        &mut self,
        tick: u32,
        ticks: u32,
        mut hides: impl FnMut(&InstanceRef) -> bool,
    ) -> Vec<InstanceRef> {
        for (target, needed) in &mut self.needed {
            if hides(target) && !planted(Mutant::TombstoneTooEarly) {
                *needed = tick;
            }
        }
        let over = |needed: u32| tick.saturating_sub(needed) > ticks;
        let done: Vec<_> = self
            .needed
            .iter()
            .filter(|(_, needed)| over(**needed))
            .map(|(target, _)| target.clone())
            .collect();
        for target in &done {
            self.needed.remove(target);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> InstanceRef {
        use landbridge_model::{Address, Cluster, InstanceKey, ServiceKey};
        let (ip, cluster) = (Address::parse("10.0.0.1").unwrap(), Cluster::parse("").unwrap());
        (ServiceKey::parse("", "", "orders").unwrap(), InstanceKey { ip, port: 1, cluster })
    }

    #[test]
    fn a_tombstone_stays_while_it_hides_something_and_then_its_full_time() {
        let mut tombs = Tombs::default();
        tombs.raise(target(), 0);

        let gone = (1..2_000).find(|tick| !tombs.sweep(*tick, 120, |_| *tick <= 1_000).is_empty());

        assert_eq!(gone, Some(1_121));
    }
}
