//! What clients asked and were answered, and whether one register for each key could have answered so.
//!
//! Invariant: a write without an answer may have happened at any time since it was asked, or never.
//! Invariant: no value is written twice, so a read tells which write it saw.

use std::collections::{BTreeMap, BTreeSet};

/// The most states that the search looks at for one key; a history that needs more is not judged, and that is no pass.
const STATES_MAX: usize = 200_000;

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
    /// Of which register.
    pub key: u64,
    /// What was asked of it.
    pub asked: Asked,
    /// When it was asked, in one count of all questions and answers.
    pub from: u64,
    /// When it was answered; without an answer the end is open.
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
            by_key.entry(op.key).or_default().push(*op);
        }
        by_key.into_iter().filter(|(_, ops)| !linearizable(ops)).map(|(key, _)| key).collect()
    }

    /// What was asked for one key, for people.
    pub fn told(&self, key: u64) -> String {
        let ops = self.ops.iter().filter(|op| op.key == key);
        ops.map(|op| format!("{:?} {}..{:?}\n", op.asked, op.from, op.to)).collect()
    }
}

/// One question with both its ends.
#[derive(Clone, Copy, Debug)]
struct Closed {
    asked: Asked,
    from: u64,
    to: u64,
}

/// What can be judged: a read without an answer says nothing, nor does a write without one whose value nobody saw. One that
/// was seen had happened when the first who saw it was answered.
fn closed(ops: &[Op]) -> Vec<Closed> {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for op in ops {
        if let (Asked::Read(value), Some(to)) = (op.asked, op.to) {
            let first = seen.entry(value).or_insert(to);
            *first = to.min(*first);
        }
    }
    let end = |op: &Op| match op.asked {
        Asked::Read(_) => op.to,
        Asked::Write(value) => op.to.or(seen.get(&value).copied()),
    };
    let whole = |op: &Op| Some(Closed { asked: op.asked, from: op.from, to: end(op)? });
    let mut closed: Vec<_> = ops.iter().filter_map(whole).collect();
    closed.sort_by_key(|op| op.from);
    closed
}

/// Which questions have had their turn: all below `base`, and those marked from there on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    base: usize,
    beyond: BTreeSet<usize>,
}

impl Taken {
    fn has(&self, at: usize) -> bool {
        at < self.base || self.beyond.contains(&at)
    }

    fn with(&self, at: usize) -> Self {
        let mut taken = self.clone();
        taken.beyond.insert(at);
        while taken.beyond.remove(&taken.base) {
            taken.base += 1;
        }
        taken
    }
}

/// Whether the questions can be put in an order that keeps their times and that a register could have answered (Wing and
/// Gong's search with Lowe's memory of the states that were seen).
fn linearizable(ops: &[Op]) -> bool {
    let ops = closed(ops);
    let (mut open, mut seen) = (vec![(Taken::default(), 0_u64)], BTreeSet::new());
    while let Some((mut taken, value)) = open.pop() {
        // A read that fits changes nothing: its turn may as well be at once.
        while let Some(at) = next(&ops, &taken).into_iter().find(|at| ops[*at].asked == Asked::Read(value)) {
            taken = taken.with(at);
        }
        if taken.base == ops.len() {
            return true;
        }
        let writes: Vec<_> = next(&ops, &taken)
            .into_iter()
            .filter_map(|at| match ops[at].asked {
                Asked::Write(written) => Some((taken.with(at), written)),
                Asked::Read(_) => None,
            })
            .collect();
        if seen.insert((taken, value)) {
            assert!(seen.len() <= STATES_MAX, "a history that takes more than {STATES_MAX} states to judge");
            open.extend(writes);
        }
    }
    false
}

/// Whose turn may be next: those that were asked before the first of all that are left was answered.
fn next(ops: &[Closed], taken: &Taken) -> Vec<usize> {
    let (mut first_end, mut turns) = (u64::MAX, Vec::new());
    for at in (taken.base..ops.len()).filter(|at| !taken.has(*at)) {
        if ops[at].from >= first_end {
            break;
        }
        first_end = first_end.min(ops[at].to);
        turns.push(at);
    }
    turns.retain(|at| ops[*at].from < first_end);
    turns
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

    #[test]
    fn two_readers_that_see_two_crossing_writes_in_two_orders_are_caught() {
        let writes = [op(Asked::Write(7), 1, 20), op(Asked::Write(8), 2, 21)];
        let one = [op(Asked::Read(7), 3, 4), op(Asked::Read(8), 5, 6)];
        let other = [op(Asked::Read(7), 7, 8), op(Asked::Read(8), 9, 10)];

        assert!(linearizable(&[writes, one].concat()));
        assert!(!linearizable(&[writes, one, other].concat()));
    }

    #[test]
    fn a_value_that_nobody_wrote_is_caught() {
        assert!(!linearizable(&[op(Asked::Write(7), 1, 2), op(Asked::Read(9), 3, 4)]));
    }

    /// Writes and reads in turn by several clients that overlap, many of the writes without an answer.
    fn long(stale: bool) -> Vec<Op> {
        let mut ops = Vec::new();
        for round in 1..=400_u64 {
            let at = round * 10;
            let unanswered = round % 3 == 0;
            ops.push(op(Asked::Write(round), at, if unanswered { 0 } else { at + 4 }));
            ops.push(op(Asked::Write(1_000 + round), at + 1, 0));
            let read = if stale && round == 350 { 349 } else { round };
            ops.extend((5..8).map(|late| op(Asked::Read(read), at + late, at + late + 2)));
        }
        ops
    }

    #[test]
    fn one_stale_read_among_thousands_of_answers_is_caught() {
        assert!(linearizable(&long(false)));
        assert!(!linearizable(&long(true)));
    }
}
