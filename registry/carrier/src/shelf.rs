//! Copies of feeds on disk: saved a moment behind, loaded at the next start, so that nobody begins with nothing (R18).
//!
//! ```text
//! driver ──save(copies)──▶ bounded queue ──▶ writer thread ──▶ one atomic batch per feed: records, position, view
//! ```
//!
//! Invariant: what is on disk of a feed is exactly what some copy of it held at one position under one view.
//! Invariant: the driver never waits for the disk; what finds the queue full is saved at the next call.
//! Invariant: a failure of the disk never outlasts its cause: then every copy is written whole.

mod disk;
mod writer;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use landbridge_feed::Copy;
use landbridge_model::{Change, FeedId, Position, Record, RecordKey, View};

use disk::{Disk, Head};
use writer::{RETRY_PAUSE, Told, Writer};

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
    /// Each with the round in which it was handed over.
    jobs: SyncSender<(u64, Job)>,
    writer: JoinHandle<()>,
    told: Arc<Told>,
    round: u64,
    /// The feeds that the disk may hold; with nothing about one, it is written whole.
    handed: BTreeMap<FeedId, Option<Handed>>,
}

impl Shelf {
    /// Opens a shelf in its own folder and reads what is there; Raft feeds come first. Blocks: not for an async task.
    ///
    /// What cannot be read is set aside with a message, and its feed starts empty: an absent copy is only older.
    /// An error is what an operator must mend: a folder that cannot be written, or that another process has open.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Loaded>), String> {
        Self::open_with(folder, RETRY_PAUSE)
    }

    /// As `open`, with another pause from a failure of the disk to the next try.
    fn open_with(folder: &Path, pause: Duration) -> Result<(Self, Vec<Loaded>), String> {
        let (disk, loaded) = Disk::open(folder)?;
        let handed = loaded.iter().map(|loaded| {
            let handed = Handed {
                generation: 0,
                swaps: Copy::SWAPS_AT_FIRST,
                view: loaded.view.clone(),
                position: loaded.position,
            };
            (loaded.feed.clone(), Some(handed))
        });
        let handed = handed.collect();
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let told = Arc::new(Told::default());
        let writer = Writer::new(folder.to_owned(), disk, Arc::clone(&told), pause);
        let writer = std::thread::Builder::new()
            .name("shelf".to_owned())
            .spawn(move || writer.work(&queue))
            .map_err(|error| format!("no thread can be started: {error}"))?;
        Ok((Self { jobs, writer, told, round: 0, handed }, loaded))
    }

    /// Hands over what has changed since the last call; call it at least every 500 ms. While the disk fails nothing is
    /// handed over, and after that all of it.
    pub fn save<'a>(&mut self, copies: impl Iterator<Item = (&'a FeedId, &'a Copy)>) {
        let Some(round) = self.told.round() else { return };
        if round != self.round {
            self.round = round;
            self.handed.values_mut().for_each(|handed| *handed = None);
        }
        for (feed, copy) in copies {
            let handed = self.handed.get(feed).and_then(Option::as_ref);
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
            self.handed.insert(feed.clone(), Some(handed));
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

    /// Ends after everything handed over is written. Blocks: not for an async task.
    pub fn close(self) {
        drop(self.jobs);
        if self.writer.join().is_err() {
            tracing::error!(event = "shelf_failed", "the writer of copies panicked");
        }
    }

    fn hand(&self, job: Job) -> bool {
        match self.jobs.try_send((self.round, job)) {
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

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use landbridge_feed::{Holder, Input, Limits, Role, Settings};
    use landbridge_model::{DirectoryEntry, Era, MemberId, Moment, Region};

    use super::*;

    const ERA: Era = Era(1);
    const PAUSE: Duration = Duration::from_millis(1);
    const DEADLINE: Duration = Duration::from_secs(30);

    fn feed(index: u64) -> FeedId {
        FeedId::Member { region: Region::parse("east").expect("valid"), era: ERA, index }
    }

    fn entry() -> Record {
        let member = MemberId(1);
        Record::Directory(DirectoryEntry { member, address: "10.9.9.9:1".into(), nonce: 1, need: 0 })
    }

    fn step(holder: &mut Holder, input: Input) {
        holder.step(Moment(0), input, &mut Vec::new());
    }

    /// A lone member with the region's Raft feed at 2.
    fn member() -> Holder {
        let region = Region::parse("east").expect("valid");
        let role = Role::Member(MemberId(1));
        let mut holder = Holder::new(Settings { region, role, limits: Limits::STANDARD });
        let records = vec![(RecordKey::Directory(feed(2)), entry())];
        step(&mut holder, Input::Installed { position: Position { era: ERA, seq: 2 }, records });
        holder
    }

    /// The Raft feed moves on by another member's feed.
    fn join(holder: &mut Holder, seq: u64) {
        let change = Change { key: RecordKey::Directory(feed(seq)), record: Some(entry()) };
        step(holder, Input::Applied { position: Position { era: ERA, seq }, changes: vec![change] });
    }

    /// A shelf with the Raft feed of `holder` on it, and nothing left to write.
    fn saved(root: &Path, holder: &Holder) -> Shelf {
        let (mut shelf, _) = Shelf::open_with(&root.join("copies"), PAUSE).expect("an empty shelf");
        shelf.save(holder.copies());
        shelf.close();
        let (shelf, loaded) = Shelf::open_with(&root.join("copies"), PAUSE).expect("a full shelf");
        assert_eq!(loaded.len(), 1);
        shelf
    }

    /// A new copy needs a folder below this one: a file in its place fails the write, and the tries after it.
    fn fail_disk(root: &Path) {
        let tables = root.join("copies/keyspaces");
        fs::rename(&tables, root.join("away")).expect("renamed");
        fs::write(&tables, "").expect("written");
    }

    /// At no moment is the folder absent: it would be taken for damaged.
    fn mend_disk(root: &Path) {
        std::os::unix::fs::symlink(root.join("away"), root.join("link")).expect("linked");
        fs::rename(root.join("link"), root.join("copies/keyspaces")).expect("renamed");
    }

    fn wait_for(done: impl Fn() -> bool, what: &str) {
        let begin = Instant::now();
        while !done() {
            assert!(begin.elapsed() < DEADLINE, "{what}");
            std::thread::yield_now();
        }
    }

    fn reopened(folder: &Path) -> BTreeMap<FeedId, (Position, usize)> {
        let (shelf, loaded) = Shelf::open(folder).expect("a shelf that opens");
        shelf.close();
        loaded.into_iter().map(|loaded| (loaded.feed, (loaded.position, loaded.records.len()))).collect()
    }

    /// A holder whose shelf has been saved, and has just failed to write.
    fn failing() -> (tempfile::TempDir, Holder, Shelf) {
        let root = tempfile::tempdir().expect("a folder");
        let mut holder = member();
        let mut shelf = saved(root.path(), &holder);
        fail_disk(root.path());
        step(&mut holder, Input::Begun { feed: feed(2), records: Vec::new() });
        shelf.save(holder.copies());
        wait_for(|| shelf.told.round().is_none(), "no write failed");
        (root, holder, shelf)
    }

    #[test]
    fn a_failed_write_delays_copies_and_loses_none() {
        let (root, mut holder, mut shelf) = failing();
        join(&mut holder, 3);
        shelf.save(holder.copies());

        mend_disk(root.path());
        wait_for(|| shelf.told.round().is_some(), "the disk was not tried again");
        shelf.save(holder.copies());
        join(&mut holder, 4);
        shelf.save(holder.copies());
        shelf.close();

        let held =
            holder.copies().map(|(feed, copy)| (feed.clone(), (copy.position(), copy.len()))).collect();
        assert_eq!(reopened(&root.path().join("copies")), held);
        assert!(!root.path().join("copies.unreadable").exists(), "a disk that fails damages nothing");
    }

    #[test]
    fn a_feed_forgotten_while_the_disk_fails_does_not_come_back() {
        let (root, _, mut shelf) = failing();

        shelf.forget(|_| false);
        mend_disk(root.path());
        wait_for(|| shelf.told.round().is_some(), "the disk was not tried again");
        shelf.close();

        assert_eq!(reopened(&root.path().join("copies")), BTreeMap::new());
    }
}
