//! The recent steps of a feed, from which followers are served without a reconcile.
//!
//! Invariant: the entries are contiguous: each starts where the one before it ends, the first at the floor.
//! Invariant: no entry weighs more than one message may; a heavier step empties the ring, and travels by reconcile.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use landbridge_model::{Change, Mutant, Position, Record, RecordKey, planted};

use crate::{settings::Limits, weight};

/// The steps from `floor` to where the copy stands.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    floor: Position,
    entries: VecDeque<Entry>,
    changes: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    from: Position,
    to: Position,
    changes: Arc<[Change]>,
    bytes: usize,
}

/// Several steps taken as one: the latest change per key.
#[derive(Debug)]
pub(crate) struct Coalesced {
    /// Where the first step starts.
    pub from: Position,
    /// Where the last step ends.
    pub to: Position,
    /// The latest change per key.
    pub changes: BTreeMap<RecordKey, Option<Record>>,
}

impl Ring {
    /// An empty ring of a copy that stands at `floor`.
    pub fn new(floor: Position) -> Self {
        Self { floor, entries: VecDeque::new(), changes: 0, bytes: 0 }
    }

    /// The earliest position from which a follower can be served.
    pub fn floor(&self) -> Position {
        self.floor
    }

    /// Remembers a step, and forgets the oldest ones beyond the bounds.
    pub fn push(&mut self, from: Position, to: Position, changes: Vec<Change>, limits: &Limits) {
        let bytes: usize = changes.iter().map(weight::of_change).sum();
        if bytes > limits.bulk_bytes_max.min(limits.ring_bytes_max) || changes.len() > limits.ring_changes_max
        {
            *self = Self::new(to);
            return;
        }
        self.changes += changes.len().max(1);
        self.bytes += bytes;
        self.entries.push_back(Entry { from, to, changes: changes.into(), bytes });
        while self.changes > limits.ring_changes_max || self.bytes > limits.ring_bytes_max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.changes -= oldest.changes.len().max(1);
            self.bytes -= oldest.bytes;
            self.floor = oldest.to;
        }
    }

    /// The steps after `at`, as many as `bytes_max` allows and at least one; none if nothing is newer.
    ///
    /// `at` must not be below the floor. A step that `at` lies inside of is taken whole: its changes are absolute.
    pub fn after(&self, at: Position, bytes_max: usize) -> Option<Coalesced> {
        let first = self.entries.partition_point(|entry| entry.to <= at);
        let mut steps = self.entries.range(first..);
        let entry = steps.next()?;
        let mut bytes = entry.bytes;
        let mut out = Coalesced { from: entry.from, to: entry.to, changes: BTreeMap::new() };
        out.take(&entry.changes);
        for entry in steps {
            bytes += entry.bytes;
            if bytes > bytes_max {
                break;
            }
            out.to = entry.to;
            out.take(&entry.changes);
        }
        Some(out)
    }
}

impl Coalesced {
    fn take(&mut self, changes: &[Change]) {
        let is_left_out = |change: &&Change| planted(Mutant::DeleteLeftOut) && change.record.is_none();
        for change in changes.iter().filter(|change| !is_left_out(change)) {
            self.changes.insert(change.key.clone(), change.record.clone());
        }
    }
}
