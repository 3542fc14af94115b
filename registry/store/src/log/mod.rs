//! The Raft log as openraft wants it: memory first, disk behind, one writer.
//!
//! ```text
//! append ─▶ tail (readable at once) ─▶ queue ─▶ writer: one batch, one sync ─▶ mark ─▶ all callbacks, in order
//! ```

mod disk;
mod tail;
mod writer;

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use tokio::sync::{Notify, mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    codec::{self, EntryRecord},
    config::StoreLimits,
    failed::Failed,
    failure::StoreError,
    mark::{Link, MarkFile},
    meters::Meters,
    types::{Entry, Group, LogId, Vote, log_id},
    work::Work,
};
pub(crate) use disk::damage;
use disk::{Head, LogDisk};
use tail::Tail;
use writer::{Append, Write, Writer};
pub(crate) use writer::{BeforePurge, plain};

/// How old an unsynced mark gets. It outlives the process at any age.
const MARK_AGE_MAX: Duration = Duration::from_secs(1);
/// The most bytes of entries in one message to a follower.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The hash of an encoded entry and of everything before it.
fn chain(before: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, before)
}

/// What the log needs of the rest of the store.
pub(crate) struct LogParts {
    pub(crate) mark: MarkFile,
    pub(crate) limits: StoreLimits,
    pub(crate) before_purge: BeforePurge,
    pub(crate) failed: Failed,
    pub(crate) meters: Arc<Meters>,
    pub(crate) work: Work,
}

/// A log that was read and found whole, not yet written to.
pub(crate) struct FoundLog {
    disk: LogDisk,
    tail: Tail,
}

impl FoundLog {
    /// Opens the log in `dir` and checks that it holds at least what it held.
    pub(crate) fn open(
        dir: &Path,
        mark: Option<&MarkFile>,
        limits: &StoreLimits,
    ) -> Result<Self, StoreError> {
        let disk = LogDisk::open(dir)?;
        let Head { vote, purged, committed } = disk.head()?;
        let marked = mark.map(MarkFile::mark).unwrap_or_default();
        let mut tail = Tail::new(limits.tail_bytes_max, purged);
        let mut at_mark = purged.filter(|link| marked.last.is_some_and(|last| last.index == link.index));
        disk.scan(purged, |entry, chain, bytes| {
            tail.load(entry, chain, bytes);
            let last = tail.last();
            if last.map(|link| link.index) == marked.last.map(|link| link.index) {
                at_mark = last;
            }
        })?;
        let damaged = |what| StoreError::Damaged { dir: dir.to_owned(), what };
        if let Some(last) = marked.last {
            let here = tail.last().map_or(0, |link| link.index + 1);
            if here < last.index + 1 {
                let what = format!("the log ends before entry {here}, but entry {} was durable", last.index);
                return Err(damaged(what));
            }
            if purged.is_none_or(|purged| purged.index < last.index) && at_mark != Some(last) {
                return Err(damaged(format!(
                    "entry {} of the log is not the one that was durable",
                    last.index
                )));
            }
        }
        if let Some(given) = marked.vote
            && vote.is_none_or(|vote| vote < given)
        {
            return Err(damaged(format!("the vote {given} was given, but the log does not have it")));
        }
        tail.set_vote(vote);
        tail.set_committed(committed, false);
        Ok(Self { disk, tail })
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_new(&self) -> bool {
        self.tail.last().is_none() && self.tail.vote().is_none()
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.tail.last().map(place)
    }

    /// The last purged entry: the state machine must have reached it.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.tail.purged().map(place)
    }

    /// The entries from an index on.
    pub(crate) fn entries_from(&self, index: u64) -> io::Result<Vec<Entry>> {
        let end = self.tail.last().map_or(0, |link| link.index + 1);
        if index >= end {
            return Ok(Vec::new());
        }
        Ok(self.disk.read(index..end)?.into_iter().map(|(entry, _)| entry).collect())
    }

    /// Starts the writer.
    pub(crate) fn start(self, parts: LogParts) -> io::Result<(LogStore, LogCloser)> {
        let (disk, tail) = (Arc::new(self.disk), Arc::new(Mutex::new(self.tail)));
        let (queue, writes) = mpsc::channel(parts.limits.log_queue_max);
        let noted = Arc::new(Notify::new());
        let writer = Writer {
            disk: disk.clone(),
            mark: parts.mark,
            tail: tail.clone(),
            commit_bytes_max: parts.limits.commit_bytes_max,
            before_purge: parts.before_purge,
            failed: parts.failed,
            meters: parts.meters,
            noted: noted.clone(),
        };
        let thread = match parts.work.pause() {
            None => {
                let thread = thread::Builder::new().name("raft-log".to_owned());
                Some(thread.spawn(move || writer.run(writes))?)
            }
            Some(pause) => {
                tokio::spawn(writer.run_here(writes, pause));
                None
            }
        };
        let closer = LogCloser { queue: queue.clone(), thread, noted };
        Ok((LogStore { queue, reader: LogReader { disk, tail, work: parts.work } }, closer))
    }
}

/// Ends the writer.
pub(crate) struct LogCloser {
    queue: mpsc::Sender<Write>,
    /// None where the writer is a task.
    thread: Option<JoinHandle<()>>,
    noted: Arc<Notify>,
}

impl LogCloser {
    /// Has the mark synced soon after it was noted, for as long as it is awaited. A mark that a power cut took back is
    /// only older than it could be: damage to what was written in its last second would go unnoticed.
    pub(crate) fn keep_mark(&self) -> impl Future<Output = ()> + use<> {
        let (queue, noted) = (self.queue.clone(), self.noted.clone());
        async move {
            loop {
                noted.notified().await;
                tokio::time::sleep(MARK_AGE_MAX).await;
                if queue.send(Write::SyncMark).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Writes what is not yet on disk and waits for the thread's end.
    pub(crate) async fn close(self) -> io::Result<()> {
        let (done, closed) = oneshot::channel();
        let result = if self.queue.send(Write::Close { done }).await.is_ok() {
            closed.await.unwrap_or_else(|_| Err(stopped()))
        } else {
            Err(stopped())
        };
        drop(self.queue);
        if let Some(thread) = self.thread {
            let joined = tokio::task::spawn_blocking(|| thread.join()).await;
            joined.map_err(io::Error::other)?.map_err(|_| io::Error::other("the log's thread panicked"))?;
        }
        result
    }
}

/// The writing side, in openraft's core.
pub(crate) struct LogStore {
    queue: mpsc::Sender<Write>,
    reader: LogReader,
}

/// A reading side.
#[derive(Clone)]
pub(crate) struct LogReader {
    disk: Arc<LogDisk>,
    tail: Arc<Mutex<Tail>>,
    work: Work,
}

impl LogReader {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of a range that the log holds; none of them missing.
    async fn entries(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let reading = self.tail().read(range);
        if reading.cold.is_empty() {
            return Ok(reading.warm);
        }
        let cold = reading.cold.clone();
        let found = self.cold(cold.clone()).await?;
        // What was purged meanwhile may be missing at the start, and nothing else may.
        let first = self.tail().first().clamp(cold.start, cold.end);
        let mut entries: Vec<Entry> = found.into_iter().map(|(entry, _)| entry).collect();
        entries.retain(|entry| entry.log_id.index >= first);
        let complete = (first..cold.end).eq(entries.iter().map(|entry| entry.log_id.index));
        if !complete {
            return Err(codec::unreadable(
                "log",
                format_args!("entries {first}..{} are not all there", cold.end),
            ));
        }
        entries.extend(reading.warm);
        Ok(entries)
    }

    async fn cold(&self, range: Range<u64>) -> io::Result<Vec<(Entry, u64)>> {
        let disk = self.disk.clone();
        self.work.run(move || disk.read(range)).await?
    }

    /// The link of an entry, from memory or disk; none if the log does not hold it.
    async fn link(&self, index: u64) -> io::Result<Option<Link>> {
        let known = self.tail().link(index);
        if known.is_some() {
            return Ok(known);
        }
        let found = self.cold(index..index + 1).await?.pop();
        Ok(found.map(|(entry, chain)| Link { index, term: entry.log_id.leader_id.term, chain }))
    }
}

impl RaftLogReader<Group> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries(plain_range(&range)).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.tail().vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let fitting = self.tail().fitting(start, MESSAGE_BYTES_MAX);
        // Entries that left memory are small in number; their sizes are not known before they are read.
        self.entries(start..fitting.map_or(end, |count| end.min(start + count))).await
    }
}

impl RaftLogStorage<Group> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Group>> {
        let tail = self.reader.tail();
        Ok(LogState { last_purged_log_id: tail.purged().map(place), last_log_id: tail.last().map(place) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.reader.tail().set_vote(Some(vote));
        self.write(|done| Write::Vote { vote, done }).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.reader.tail().set_committed(committed, true);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.reader.tail().committed())
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Group>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encoded = entries.into_iter().map(|entry| {
            let bytes = codec::write(&EntryRecord::of(&entry));
            (entry, bytes)
        });
        let encoded: Vec<_> = encoded.collect();
        let (records, number, last) = {
            let mut tail = self.reader.tail();
            let (records, number) = tail.append(encoded);
            (records, number, tail.last())
        };
        let Some(last) = last.filter(|_| !records.is_empty()) else {
            done.io_completed(Ok(()));
            return Ok(());
        };
        self.queue.send(Write::Append(Append { records, last, number, done })).await.map_err(|_| stopped())
    }

    async fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        let keep = keep.map(|id| id.index);
        let below = match keep {
            Some(index) => self.reader.link(index).await?,
            None => None,
        };
        let (gone, last) = {
            let mut tail = self.reader.tail();
            (tail.truncate(keep, below), tail.last())
        };
        match gone {
            Some(gone) => self.write(|done| Write::Truncate { gone, last, done }).await,
            None => Ok(()),
        }
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let link = self.reader.link(upto.index).await?;
        let upto = self.reader.tail().purge(upto, link);
        self.queue.send(Write::Purge { upto }).await.map_err(|_| stopped())
    }
}

impl LogStore {
    async fn write(&self, make: impl FnOnce(writer::Done) -> Write) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.queue.send(make(done)).await.map_err(|_| stopped())?;
        written.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> io::Error {
    io::Error::other("the Raft log is closed")
}

fn place(link: Link) -> LogId {
    log_id(link.term, link.index)
}

fn plain_range(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
