//! The log on disk: a fjall database of its own, entries in segments that are dropped whole.
//!
//! The first segment shares a keyspace with the head, for each keyspace costs a first start some ten syncs; its entries
//! are removed one by one when their time comes.
//!
//! Invariant: scans start at the first entry that is not purged, so that they never walk over tombstones.
//! Invariant: a batch never puts and deletes one key, for all items of a batch share one sequence number.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use openraft::entry::RaftEntry;
use prost::Message;

use crate::{
    codec::{self, EntryRecord, PlaceRecord, VoteRecord},
    failure::StoreError,
    log::{chain, tail::Record},
    manifest,
    mark::Link,
    types::{Entry, LogId, Vote},
};

/// Entries in one segment, as a power of two; few in tests, so that they cross many segments.
const SEGMENT_BITS: u32 = if cfg!(test) { 5 } else { 14 };
/// The keyspace of the head and of segment 0. Keys of entries are eight bytes and sort before those of the head.
const HEAD: &str = "head";
const VOTE: &[u8] = b"vote";
const PURGED: &[u8] = b"purged";
const COMMITTED: &[u8] = b"committed";
/// Entries removed at once.
const REMOVED_MAX: usize = 4096;
/// Bytes of the hash chain before each entry.
const CHAIN_BYTES: usize = 8;

const CACHE_BYTES: u64 = 1 << 20;
const JOURNALS_BYTES_MAX: u64 = 128 << 20;
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;
const OPEN_FILES_MAX: usize = 64;

/// The last purged entry, with the chain that the next one hangs on.
#[derive(Clone, Copy, PartialEq, Message)]
struct PurgedRecord {
    #[prost(message, optional, tag = "1")]
    place: Option<PlaceRecord>,
    #[prost(fixed64, tag = "2")]
    chain: u64,
}

/// The open database.
pub(crate) struct LogDisk {
    dir: PathBuf,
    db: Database,
    head: Keyspace,
    segments: Mutex<BTreeMap<u64, Keyspace>>,
}

/// What stands beside the entries.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<Link>,
    pub(crate) committed: Option<LogId>,
}

impl LogDisk {
    /// Opens or creates the database.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        manifest::check(dir)?;
        let wrong = |error| damage(dir, error);
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .worker_threads(1)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open()
            .map_err(wrong)?;
        let head = db.keyspace(HEAD, options).map_err(wrong)?;
        let mut segments = BTreeMap::from([(0, head.clone())]);
        for name in db.list_keyspace_names() {
            if let Some(number) = segment_number(&name) {
                segments.insert(number, db.keyspace(&name, options).map_err(wrong)?);
            }
        }
        Ok(Self { dir: dir.to_owned(), db, head, segments: Mutex::new(segments) })
    }

    /// What stands beside the entries.
    pub(crate) fn head(&self) -> Result<Head, StoreError> {
        let purged: Option<PurgedRecord> = self.head_value(PURGED)?;
        Ok(Head {
            vote: self.head_value(VOTE)?.map(VoteRecord::vote),
            committed: self.head_value(COMMITTED)?.map(PlaceRecord::id),
            purged: purged.and_then(|record| {
                let PlaceRecord { term, index } = record.place?;
                Some(Link { index, term, chain: record.chain })
            }),
        })
    }

    fn head_value<M: Message + Default>(&self, key: &[u8]) -> Result<Option<M>, StoreError> {
        let value = self.head.get(key).map_err(|error| damage(&self.dir, error))?;
        let read = |value: fjall::Slice| codec::read("log head", value.to_vec());
        value.map(read).transpose().map_err(|error| self.damaged(error))
    }

    /// Gives every entry after `purged` in order, and checks that none is missing or changed.
    pub(crate) fn scan(
        &self,
        purged: Option<Link>,
        mut take: impl FnMut(Entry, u64, usize),
    ) -> Result<(), StoreError> {
        let mut next = purged.map_or(0, |link| link.index + 1);
        let mut before = purged.map_or(0, |link| link.chain);
        for (number, segment) in self.segments().clone() {
            for guard in segment.range(next.to_be_bytes()..end_of(number)) {
                let (key, value) = guard.into_inner().map_err(|error| damage(&self.dir, error))?;
                if *key != next.to_be_bytes() {
                    return Err(self.damaged(format_args!("entry {next} of the log is missing")));
                }
                let (found, bytes) = split(&value).ok_or_else(|| self.damaged("an entry is cut short"))?;
                if found != chain(before, bytes) {
                    return Err(self.damaged(format_args!("entry {next} of the log was changed")));
                }
                let entry = decode(bytes).map_err(|error| self.damaged(error))?;
                if entry.index() != next {
                    return Err(self.damaged(format_args!("entry {next} of the log is another one")));
                }
                take(entry, found, bytes.len());
                (next, before) = (next + 1, found);
            }
        }
        Ok(())
    }

    /// Writes entries, and the commit point if there is a new one, with one sync.
    pub(crate) fn append(
        &self,
        records: impl IntoIterator<Item = Record>,
        committed: Option<LogId>,
    ) -> fjall::Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for Record { index, chain, bytes } in records {
            let mut value = Vec::with_capacity(CHAIN_BYTES + bytes.len());
            value.extend_from_slice(&chain.to_le_bytes());
            value.extend_from_slice(&bytes);
            batch.insert(&self.segment(index >> SEGMENT_BITS)?, index.to_be_bytes(), value);
        }
        if let Some(committed) = committed {
            batch.insert(&self.head, COMMITTED, codec::write(&PlaceRecord::of(committed)));
        }
        batch.commit()
    }

    /// Writes the commit point without a sync.
    pub(crate) fn save_committed(&self, committed: LogId) -> fjall::Result<()> {
        self.head.insert(COMMITTED, codec::write(&PlaceRecord::of(committed)))
    }

    /// Writes a vote, synced with everything before it.
    pub(crate) fn save_vote(&self, vote: &Vote) -> fjall::Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.head, VOTE, codec::write(&VoteRecord::of(vote)));
        batch.commit()
    }

    /// Removes entries from the end backward, so that a crash between leaves no hole.
    pub(crate) fn truncate(&self, gone: Range<u64>) -> fjall::Result<()> {
        let Some(newest) = gone.end.checked_sub(1) else { return Ok(()) };
        for number in (gone.start >> SEGMENT_BITS..=newest >> SEGMENT_BITS).rev() {
            let start = number << SEGMENT_BITS;
            if gone.start <= start && number > 0 {
                self.drop_segment(number)?;
                continue;
            }
            let segment = self.segment(number)?;
            let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
            for index in gone.start..gone.end.min((number + 1) << SEGMENT_BITS) {
                batch.remove(&segment, index.to_be_bytes());
            }
            batch.commit()?;
        }
        Ok(())
    }

    /// Notes the last purged entry and drops the segments before it.
    pub(crate) fn purge(&self, upto: Link) -> fjall::Result<()> {
        let place = Some(PlaceRecord { term: upto.term, index: upto.index });
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.head, PURGED, codec::write(&PurgedRecord { place, chain: upto.chain }));
        batch.commit()?;
        let current = (upto.index + 1) >> SEGMENT_BITS;
        let old: Vec<u64> = self.segments().range(..current).map(|(number, _)| *number).collect();
        old.into_iter().try_for_each(|number| self.drop_segment(number))
    }

    /// Reads entries with their chains; what is not there is left out.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Vec<(Entry, u64)>> {
        let mut found = Vec::new();
        let numbers = range.start >> SEGMENT_BITS..=range.end.saturating_sub(1) >> SEGMENT_BITS;
        let segments: Vec<_> = self.segments().range(numbers).map(|(_, segment)| segment.clone()).collect();
        for segment in segments {
            for guard in segment.range(range.start.to_be_bytes()..range.end.to_be_bytes()) {
                let value = guard.value().map_err(io::Error::other)?;
                let cut = || codec::unreadable("entry", "it is cut short");
                let (chain, bytes) = split(&value).ok_or_else(cut)?;
                found.push((decode(bytes)?, chain));
            }
        }
        Ok(found)
    }

    /// Makes everything written outlast the machine.
    pub(crate) fn sync(&self) -> fjall::Result<()> {
        self.db.persist(PersistMode::SyncAll)
    }

    fn segment(&self, number: u64) -> fjall::Result<Keyspace> {
        if number == 0 {
            return Ok(self.head.clone());
        }
        let mut segments = self.segments();
        if let Some(segment) = segments.get(&number) {
            return Ok(segment.clone());
        }
        let segment = self.db.keyspace(&segment_name(number), options)?;
        segments.insert(number, segment.clone());
        Ok(segment)
    }

    fn drop_segment(&self, number: u64) -> fjall::Result<()> {
        match self.segments().remove(&number) {
            Some(_) if number == 0 => self.empty_first_segment(),
            Some(segment) => self.db.delete_keyspace(segment),
            None => Ok(()),
        }
    }

    fn empty_first_segment(&self) -> fjall::Result<()> {
        loop {
            let mut batch = self.db.batch();
            for guard in self.head.range(0_u64.to_be_bytes()..end_of(0)).take(REMOVED_MAX) {
                batch.remove(&self.head, guard.key()?);
            }
            if batch.is_empty() {
                return Ok(());
            }
            batch.commit()?;
        }
    }

    fn segments(&self) -> MutexGuard<'_, BTreeMap<u64, Keyspace>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, what: impl fmt::Display) -> StoreError {
        StoreError::Damaged { dir: self.dir.clone(), what: what.to_string() }
    }
}

/// What an error of a database means: a disk that refuses, or one that gives back something else.
pub(crate) fn damage(dir: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error)
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::disk("opening a database", error)
        }
        fjall::Error::Locked => StoreError::Busy { dir: dir.to_owned(), by: None },
        error => StoreError::Damaged { dir: dir.to_owned(), what: error.to_string() },
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX)
}

/// The key after a segment's last one.
fn end_of(number: u64) -> [u8; 8] {
    ((number + 1) << SEGMENT_BITS).to_be_bytes()
}

fn segment_name(number: u64) -> String {
    format!("segment-{number:016x}")
}

fn segment_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("segment-")?, 16).ok()
}

fn split(value: &[u8]) -> Option<(u64, &[u8])> {
    let (chain, bytes) = value.split_first_chunk::<CHAIN_BYTES>()?;
    Some((u64::from_le_bytes(*chain), bytes))
}

fn decode(bytes: &[u8]) -> io::Result<Entry> {
    codec::read::<EntryRecord>("entry", bytes.to_vec())?.entry()
}
