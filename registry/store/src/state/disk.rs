//! The state machine on disk: a fjall database of its own, apart from the log so that applying never waits for a sync.
//!
//! One keyspace holds all of it, so that records and the place they were applied at reach the disk together. A snapshot
//! is installed into a new keyspace, which counts once it is complete; then the old one goes.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ecow::EcoString;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use landbridge_model::{Change, Era, Position, Record, RecordKey};
use landbridge_wire::disk as records;
use prost::Message;

use crate::{
    codec::{self, PlaceRecord, StoredMembershipRecord},
    failure::StoreError,
    log::{damage, plain},
    manifest,
    order::NoteRecord,
    types::{LogId, StoredMembership},
};

/// The key of the head; records have keys of their own after [`RECORD`].
const HEAD: &[u8] = &[0];
const RECORD: u8 = 1;
/// Notes have keys of their own after this one: their names.
const NOTE: u8 = 2;

const CACHE_BYTES: u64 = 1 << 20;
const JOURNALS_BYTES_MAX: u64 = 128 << 20;
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;
const OPEN_FILES_MAX: usize = 64;

/// Where the state machine stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Head {
    /// The last entry applied.
    pub(crate) applied: Option<LogId>,
    /// Who belongs to the group, by the applied entries.
    pub(crate) membership: StoredMembership,
    /// The era and the last change.
    pub(crate) position: Position,
}

/// [`Head`] as bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadRecord {
    #[prost(message, optional, tag = "1")]
    applied: Option<PlaceRecord>,
    #[prost(message, optional, tag = "2")]
    membership: Option<StoredMembershipRecord>,
    #[prost(uint64, tag = "3")]
    era: u64,
    #[prost(uint64, tag = "4")]
    changed: u64,
}

impl HeadRecord {
    pub(crate) fn of(head: &Head) -> Self {
        Self {
            applied: head.applied.map(PlaceRecord::of),
            membership: Some(StoredMembershipRecord::of(&head.membership)),
            era: head.position.era.0,
            changed: head.position.seq,
        }
    }

    pub(crate) fn head(self) -> io::Result<Head> {
        Ok(Head {
            applied: self.applied.map(PlaceRecord::id),
            membership: self.membership.unwrap_or_default().stored()?,
            position: Position { era: Era(self.era), seq: self.changed },
        })
    }
}

/// The open database.
pub(crate) struct StateDisk {
    dir: PathBuf,
    db: Database,
    current: Mutex<(u64, Keyspace)>,
}

/// The state as it stood at one moment, however it goes on.
pub(crate) struct StateView {
    view: fjall::Snapshot,
    keyspace: Keyspace,
}

/// Everything that was found.
pub(crate) struct Loaded {
    pub(crate) head: Head,
    pub(crate) records: Vec<(RecordKey, Record)>,
    pub(crate) notes: Vec<(EcoString, EcoString)>,
}

impl Loaded {
    /// Takes in a record or a note as it lies on disk.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key.first() {
            Some(&RECORD) => {
                let wrong = |error| codec::unreadable("record", error);
                self.records.push(records::decode_record(value).map_err(wrong)?);
            }
            Some(&NOTE) => {
                let note = codec::read::<NoteRecord>("note", value.to_vec())?;
                debug_assert_eq!(key.get(1..), Some(note.name.as_bytes()), "a note lies under its name");
                self.notes.extend(note.text.map(|said| (note.name.into(), said.into())));
            }
            _ => return Err(codec::unreadable("state", "a key is of no known kind")),
        }
        Ok(())
    }
}

impl StateDisk {
    /// Opens or creates the database; of several generations the newest complete one counts.
    pub(crate) fn open(dir: &Path) -> Result<Arc<Self>, StoreError> {
        manifest::check(dir)?;
        let wrong = |error| damage(dir, error);
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES_MAX)
            .worker_threads(1)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open()
            .map_err(wrong)?;
        let mut generations: Vec<u64> =
            db.list_keyspace_names().iter().filter_map(|name| generation_of(name)).collect();
        generations.sort_unstable();
        let mut current = None;
        for generation in generations.into_iter().rev() {
            let keyspace = db.keyspace(&name_of(generation), options).map_err(wrong)?;
            let complete = generation == 0 || keyspace.contains_key(HEAD).map_err(wrong)?;
            if complete && current.is_none() {
                current = Some((generation, keyspace));
            } else {
                db.delete_keyspace(keyspace).map_err(wrong)?;
            }
        }
        let current = match current {
            Some(current) => current,
            None => (0, db.keyspace(&name_of(0), options).map_err(wrong)?),
        };
        Ok(Arc::new(Self { dir: dir.to_owned(), db, current: Mutex::new(current) }))
    }

    /// Reads everything.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let keyspace = self.current().1.clone();
        let damaged = |what: &dyn fmt::Display| StoreError::Damaged {
            dir: self.dir.clone(),
            what: format!("the state machine is unreadable: {what}"),
        };
        let head = keyspace.get(HEAD).map_err(|error| damage(&self.dir, error))?;
        let head = match head {
            Some(bytes) => read_head(&bytes).map_err(|error| damaged(&error))?,
            None => Head::default(),
        };
        let mut loaded = Loaded { head, records: Vec::new(), notes: Vec::new() };
        for guard in keyspace.range([RECORD]..) {
            let (key, value) = guard.into_inner().map_err(|error| damage(&self.dir, error))?;
            loaded.take(&key, &value).map_err(|error| damaged(&error))?;
        }
        Ok(loaded)
    }

    /// Writes changes and where they lead, together, without a sync: what is lost with the machine is in the log.
    pub(crate) fn apply(
        &self,
        head: &Head,
        changes: &BTreeMap<RecordKey, Option<Record>>,
        notes: &BTreeMap<EcoString, Option<EcoString>>,
    ) -> io::Result<()> {
        let keyspace = self.current().1.clone();
        let mut batch = self.db.batch();
        batch.insert(&keyspace, HEAD, codec::write(&HeadRecord::of(head)));
        for (key, record) in changes {
            match record {
                Some(value) => batch.insert(&keyspace, record_key(key), records::encode_record(key, value)),
                None => batch.remove(&keyspace, record_key(key)),
            }
        }
        for (name, text) in notes {
            let key = [&[NOTE][..], name.as_bytes()].concat();
            match text {
                Some(text) => {
                    let note = NoteRecord { name: name.as_str().into(), text: Some(text.as_str().into()) };
                    batch.insert(&keyspace, key, codec::write(&note));
                }
                None => batch.remove(&keyspace, key),
            }
        }
        batch.commit().map_err(plain)
    }

    /// Makes everything applied outlast the machine.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.db.persist(PersistMode::SyncAll).map_err(plain)
    }

    /// The state as it stands.
    pub(crate) fn view(&self) -> StateView {
        let keyspace = self.current().1.clone();
        StateView { view: self.db.snapshot(), keyspace }
    }

    /// Replaces everything; a crash leaves either the old state or the new one.
    pub(crate) fn replace(
        &self,
        head: &Head,
        content: impl Iterator<Item = io::Result<(Vec<u8>, Vec<u8>)>>,
    ) -> io::Result<()> {
        let generation = self.current().0 + 1;
        let keyspace = self.db.keyspace(&name_of(generation), options).map_err(io::Error::other)?;
        let mut ingestion = keyspace.start_ingestion().map_err(io::Error::other)?;
        ingestion.write(HEAD, codec::write(&HeadRecord::of(head))).map_err(io::Error::other)?;
        for item in content {
            let (key, value) = item?;
            ingestion.write(key, value).map_err(io::Error::other)?;
        }
        ingestion.finish().map_err(io::Error::other)?;
        self.sync()?;
        let (_, old) = std::mem::replace(&mut *self.current(), (generation, keyspace));
        self.db.delete_keyspace(old).map_err(io::Error::other)
    }

    fn current(&self) -> MutexGuard<'_, (u64, Keyspace)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateView {
    /// Keys and values of all records and notes, in key order.
    pub(crate) fn records(&self) -> impl Iterator<Item = io::Result<(fjall::Slice, fjall::Slice)>> {
        self.view.range(&self.keyspace, [RECORD]..).map(|guard| guard.into_inner().map_err(io::Error::other))
    }
}

/// The latest change per key, in key order.
pub(crate) fn gather(into: &mut BTreeMap<RecordKey, Option<Record>>, changes: Vec<Change>) {
    into.extend(changes.into_iter().map(|change| (change.key, change.record)));
}

pub(crate) fn read_head(bytes: &[u8]) -> io::Result<Head> {
    codec::read::<HeadRecord>("state head", bytes.to_vec())?.head()
}

fn record_key(key: &RecordKey) -> Vec<u8> {
    let mut bytes = vec![RECORD];
    bytes.extend(records::encode_key(key));
    bytes
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX)
}

fn name_of(generation: u64) -> String {
    format!("state-{generation:016x}")
}

fn generation_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("state-")?, 16).ok()
}
