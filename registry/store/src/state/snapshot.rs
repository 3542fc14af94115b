//! Snapshots as files: the head, then every record as it lies on disk, then a hash over all of it.
//!
//! Invariant: a file under its final name is complete; it is synced before it gets the name.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    codec,
    state::disk::{Head, HeadRecord, StateView, read_head},
    types::{LogId, SnapshotMeta},
};

const MAGIC: &[u8] = b"LBSS\x01";
const ENDING: &str = ".snapshot";
const HASH_BYTES: usize = 8;
/// The longest key or value of a file that is believed; longer ones are damage.
const PART_BYTES_MAX: usize = 16 << 20;

/// A complete snapshot: an open file stays readable when a newer one replaces it.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    file: File,
}

impl SnapshotFile {
    /// Opens a file.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: File::open(&path)?, path })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// A part of it.
    pub(crate) fn part(&self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        use std::os::unix::fs::FileExt;

        let left = self.size()?.saturating_sub(offset);
        let mut part = vec![0; bytes_max.min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.file.read_exact_at(&mut part, offset)?;
        Ok(part.into())
    }

    /// Reads the whole of it once, to see that it is whole; returns its head.
    pub(crate) fn verify(&self) -> io::Result<Head> {
        let mut reader = self.reader()?;
        for item in &mut reader {
            item?;
        }
        Ok(reader.head)
    }

    /// Reads the head; the records follow from the reader.
    pub(crate) fn reader(&self) -> io::Result<SnapshotReader> {
        let mut hashed =
            Hashed { inner: BufReader::new(File::open(&self.path)?), hash: Box::default(), left: 0 };
        hashed.left = self.size()?.saturating_sub(HASH_BYTES as u64);
        let mut magic = [0; MAGIC.len()];
        hashed.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(codec::unreadable("snapshot", "it does not start as one"));
        }
        let head = read_head(&hashed.piece()?)?;
        Ok(SnapshotReader { hashed, head, ended: false })
    }
}

/// The records of a snapshot, in key order; the last item is an error if the hash does not fit.
pub(crate) struct SnapshotReader {
    hashed: Hashed,
    head: Head,
    ended: bool,
}

impl SnapshotReader {
    /// What it is a snapshot of.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

struct Hashed {
    inner: BufReader<File>,
    hash: Box<Xxh3>,
    /// Bytes before the hash.
    left: u64,
}

impl Hashed {
    fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let length = into.len() as u64;
        self.left =
            self.left.checked_sub(length).ok_or_else(|| codec::unreadable("snapshot", "it is cut short"))?;
        self.inner.read_exact(into)?;
        self.hash.update(into);
        Ok(())
    }

    fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > PART_BYTES_MAX {
            return Err(codec::unreadable("snapshot", format_args!("a part of {length} bytes")));
        }
        let mut piece = vec![0; length];
        self.read_exact(&mut piece)?;
        Ok(piece)
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut hash = [0; HASH_BYTES];
        self.inner.read_exact(&mut hash)?;
        let fits = u64::from_le_bytes(hash) == self.hash.digest();
        fits.then_some(()).ok_or_else(|| codec::unreadable("snapshot", "its hash does not fit"))
    }
}

impl Iterator for SnapshotReader {
    type Item = io::Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.hashed.left == 0 {
            self.ended = true;
            return self.hashed.finish().err().map(Err);
        }
        let item = self.hashed.piece().and_then(|key| Ok((key, self.hashed.piece()?)));
        self.ended = item.is_err();
        Some(item)
    }
}

/// The folder of snapshots and the newest one in it.
#[derive(Debug)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    current: Mutex<Option<(Head, PathBuf)>>,
    /// Copies so far; each has a file of its own.
    copies: AtomicU64,
    /// Held by a test in which a snapshot takes long.
    #[cfg(test)]
    pub(crate) slow: tokio::sync::Mutex<()>,
}

impl Snapshots {
    /// Opens the folder; what is not whole, or older than what the log can lead on from, is removed, for a snapshot can
    /// be made again.
    pub(crate) fn open(dir: PathBuf, since: Option<LogId>) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let mut newest: Option<(Head, PathBuf)> = None;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let whole = SnapshotFile::open(path.clone()).and_then(|file| file.verify());
            let ended = path.to_string_lossy().ends_with(ENDING);
            let keep = whole
                .ok()
                .filter(|head| head.applied >= since)
                .filter(|head| ended && newest.as_ref().is_none_or(|(best, _)| best.applied < head.applied));
            let gone = match keep {
                Some(head) => newest.replace((head, path)).map(|(_, path)| path),
                None => Some(path),
            };
            gone.map_or(Ok(()), fs::remove_file)?;
        }
        Ok(Self {
            dir,
            current: Mutex::new(newest),
            copies: AtomicU64::new(0),
            #[cfg(test)]
            slow: tokio::sync::Mutex::new(()),
        })
    }

    /// Writes a snapshot of a view and makes it the newest.
    pub(crate) fn write(&self, head: &Head, view: &StateView) -> io::Result<SnapshotFile> {
        #[cfg(test)]
        let _slow = self.slow.blocking_lock();
        let path = self.dir.join("building");
        save(&path, head, view)?;
        self.adopt(head, &path)
    }

    /// Writes a snapshot that is no part of the store; what a crash leaves of it is removed at the next start.
    pub(crate) fn copy(&self, head: &Head, view: &StateView) -> io::Result<PathBuf> {
        let path = self.dir.join(format!("copy-{}", self.copies.fetch_add(1, Ordering::Relaxed)));
        save(&path, head, view)?;
        Ok(path)
    }

    /// Makes a complete file the newest snapshot, and removes the one before. One that was overtaken, because another
    /// member's was installed while it was built, is not kept: the log may begin behind it.
    pub(crate) fn adopt(&self, head: &Head, path: &Path) -> io::Result<SnapshotFile> {
        let mut current = self.current();
        if current.as_ref().is_some_and(|(newest, _)| head.applied < newest.applied) {
            let overtaken = SnapshotFile::open(path.to_owned())?;
            fs::remove_file(path)?;
            return Ok(overtaken);
        }
        let (term, index) = head.applied.map_or((0, 0), |id| (id.leader_id.term, id.index));
        let name = self.dir.join(format!("{index:020}-{term}{ENDING}"));
        fs::rename(path, &name)?;
        File::open(&self.dir)?.sync_all()?;
        let file = SnapshotFile::open(name.clone())?;
        let before = current.replace((head.clone(), name.clone()));
        if let Some((_, old)) = before
            && old != name
        {
            fs::remove_file(old)?;
        }
        Ok(file)
    }

    /// The folder for snapshots that come in parts.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotFile)>> {
        let current = self.current().clone();
        current.map(|(head, path)| Ok((meta_of(&head), SnapshotFile::open(path)?))).transpose()
    }

    fn current(&self) -> MutexGuard<'_, Option<(Head, PathBuf)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a view into a file; it is whole and on disk when this returns.
fn save(path: &Path, head: &Head, view: &StateView) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut hash = Xxh3::new();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        out.write_all(bytes)
    };
    put(MAGIC)?;
    let mut piece = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        put(&length.to_le_bytes())?;
        put(bytes)
    };
    piece(&codec::write(&HeadRecord::of(head)))?;
    for item in view.records() {
        let (key, value) = item?;
        piece(&key)?;
        piece(&value)?;
    }
    out.write_all(&hash.digest().to_le_bytes())?;
    out.into_inner().map_err(|error| error.into_error())?.sync_all()
}

/// How long the file of a view would be, in bytes.
pub(crate) fn file_bytes(head: &Head, view: &StateView) -> io::Result<u64> {
    let piece = |bytes: usize| (size_of::<u32>() + bytes) as u64;
    let around = (MAGIC.len() + HASH_BYTES) as u64 + piece(codec::write(&HeadRecord::of(head)).len());
    view.records().try_fold(around, |sum, item| {
        let (key, value) = item?;
        Ok(sum + piece(key.len()) + piece(value.len()))
    })
}

/// What openraft needs to know of a snapshot.
pub(crate) fn meta_of(head: &Head) -> SnapshotMeta {
    SnapshotMeta { last_log_id: head.applied, last_membership: head.membership.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{state::disk::StateDisk, types::log_id};

    #[test]
    fn a_snapshot_that_was_overtaken_while_it_was_built_does_not_become_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDisk::open(&dir.path().join("state")).unwrap();
        let snapshots = Snapshots::open(dir.path().join("snapshots"), None).unwrap();
        let at = |index| Head { applied: Some(log_id(1, index)), ..Head::default() };

        snapshots.write(&at(63), &state.view()).unwrap();
        snapshots.write(&at(59), &state.view()).unwrap();

        let (meta, file) = snapshots.newest().unwrap().expect("a snapshot");
        assert_eq!(meta.last_log_id, Some(log_id(1, 63)));
        assert_eq!(file.verify().unwrap(), at(63));
        let again = Snapshots::open(dir.path().join("snapshots"), None).unwrap().newest().unwrap();
        assert_eq!(again.map(|(meta, _)| meta), Some(meta));
    }

    #[test]
    fn a_snapshot_that_the_log_does_not_lead_on_from_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDisk::open(&dir.path().join("state")).unwrap();
        let folder = dir.path().join("snapshots");
        let head = Head { applied: Some(log_id(1, 59)), ..Head::default() };
        Snapshots::open(folder.clone(), None).unwrap().write(&head, &state.view()).unwrap();

        let kept = Snapshots::open(folder.clone(), Some(log_id(1, 59))).unwrap().newest().unwrap();
        let gone = Snapshots::open(folder, Some(log_id(1, 61))).unwrap().newest().unwrap();

        assert!(kept.is_some() && gone.is_none());
    }
}
