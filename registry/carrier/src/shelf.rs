//! Copies of feeds on disk: saved a moment behind, loaded at the next start, so that nobody begins with nothing (R18).
//!
//! ```text
//! driver ──save(copies)──▶ bounded queue ──▶ writer thread ──▶ one atomic batch per feed: records, position, view
//! ```
//!
//! Invariant: what is on disk of a feed is exactly what some copy of it held at one position under one view.
//! Invariant: the driver never waits for the disk; what finds the queue full is saved at the next call.

mod disk;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use landbridge_feed::Copy;
use landbridge_model::{Change, FeedId, Position, Record, RecordKey, View};

use disk::{Disk, Head};

/// Jobs that wait for the disk; when more would wait, copies stay unsaved until the next call.
const JOBS_MAX: usize = 256;

/// A copy found on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Which feed.
    pub feed: FeedId,
    /// Under which view it was taken.
    pub view: View,
    /// Where it stood.
    pub position: Position,
    /// What it held.
    pub records: Vec<(RecordKey, Record)>,
}

/// What the writer thread does.
enum Job {
    /// A copy has moved on by these changes.
    Step { head: Head, changes: Vec<Change> },
    /// A copy is new, or was replaced whole.
    Whole { head: Head, copy: Copy },
    /// A copy is gone.
    Forget { feed: FeedId },
}

/// What was handed to the writer thread of one feed.
struct Handed {
    generation: u64,
    swaps: u64,
    view: View,
    position: Position,
}

/// The copies of one process on disk.
pub struct Shelf {
    jobs: SyncSender<Job>,
    writer: JoinHandle<()>,
    broken: Arc<AtomicBool>,
    handed: BTreeMap<FeedId, Handed>,
}

impl Shelf {
    /// Opens a shelf in its own folder and reads what is there; Raft feeds come first. Blocks: not for an async task.
    ///
    /// What cannot be read is set aside with a message, and its feed starts empty: an absent copy is only older.
    /// An error is what an operator must mend: a folder that cannot be written, or that another process has open.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Loaded>), String> {
        let (disk, loaded) = Disk::open(folder)?;
        let handed = loaded.iter().map(|loaded| {
            let handed = Handed {
                generation: 0,
                swaps: Copy::SWAPS_AT_FIRST,
                view: loaded.view.clone(),
                position: loaded.position,
            };
            (loaded.feed.clone(), handed)
        });
        let handed = handed.collect();
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let broken = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&broken);
        let writer = std::thread::Builder::new()
            .name("shelf".to_owned())
            .spawn(move || disk.work(&queue, &told))
            .map_err(|error| format!("no thread can be started: {error}"))?;
        Ok((Self { jobs, writer, broken, handed }, loaded))
    }

    /// Hands over what has changed since the last call; call it at least every 500 ms.
    pub fn save<'a>(&mut self, copies: impl Iterator<Item = (&'a FeedId, &'a Copy)>) {
        for (feed, copy) in copies {
            let handed = self.handed.get(feed);
            if handed.is_some_and(|handed| handed.generation == copy.generation()) {
                continue;
            }
            if !self.hand(job(feed, copy, handed)) {
                return;
            }
            let handed = Handed {
                generation: copy.generation(),
                swaps: copy.swaps(),
                view: copy.view().clone(),
                position: copy.position(),
            };
            self.handed.insert(feed.clone(), handed);
        }
    }

    /// Forgets the copies of which `held` says that they are not held. Call it after the first `save` of a start, and
    /// when a copy was dropped.
    pub fn forget(&mut self, held: impl Fn(&FeedId) -> bool) {
        let gone: Vec<FeedId> = self.handed.keys().filter(|feed| !held(feed)).cloned().collect();
        for feed in gone {
            if self.hand(Job::Forget { feed: feed.clone() }) {
                self.handed.remove(&feed);
            }
        }
    }

    /// Whether the disk has failed; then nothing is saved until the next start.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Ends after everything handed over is written. Blocks: not for an async task.
    pub fn close(self) {
        drop(self.jobs);
        if self.writer.join().is_err() {
            tracing::error!(event = "shelf_failed", "the writer of copies panicked");
        }
    }

    fn hand(&self, job: Job) -> bool {
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// What it takes to bring the disk from what was handed over to what the copy holds.
fn job(feed: &FeedId, copy: &Copy, handed: Option<&Handed>) -> Job {
    let head = Head::of(feed, copy);
    let steps = handed
        .filter(|handed| handed.swaps == copy.swaps() && handed.view == *copy.view())
        .and_then(|handed| copy.changes_since(handed.position));
    match steps {
        Some(changes) => Job::Step { head, changes },
        None => Job::Whole { head, copy: copy.clone() },
    }
}
