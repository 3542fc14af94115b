//! What clients asked and were answered, and whether one register for each key could have answered so.
//!
//! Invariant: a write without an answer may have happened at any time since it was asked, or never.

use std::collections::{BTreeMap, BTreeSet};

/// The most questions about one key; the check's effort grows with them.
const OPS_MAX: usize = 120;

/// What was asked, and for a read what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To set this value; no value is written twice.
    Write(u64),
    /// For the value; 0 where there was none.
    Read(u64),
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub key: u64,
    pub asked: Asked,
    /// When it was asked, and when answered, in one count of all of these; without an answer the end is open.
    pub from: u64,
    pub to: Option<u64>,
}

/// Everything that was asked.
#[derive(Debug, Default)]
pub struct History {
    ops: Vec<Op>,
    clock: u64,
    values: u64,
}

impl History {
    /// A value that nobody has written.
    pub fn value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    /// Something is asked; gives its place.
    pub fn ask(&mut self, key: u64, asked: Asked) -> usize {
        self.clock += 1;
        self.ops.push(Op { key, asked, from: self.clock, to: None });
        self.ops.len() - 1
    }

    /// It was answered; a read with this value.
    pub fn answer(&mut self, place: usize, read: Option<u64>) {
        self.clock += 1;
        let op = &mut self.ops[place];
        op.to = Some(self.clock);
        if let (Asked::Read(value), Some(seen)) = (&mut op.asked, read) {
            *value = seen;
        }
    }

    /// How many questions there were, and how many were answered.
    pub fn counts(&self) -> (usize, usize) {
        (self.ops.len(), self.ops.iter().filter(|op| op.to.is_some()).count())
    }

    /// Every key that was asked for.
    pub fn keys(&self) -> BTreeSet<u64> {
        self.ops.iter().map(|op| op.key).collect()
    }

    /// The keys whose answers no register could have given.
    pub fn wrong(&self) -> Vec<u64> {
        let mut by_key: BTreeMap<u64, Vec<Op>> = BTreeMap::new();
        for op in &self.ops {
            // A read without an answer says nothing.
            if op.to.is_some() || matches!(op.asked, Asked::Write(_)) {
                by_key.entry(op.key).or_default().push(*op);
            }
        }
        by_key.into_iter().filter(|(_, ops)| !linearizable(ops)).map(|(key, _)| key).collect()
    }

    /// What was asked for one key, for people.
    pub fn told(&self, key: u64) -> String {
        let ops = self.ops.iter().filter(|op| op.key == key);
        ops.map(|op| format!("{:?} {}..{:?}\n", op.asked, op.from, op.to)).collect()
    }
}

/// Whether the questions can be put in an order that keeps their times and that a register could have answered (Wing and
/// Gong's search; states that were seen before are not searched again).
fn linearizable(ops: &[Op]) -> bool {
    assert!(ops.len() <= OPS_MAX, "more questions about one key than can be checked");
    let done = |taken: u128| ops.iter().enumerate().all(|(at, op)| taken >> at & 1 == 1 || op.to.is_none());
    let (mut open, mut seen) = (vec![(0_u128, 0_u64)], BTreeSet::new());
    while let Some((taken, value)) = open.pop() {
        if done(taken) {
            return true;
        }
        if !seen.insert((taken, value)) {
            continue;
        }
        let left = ops.iter().enumerate().filter(|(at, _)| taken >> at & 1 == 0);
        let first_end = left.clone().filter_map(|(_, op)| op.to).min().unwrap_or(u64::MAX);
        for (at, op) in left.filter(|(_, op)| op.from < first_end) {
            match op.asked {
                Asked::Write(written) => open.push((taken | 1 << at, written)),
                Asked::Read(read) if read == value => open.push((taken | 1 << at, value)),
                Asked::Read(_) => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(asked: Asked, from: u64, to: u64) -> Op {
        Op { key: 0, asked, from, to: (to > 0).then_some(to) }
    }

    #[test]
    fn a_read_that_crosses_a_write_may_see_it_or_not() {
        for read in [0, 7] {
            assert!(linearizable(&[op(Asked::Write(7), 1, 4), op(Asked::Read(read), 2, 3)]));
        }
    }

    #[test]
    fn a_read_after_an_answered_write_sees_it() {
        assert!(!linearizable(&[op(Asked::Write(7), 1, 2), op(Asked::Read(0), 3, 4)]));
    }

    #[test]
    fn a_write_without_an_answer_may_happen_late_but_only_once() {
        let late = [op(Asked::Write(7), 1, 0), op(Asked::Read(0), 2, 3), op(Asked::Read(7), 4, 5)];
        let back = [op(Asked::Write(7), 1, 0), op(Asked::Read(7), 2, 3), op(Asked::Read(0), 4, 5)];

        assert!(linearizable(&late));
        assert!(!linearizable(&back));
    }
}
