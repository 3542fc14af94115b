//! The one thread that writes the log: it gathers what queued during the last sync and syncs once for all of it.
//!
//! Invariant: writes reach the disk in the order they were asked for, votes and purges among them.
//! Invariant: after a failed write nothing more is written; everybody who waits is told.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use openraft::storage::IOFlushed;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    failed::Failed,
    failure::StoreError,
    log::{
        disk::LogDisk,
        tail::{Record, Tail},
    },
    mark::{Link, MarkFile},
    meters::Meters,
    types::{Group, Vote},
};

/// What must be so on disk before entries may be purged.
pub(crate) type BeforePurge = Box<dyn Fn() -> io::Result<()> + Send>;

/// Told when a write is on disk.
pub(crate) type Done = oneshot::Sender<io::Result<()>>;

/// Entries, under the tail's number for them.
pub(crate) struct Append {
    pub(crate) records: Vec<Record>,
    pub(crate) last: Link,
    pub(crate) number: u64,
    pub(crate) done: IOFlushed<Group>,
}

/// One write.
pub(crate) enum Write {
    /// Entries follow the last.
    Append(Append),
    /// A vote is given.
    Vote { vote: Vote, done: Done },
    /// Entries go from the end; `last` is what remains.
    Truncate { gone: Range<u64>, last: Option<Link>, done: Done },
    /// Entries go from the start.
    Purge { upto: Link },
    /// The mark is to outlast the machine.
    SyncMark,
    /// Nothing more comes.
    Close { done: Done },
}

/// What became of a write.
enum Went {
    On,
    Closed,
    Failed,
}

/// What failed, and what it said.
type Failure = (&'static str, String);

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) disk: Arc<LogDisk>,
    pub(crate) mark: MarkFile,
    pub(crate) tail: Arc<Mutex<Tail>>,
    pub(crate) commit_bytes_max: usize,
    pub(crate) before_purge: BeforePurge,
    pub(crate) failed: Failed,
    pub(crate) meters: Arc<Meters>,
    /// Told when the mark was noted; it outlives the process at once, and the machine after a [`Write::SyncMark`].
    pub(crate) noted: Arc<Notify>,
}

impl Writer {
    /// Writes until the queue closes or a write fails.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Write>) {
        let mut waiting = VecDeque::new();
        while let Some(write) = waiting.pop_front().or_else(|| queue.blocking_recv()) {
            match self.go_on(write, &mut waiting, &mut queue) {
                Went::On => {}
                Went::Closed => return,
                Went::Failed => return refuse(waiting, || queue.blocking_recv()),
            }
        }
    }

    /// The same in a task, each write after a pause.
    pub(crate) async fn run_here(mut self, mut queue: mpsc::Receiver<Write>, pause: Duration) {
        let mut waiting = VecDeque::new();
        loop {
            let write = match waiting.pop_front() {
                Some(write) => write,
                None => match queue.recv().await {
                    Some(write) => write,
                    None => return,
                },
            };
            tokio::time::sleep(pause).await;
            match self.go_on(write, &mut waiting, &mut queue) {
                Went::On => {}
                Went::Closed => return,
                Went::Failed => {
                    queue.close();
                    return refuse(waiting, || queue.try_recv().ok());
                }
            }
        }
    }

    fn go_on(
        &mut self,
        write: Write,
        waiting: &mut VecDeque<Write>,
        queue: &mut mpsc::Receiver<Write>,
    ) -> Went {
        let closing = matches!(write, Write::Close { .. });
        while let Ok(more) = queue.try_recv() {
            waiting.push_back(more);
        }
        if let Err((during, said)) = self.step(write, waiting) {
            tracing::error!(event = "raft_log_failed", during, said, "the Raft log cannot be written");
            self.failed.set(StoreError::Disk { during, said });
            return Went::Failed;
        }
        if closing { Went::Closed } else { Went::On }
    }

    /// Does one write, and with an append all appends that wait directly behind it.
    fn step(&mut self, write: Write, waiting: &mut VecDeque<Write>) -> Result<(), Failure> {
        match write {
            Write::Append(append) => self.append(append, waiting),
            Write::Vote { vote, done } => settle("saving a vote", self.vote(&vote), Some(done)),
            Write::Truncate { gone, last, done } => {
                settle("truncating the log", self.truncate(gone, last), Some(done))
            }
            Write::Purge { upto } => {
                let result = (self.before_purge)().and_then(|()| self.disk.purge(upto).map_err(plain));
                settle("purging the log", result, None)
            }
            Write::SyncMark => settle("syncing the high-water mark", self.mark.sync(), None),
            Write::Close { done } => settle("closing the log", self.close(), Some(done)),
        }
    }

    fn append(&mut self, first: Append, waiting: &mut VecDeque<Write>) -> Result<(), Failure> {
        let size = |records: &[Record]| records.iter().map(|record| record.bytes.len()).sum::<usize>();
        let Append { mut records, mut last, mut number, done } = first;
        let mut bytes = size(&records);
        let mut dones = vec![done];
        while bytes < self.commit_bytes_max {
            match waiting.pop_front() {
                Some(Write::Append(next)) => {
                    bytes += size(&next.records);
                    records.extend(next.records);
                    dones.push(next.done);
                    (last, number) = (next.last, next.number);
                }
                Some(other) => {
                    waiting.push_front(other);
                    break;
                }
                None => break,
            }
        }
        let entries = records.len();
        let committed = self.tail().take_unsaved_committed();
        let started = Instant::now();
        let result = self.disk.append(records, committed).map_err(plain);
        let result = result.and_then(|()| self.mark.note_last(Some(last)));
        self.noted.notify_one();
        match result {
            Ok(()) => {
                self.meters.committed(entries, started.elapsed());
                self.tail().durable(number);
                dones.into_iter().for_each(|done| done.io_completed(Ok(())));
                Ok(())
            }
            Err(error) => {
                let same = || io::Error::new(error.kind(), error.to_string());
                dones.into_iter().for_each(|done| done.io_completed(Err(same())));
                Err(("appending to the log", error.to_string()))
            }
        }
    }

    fn vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.disk.save_vote(vote).map_err(plain)?;
        self.noted.notify_one();
        self.mark.note_vote(*vote)
    }

    /// The mark steps back before the log does, so that it never claims what is no longer there.
    fn truncate(&mut self, gone: Range<u64>, last: Option<Link>) -> io::Result<()> {
        self.mark.note_last(last)?;
        self.mark.sync()?;
        self.disk.truncate(gone).map_err(plain)
    }

    fn close(&mut self) -> io::Result<()> {
        let committed = self.tail().take_unsaved_committed();
        if let Some(committed) = committed {
            self.disk.save_committed(committed).map_err(plain)?;
        }
        self.disk.sync().map_err(plain)?;
        self.mark.sync()
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the disk said, in its own words.
pub(crate) fn plain(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// Tells who waits, and says what failed.
fn settle(during: &'static str, result: io::Result<()>, done: Option<Done>) -> Result<(), Failure> {
    let failure = result.as_ref().err().map(|error| (during, error.to_string()));
    if let Some(done) = done {
        // Who no longer waits needs no answer.
        let _ = done.send(result);
    }
    failure.map_or(Ok(()), Err)
}

/// Refuses everything that waits and everything that comes.
fn refuse(waiting: VecDeque<Write>, mut comes: impl FnMut() -> Option<Write>) {
    let stopped = || io::Error::other("the Raft log has failed and takes no writes");
    let refuse_one = |write| match write {
        Write::Append(append) => append.done.io_completed(Err(stopped())),
        Write::Vote { done, .. } | Write::Truncate { done, .. } | Write::Close { done } => {
            let _ = done.send(Err(stopped()));
        }
        Write::Purge { .. } | Write::SyncMark => {}
    };
    waiting.into_iter().for_each(refuse_one);
    while let Some(write) = comes() {
        refuse_one(write);
    }
}
