//! The thread that writes copies, and how it goes on after the disk has failed.
//!
//! ```text
//! open ──a write fails──▶ failed ──a pause, then the database opens again──▶ open, in the next round
//! ```
//!
//! A database that could not write takes no more writes until it is opened again, and what it holds of the last ones is
//! not known: in each round every copy is written whole once, and steps follow it.
//!
//! Invariant: a step is never written in another round than the one in which it was handed over.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use landbridge_model::FeedId;

use super::{Job, disk::Disk};
use crate::metrics;

/// How long the disk is left alone after a failure: long enough to cost nothing while it is full, and short beside the
/// time in which an operator makes room.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What the writer tells the shelf.
#[derive(Debug, Default)]
pub(super) struct Told {
    broken: AtomicBool,
    round: AtomicU64,
}

impl Told {
    /// The round in which jobs are written; none while the disk fails.
    pub fn round(&self) -> Option<u64> {
        // The round is stored before the flag is cleared: who sees it cleared sees the new round.
        (!self.broken.load(Ordering::Acquire)).then(|| self.round.load(Ordering::Acquire))
    }
}

enum State {
    Open(Disk),
    Failed { retry_at: Instant },
}

/// The writer of one shelf.
pub(super) struct Writer {
    folder: PathBuf,
    state: State,
    told: Arc<Told>,
    /// From a failure to the next try.
    pause: Duration,
    /// Feeds that were to be forgotten while the disk failed.
    gone: BTreeSet<FeedId>,
    /// Whether the log's last word is that the disk fails.
    said: bool,
    /// Whether anything was written since the database was opened again.
    wrote: bool,
}

impl Writer {
    pub fn new(folder: PathBuf, disk: Disk, told: Arc<Told>, pause: Duration) -> Self {
        let state = State::Open(disk);
        Self { folder, state, told, pause, gone: BTreeSet::new(), said: false, wrote: false }
    }

    /// Writes jobs until the shelf is closed.
    pub fn work(mut self, queue: &Receiver<(u64, Job)>) {
        loop {
            match self.next(queue) {
                Ok((round, job)) => self.take(round, job),
                Err(RecvTimeoutError::Timeout) => self.reopen(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits for a job, and no longer than to the next try if the disk fails.
    fn next(&mut self, queue: &Receiver<(u64, Job)>) -> Result<(u64, Job), RecvTimeoutError> {
        match queue.try_recv() {
            Ok(next) => return Ok(next),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => self.settle(),
        }
        match self.state {
            State::Open(_) => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            State::Failed { retry_at } => {
                queue.recv_timeout(retry_at.saturating_duration_since(Instant::now()))
            }
        }
    }

    fn take(&mut self, round: u64, job: Job) {
        if let Job::Forget { feed } = &job {
            self.gone.insert(feed.clone());
        } else if round != self.told.round.load(Ordering::Relaxed) {
            return;
        }
        let State::Open(disk) = &mut self.state else { return };
        match disk.write(job) {
            Ok(()) => {
                self.gone.clear();
                self.wrote = true;
            }
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Closes the database, counts the failure, and says it if it is the first.
    fn fail(&mut self, error: &str) {
        self.told.broken.store(true, Ordering::Release);
        self.state = State::Failed { retry_at: Instant::now() + self.pause };
        metrics::shelf_failed();
        if !std::mem::replace(&mut self.said, true) {
            tracing::error!(
                event = "shelf_failed",
                error,
                folder = %self.folder.display(),
                pause_ms = self.pause.as_millis(),
                "copies are not saved: mend the disk; it is tried again after each pause"
            );
        }
    }

    /// Opens the database again and begins a round.
    fn reopen(&mut self) {
        match Disk::reopen(&self.folder, &self.gone) {
            Ok(disk) => {
                self.gone.clear();
                self.wrote = false;
                self.state = State::Open(disk);
                self.told.round.fetch_add(1, Ordering::Release);
                self.told.broken.store(false, Ordering::Release);
            }
            Err(why) => self.fail(&why),
        }
    }

    /// Says that the disk is good again, once all that waited is written.
    fn settle(&mut self) {
        if self.said && self.wrote && matches!(self.state, State::Open(_)) {
            self.said = false;
            tracing::info!(event = "shelf_mended", folder = %self.folder.display(), "copies are saved again");
        }
    }
}
