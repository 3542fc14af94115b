//! The newest entries of the log in memory: what is read first, and what an entry is read from before it is durable.
//!
//! Invariant: the kept entries are consecutive and end with the log's last one.
//! Invariant: an entry that is not yet durable is never dropped.

use std::{collections::VecDeque, ops::Range};

use openraft::entry::RaftEntry;

use crate::{
    log::chain,
    mark::Link,
    types::{Entry, LogId, Vote},
};

/// One entry in memory.
#[derive(Debug)]
struct Kept {
    entry: Entry,
    chain: u64,
    bytes: usize,
    /// The write that makes it durable.
    write: u64,
}

/// One entry for the disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) index: u64,
    pub(crate) chain: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What must be read from where.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Read these from disk first.
    pub(crate) cold: Range<u64>,
    /// They follow.
    pub(crate) warm: Vec<Entry>,
}

/// The newest entries, and all that is known of the log without asking the disk.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: VecDeque<Kept>,
    bytes: usize,
    bytes_max: usize,
    /// The index of the oldest entry of the log, or of its next one when it is empty.
    first: u64,
    last: Option<Link>,
    purged: Option<Link>,
    writes: u64,
    durable_write: u64,
    vote: Option<Vote>,
    committed: Option<LogId>,
    committed_unsaved: bool,
}

impl Tail {
    /// The tail of a log of which nothing is kept yet.
    pub(crate) fn new(bytes_max: usize, purged: Option<Link>) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            bytes_max,
            first: purged.map_or(0, |link| link.index + 1),
            last: purged,
            purged,
            writes: 0,
            durable_write: 0,
            vote: None,
            committed: None,
            committed_unsaved: false,
        }
    }

    /// Takes an entry that is on disk already, at start.
    pub(crate) fn load(&mut self, entry: Entry, chain: u64, bytes: usize) {
        self.keep(entry, chain, bytes, 0);
        self.evict();
    }

    /// Takes new entries with their encodings; returns what to write and under which number.
    pub(crate) fn append(&mut self, entries: Vec<(Entry, Vec<u8>)>) -> (Vec<Record>, u64) {
        self.writes += 1;
        let write = self.writes;
        let records = entries.into_iter().map(|(entry, bytes)| {
            let index = entry.index();
            let chain = chain(self.last.map_or(0, |link| link.chain), &bytes);
            self.keep(entry, chain, bytes.len(), write);
            Record { index, chain, bytes }
        });
        (records.collect(), write)
    }

    fn keep(&mut self, entry: Entry, chain: u64, bytes: usize, write: u64) {
        let (index, term) = (entry.index(), entry.log_id.leader_id.term);
        if self.last.is_none() {
            self.first = index;
        }
        assert!(
            self.last.is_none_or(|last| last.index + 1 == index),
            "entry {index} does not follow {:?}",
            self.last
        );
        self.last = Some(Link { index, term, chain });
        self.bytes += bytes;
        self.kept.push_back(Kept { entry, chain, bytes, write });
    }

    /// All writes up to this one are durable.
    pub(crate) fn durable(&mut self, write: u64) {
        self.durable_write = write;
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max
            && self.kept.front().is_some_and(|kept| kept.write <= self.durable_write)
        {
            if let Some(kept) = self.kept.pop_front() {
                self.bytes -= kept.bytes;
            }
        }
    }

    /// Forgets what follows `keep`; returns the indexes that go, none if nothing does. `below` is the link of `keep`,
    /// for the case that it is not in memory any more.
    pub(crate) fn truncate(&mut self, keep: Option<u64>, below: Option<Link>) -> Option<Range<u64>> {
        let from = keep.map_or(self.first, |index| index + 1).max(self.first);
        let to = self.last.map_or(self.first, |last| last.index + 1);
        if from >= to {
            return None;
        }
        while self.kept.back().is_some_and(|kept| kept.entry.index() >= from) {
            if let Some(kept) = self.kept.pop_back() {
                self.bytes -= kept.bytes;
            }
        }
        self.last = match self.kept.back() {
            Some(kept) => Some(link_of(kept)),
            None if from == self.first => self.purged,
            None => below,
        };
        Some(from..to)
    }

    /// Forgets everything up to `upto`, which may lie beyond the end; `link` is the link of that entry if it is here.
    pub(crate) fn purge(&mut self, upto: LogId, link: Option<Link>) -> Link {
        // A log that goes on after a snapshot has no chain before it: its first link hangs on the snapshot's place.
        let hung =
            Link { index: upto.index, term: upto.leader_id.term, chain: upto.index ^ !upto.leader_id.term };
        let link = link.unwrap_or(hung);
        while self.kept.front().is_some_and(|kept| kept.entry.index() <= upto.index) {
            if let Some(kept) = self.kept.pop_front() {
                self.bytes -= kept.bytes;
            }
        }
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(link);
        }
        self.first = upto.index + 1;
        self.purged = Some(link);
        link
    }

    /// Where to read the entries of a range that the log holds.
    pub(crate) fn read(&self, range: Range<u64>) -> Reading {
        let end = range.end.min(self.last.map_or(0, |last| last.index + 1));
        let start = range.start.max(self.first).min(end);
        let front = self.kept.front().map_or(end, |kept| kept.entry.index());
        let warm_from = front.clamp(start, end);
        let skipped = (warm_from - front.min(warm_from)) as usize;
        let warm = self.kept.iter().skip(skipped).take((end - warm_from) as usize);
        Reading { cold: start..warm_from, warm: warm.map(|kept| kept.entry.clone()).collect() }
    }

    /// How many entries from `start` on fit in `bytes_max`, at least one; none if `start` is not in memory.
    pub(crate) fn fitting(&self, start: u64, bytes_max: usize) -> Option<u64> {
        let front = self.kept.front()?.entry.index();
        let mut sum = 0;
        let sizes = self.kept.iter().skip(start.checked_sub(front)? as usize).map(|kept| kept.bytes);
        let fitting = sizes.take_while(|bytes| {
            sum += bytes;
            sum <= bytes_max
        });
        Some((fitting.count() as u64).max(1))
    }

    /// The link of an entry in memory, or of the last or the purged one.
    pub(crate) fn link(&self, index: u64) -> Option<Link> {
        let known = [self.last, self.purged].into_iter().flatten().find(|link| link.index == index);
        known.or_else(|| {
            let front = self.kept.front()?.entry.index();
            self.kept.get(index.checked_sub(front)? as usize).map(link_of)
        })
    }

    /// The index of the oldest entry of the log.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The last entry, or the purged one if there is none.
    pub(crate) fn last(&self) -> Option<Link> {
        self.last
    }

    /// The purged entry.
    pub(crate) fn purged(&self) -> Option<Link> {
        self.purged
    }

    /// The last vote.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    /// Takes a vote.
    pub(crate) fn set_vote(&mut self, vote: Option<Vote>) {
        self.vote = vote;
    }

    /// How far the group is known to have committed.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    /// Takes a commit point; an unsaved one reaches the disk with the next write.
    pub(crate) fn set_committed(&mut self, committed: Option<LogId>, unsaved: bool) {
        self.committed = committed;
        self.committed_unsaved = unsaved;
    }

    /// The commit point, if the disk does not have it.
    pub(crate) fn take_unsaved_committed(&mut self) -> Option<LogId> {
        let unsaved = std::mem::take(&mut self.committed_unsaved);
        self.committed.filter(|_| unsaved)
    }
}

fn link_of(kept: &Kept) -> Link {
    Link { index: kept.entry.index(), term: kept.entry.log_id.leader_id.term, chain: kept.chain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Payload, log_id};

    fn blank(term: u64, index: u64) -> (Entry, Vec<u8>) {
        (Entry { log_id: log_id(term, index), payload: Payload::Blank }, vec![index as u8; 10])
    }

    fn tail(bytes_max: usize, entries: Range<u64>) -> Tail {
        let mut tail = Tail::new(bytes_max, None);
        tail.append(entries.map(|index| blank(1, index)).collect());
        tail
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(RaftEntry::index).collect()
    }

    #[test]
    fn only_what_is_durable_leaves_memory() {
        let mut tail = tail(30, 0..5);
        assert_eq!(tail.read(0..100).cold, 0..0);

        tail.durable(1);
        tail.append(vec![blank(1, 5)]);

        let reading = tail.read(0..100);
        assert_eq!(reading.cold, 0..2);
        assert_eq!(indexes(&reading.warm), [2, 3, 4, 5]);
    }

    #[test]
    fn a_truncated_write_does_not_make_its_successors_durable() {
        let mut tail = tail(0, 0..3);
        assert_eq!(tail.truncate(Some(0), None), Some(1..3));
        tail.append(vec![blank(2, 1), blank(2, 2)]);

        tail.durable(1);

        let reading = tail.read(0..3);
        assert_eq!(reading.cold, 0..1);
        assert_eq!(indexes(&reading.warm), [1, 2]);
    }

    #[test]
    fn a_purge_beyond_the_end_leaves_an_empty_log_that_goes_on_there() {
        let mut tail = tail(100, 0..3);

        let link = tail.purge(log_id(4, 20), None);
        assert_eq!((tail.last(), tail.first()), (Some(link), 21));
        tail.append(vec![blank(4, 21)]);

        assert_eq!(indexes(&tail.read(0..100).warm), [21]);
    }

    #[test]
    fn truncating_everything_leaves_nothing() {
        let mut tail = tail(100, 0..3);

        assert_eq!(tail.truncate(None, None), Some(0..3));

        assert_eq!(tail.last(), None);
        assert!(tail.read(0..9).warm.is_empty());
    }

    #[test]
    fn a_range_inside_memory_is_read_there() {
        let tail = tail(100, 0..8);

        let reading = tail.read(3..6);

        assert!(reading.cold.is_empty());
        assert_eq!(indexes(&reading.warm), [3, 4, 5]);
    }

    #[test]
    fn at_least_one_entry_fits() {
        let tail = tail(100, 0..5);

        assert_eq!(tail.fitting(1, 25), Some(2));
        assert_eq!(tail.fitting(1, 1), Some(1));
    }
}
