//! Beats on records of other members' feeds: forwarded, and taken over when nobody answers for them (R11).
//!
//! ```text
//! ask ──▶ waiting ──held──▶ forgotten      waiting ──not mine, or no answer in time──▶ take over
//! ```

use std::collections::BTreeMap;

use crate::input::InstanceRef;

/// The beats that wait for their owner's word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwards {
    waiting: BTreeMap<InstanceRef, u32>,
}

impl Forwards {
    /// Notes a beat; tells whether it is the first, which alone is worth a message.
    pub fn ask(&mut self, target: &InstanceRef, tick: u32) -> bool {
        if self.waiting.contains_key(target) {
            return false;
        }
        self.waiting.insert(target.clone(), tick);
        true
    }

    /// The owner answered; tells whether the beat is to be taken over.
    pub fn answered(&mut self, target: &InstanceRef, held: bool) -> bool {
        self.waiting.remove(target).is_some() && !held
    }

    /// Takes out those that have waited longer than `ticks`.
    pub fn overdue(&mut self, tick: u32, ticks: u32) -> Vec<InstanceRef> {
        let late = |asked: u32| tick.saturating_sub(asked) > ticks;
        let overdue: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, asked)| late(**asked))
            .map(|(target, _)| target.clone())
            .collect();
        for target in &overdue {
            self.waiting.remove(target);
        }
        overdue
    }
}
