//! The layout on disk: how copies are read and written.
//!
//! One database. The keyspace `heads` holds `format` and, per feed, a head: which keyspace holds its records, how many
//! they are, what their hashes sum to, and the copy's view and position. Each whole copy gets a keyspace of its own.
//!
//! Invariant: records and head change in one batch; a new whole copy is complete before a head points to it.
//! Invariant: a copy whose records do not sum up to its head is not loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    panic::catch_unwind,
    path::Path,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use landbridge_feed::{Copy, hash_of};
use landbridge_model::{Change, FeedId, Position, RecordKey, ServiceKey, View};
use landbridge_wire::disk;

use super::{Job, Loaded};
use crate::metrics;

/// The layout described above.
const FORMAT: u8 = 1;

const HEADS: &str = "heads";
const FORMAT_KEY: &[u8] = b"format";

/// What fjall may keep of blocks in memory: copies are read once, at start.
const CACHE_BYTES: u64 = 1 << 20;

/// What may wait in memory for a keyspace's next table.
const MEMTABLE_BYTES: u64 = 2 << 20;

/// What fjall's journals may grow to; its own least value.
const JOURNAL_BYTES: u64 = 64 << 20;

/// Counts attempts to open, beside the database: a file that is damaged in the right place ends the process in the
/// middle of opening, which nothing in the process can catch.
const ATTEMPTS_FILE: &str = "attempts";

/// After so many attempts that did not come to an end the folder is set aside.
const ATTEMPTS_MAX: usize = 3;

/// Records of one batch while a whole copy is written.
const WHOLE_BATCH_RECORDS: usize = 1024;

/// What is known of a copy besides its records.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    feed: FeedId,
    view: View,
    position: Position,
    records: u64,
    sum: u64,
}

impl Head {
    pub fn of(feed: &FeedId, copy: &Copy) -> Self {
        let sum = copy.digests().0.iter().fold(0, |sum: u64, bucket| sum.wrapping_add(*bucket));
        Self {
            feed: feed.clone(),
            view: copy.view().clone(),
            position: copy.position(),
            records: copy.len() as u64,
            sum,
        }
    }

    fn encode(&self, place: u64) -> Vec<u8> {
        let mut bytes = Vec::from(place.to_be_bytes());
        bytes.extend(self.records.to_be_bytes());
        bytes.extend(self.sum.to_be_bytes());
        bytes.extend(disk::encode_copy_head(&self.feed, &self.view, self.position));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<(Self, u64), String> {
        let mut numbers = bytes.chunks_exact(8).take(3).map(|chunk| {
            let chunk = <[u8; 8]>::try_from(chunk).expect("chunks_exact gives chunks of this size");
            u64::from_be_bytes(chunk)
        });
        let mut number = || numbers.next().ok_or("the head is too short");
        let (place, records, sum) = (number()?, number()?, number()?);
        let (feed, view, position) =
            disk::decode_copy_head(&bytes[24..]).map_err(|error| error.to_string())?;
        Ok((Self { feed, view, position, records, sum }, place))
    }
}

/// The open database, owned by the writer thread once it runs.
pub(super) struct Disk {
    database: Database,
    heads: Keyspace,
    places: BTreeMap<FeedId, u64>,
    next: u64,
}

impl Disk {
    /// Opens the database and reads all copies; what cannot be read is set aside.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Loaded>), String> {
        Self::open_with(folder, Self::load)
    }

    /// Opens the database after it failed, reads no more than the heads, and forgets the feeds that are `gone`.
    pub fn reopen(folder: &Path, gone: &BTreeSet<FeedId>) -> Result<Self, String> {
        let (mut disk, ()) = Self::open_with(folder, Self::index)?;
        for feed in gone {
            disk.forget(feed).map_err(|error| format!("copies in {}: {error}", folder.display()))?;
        }
        Ok(disk)
    }

    fn open_with<T>(folder: &Path, read: Reader<T>) -> Result<(Self, T), String> {
        let about = |error: &dyn std::fmt::Display| format!("copies in {}: {error}", folder.display());
        let opened = match Self::open_guarded(folder, read) {
            Ok(opened) => opened,
            Err(Unreadable::Blocked(why)) => return Err(about(&why)),
            Err(Unreadable::Damaged(why)) => {
                let aside = set_aside(folder).map_err(|error| about(&error))?;
                tracing::error!(
                    event = "copies_unreadable",
                    folder = %folder.display(),
                    aside = %aside.display(),
                    why,
                    "starting without saved copies"
                );
                metrics::shelf_unreadable();
                Self::open_guarded(folder, read).map_err(|why| match why {
                    Unreadable::Blocked(why) | Unreadable::Damaged(why) => about(&why),
                })?
            }
        };
        let (mut disk, found) = opened;
        disk.sweep().map_err(|error| about(&error))?;
        Ok((disk, found))
    }

    /// Opens the folder, and makes sure that one which ends the process does so only a few times.
    fn open_guarded<T>(folder: &Path, read: Reader<T>) -> Result<(Self, T), Unreadable> {
        let blocked = |error: io::Error| Unreadable::Blocked(error.to_string());
        fs::create_dir_all(folder).map_err(blocked)?;
        let file = folder.join(ATTEMPTS_FILE);
        let attempts = fs::read(&file).map_or(0, |marks| marks.len());
        if attempts >= ATTEMPTS_MAX {
            let why = format!("{attempts} attempts to open them did not come to an end");
            return Err(Unreadable::Damaged(why));
        }
        fs::write(&file, vec![b'.'; attempts + 1]).map_err(blocked)?;
        let opened = catch_unwind(|| Self::open_as_it_is(folder, read));
        fs::remove_file(&file).map_err(blocked)?;
        opened.unwrap_or_else(|_| Err(Unreadable::Damaged("reading them panicked".to_owned())))
    }

    fn open_as_it_is<T>(folder: &Path, read: Reader<T>) -> Result<(Self, T), Unreadable> {
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()?;
        let heads = database.keyspace(HEADS, options)?;
        match heads.get(FORMAT_KEY)?.as_deref() {
            Some([FORMAT]) => {}
            None if heads.is_empty()? => heads.insert(FORMAT_KEY, [FORMAT])?,
            other => {
                let why = format!("they are of format {other:?}, this program reads {FORMAT}");
                return Err(Unreadable::Damaged(why));
            }
        }
        let mut disk = Self { database, heads, places: BTreeMap::new(), next: 0 };
        let found = read(&mut disk)?;
        Ok((disk, found))
    }

    fn load(&mut self) -> Result<Vec<Loaded>, Unreadable> {
        self.each(Self::read)
    }

    fn index(&mut self) -> Result<(), Unreadable> {
        self.each(|_, _, _| Ok(())).map(drop)
    }

    /// Reads something of each copy, and notes its place; one that cannot be read is given up.
    fn each<T>(
        &mut self,
        read: impl Fn(&Self, &Head, u64) -> Result<T, String>,
    ) -> Result<Vec<T>, Unreadable> {
        let mut found = BTreeMap::new();
        for entry in self.heads.iter() {
            let (key, value) = entry.into_inner()?;
            if &*key == FORMAT_KEY {
                continue;
            }
            let taken = Head::decode(&value).and_then(|(head, place)| {
                let taken = read(self, &head, place)?;
                Ok((head.feed, (taken, place)))
            });
            match taken {
                Ok((feed, taken)) => drop(found.insert(feed, taken)),
                Err(why) => {
                    tracing::error!(event = "copy_unreadable", why, "its feed starts empty");
                    metrics::shelf_unreadable();
                    self.heads.remove(key)?;
                }
            }
        }
        self.places = found.iter().map(|(feed, (_, place))| (feed.clone(), *place)).collect();
        Ok(found.into_values().map(|(taken, _)| taken).collect())
    }

    /// Reads one copy and holds it against its head.
    fn read(&self, head: &Head, place: u64) -> Result<Loaded, String> {
        let about = |why: &dyn std::fmt::Display| format!("the copy of {}: {why}", head.feed);
        let name = keyspace_name(place);
        if !self.database.keyspace_exists(&name) {
            return Err(about(&"its records are missing"));
        }
        let keyspace = self.database.keyspace(&name, options).map_err(|error| about(&error))?;
        let mut names = Names::default();
        let mut records = Vec::new();
        let mut sum: u64 = 0;
        for entry in keyspace.iter() {
            let value = entry.value().map_err(|error| about(&error))?;
            let (key, record) = disk::decode_record(&value).map_err(|error| about(&error))?;
            sum = sum.wrapping_add(hash_of(&key, &record));
            records.push((names.share(key), record));
        }
        if records.len() as u64 != head.records || sum != head.sum {
            let why = format!("{} records do not sum up to its head of {}", records.len(), head.records);
            return Err(about(&why));
        }
        Ok(Loaded { feed: head.feed.clone(), view: head.view.clone(), position: head.position, records })
    }

    /// Deletes the keyspaces that no head points to.
    fn sweep(&mut self) -> fjall::Result<()> {
        let used: BTreeSet<String> = self.places.values().map(|place| keyspace_name(*place)).collect();
        for name in self.database.list_keyspace_names() {
            self.next = self.next.max(place_of(&name).map_or(0, |place| place + 1));
            if &*name != HEADS && !used.contains(&*name) {
                let keyspace = self.database.keyspace(&name, options)?;
                self.database.delete_keyspace(keyspace)?;
            }
        }
        Ok(())
    }

    /// Writes one job; after an error nothing more can be written before the database is opened again.
    pub fn write(&mut self, job: Job) -> fjall::Result<()> {
        match job {
            Job::Step { head, changes } => self.step(&head, changes),
            Job::Whole { head, copy } => self.whole(&head, &copy),
            Job::Forget { feed } => self.forget(&feed),
        }
    }

    fn step(&mut self, head: &Head, changes: Vec<Change>) -> fjall::Result<()> {
        let place = *self.places.get(&head.feed).expect("a step follows a whole copy or a loaded one");
        let keyspace = self.database.keyspace(&keyspace_name(place), options)?;
        let mut batch = self.database.batch();
        for change in changes {
            let key = disk::encode_key(&change.key);
            match change.record {
                Some(record) => batch.insert(&keyspace, key, disk::encode_record(&change.key, &record)),
                None => batch.remove(&keyspace, key),
            }
        }
        batch.insert(&self.heads, disk::encode_feed(&head.feed), head.encode(place));
        batch.commit()
    }

    fn whole(&mut self, head: &Head, copy: &Copy) -> fjall::Result<()> {
        let place = self.next;
        self.next += 1;
        let keyspace = self.database.keyspace(&keyspace_name(place), options)?;
        let mut batch = self.database.batch();
        for (key, record) in copy.records() {
            batch.insert(&keyspace, disk::encode_key(key), disk::encode_record(key, record));
            if batch.len() >= WHOLE_BATCH_RECORDS {
                std::mem::replace(&mut batch, self.database.batch()).commit()?;
            }
        }
        batch.insert(&self.heads, disk::encode_feed(&head.feed), head.encode(place));
        batch.commit()?;
        let older = self.places.insert(head.feed.clone(), place);
        self.delete(older)
    }

    fn forget(&mut self, feed: &FeedId) -> fjall::Result<()> {
        self.heads.remove(disk::encode_feed(feed))?;
        let place = self.places.remove(feed);
        self.delete(place)
    }

    fn delete(&self, place: Option<u64>) -> fjall::Result<()> {
        let Some(place) = place else { return Ok(()) };
        let keyspace = self.database.keyspace(&keyspace_name(place), options)?;
        self.database.delete_keyspace(keyspace)
    }
}

/// What is read of the copies while a folder is opened.
type Reader<T> = fn(&mut Disk) -> Result<T, Unreadable>;

/// Why a folder cannot be opened.
enum Unreadable {
    /// An operator must act; what is there may be good.
    Blocked(String),
    /// What is there is of no use to this program.
    Damaged(String),
}

impl From<fjall::Error> for Unreadable {
    fn from(error: fjall::Error) -> Self {
        match &error {
            fjall::Error::Locked => Self::Blocked("another process has them open".to_owned()),
            fjall::Error::Io(cause)
                if !matches!(
                    cause.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
                ) =>
            {
                Self::Blocked(cause.to_string())
            }
            // Opening writes too: on a full disk good copies must not be taken for damaged ones.
            fjall::Error::Storage(fjall::LsmError::Io(cause))
                if matches!(
                    cause.kind(),
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                Self::Blocked(cause.to_string())
            }
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Moves a folder out of the way, in the place of one that was moved before.
fn set_aside(folder: &Path) -> io::Result<std::path::PathBuf> {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".unreadable");
    let aside = folder.with_file_name(name);
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(folder, &aside)?;
    Ok(aside)
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

fn keyspace_name(place: u64) -> String {
    format!("copy-{place}")
}

fn place_of(name: &str) -> Option<u64> {
    name.strip_prefix("copy-")?.parse().ok()
}

/// Lets records of one service share its name, as they do when they come over a wire.
#[derive(Default)]
struct Names(BTreeSet<ServiceKey>);

impl Names {
    fn share(&mut self, key: RecordKey) -> RecordKey {
        match key {
            RecordKey::Instance(service, instance) => RecordKey::Instance(self.one(service), instance),
            RecordKey::Persistent(service, instance) => RecordKey::Persistent(self.one(service), instance),
            RecordKey::Overlay(service, instance) => RecordKey::Overlay(self.one(service), instance),
            RecordKey::Definition(service) => RecordKey::Definition(self.one(service)),
            RecordKey::Port(service) => RecordKey::Port(self.one(service)),
            RecordKey::Settling
            | RecordKey::Directory(_)
            | RecordKey::Policy(_)
            | RecordKey::Link(_)
            | RecordKey::Import(_)
            | RecordKey::Bridge(_) => key,
        }
    }

    fn one(&mut self, service: ServiceKey) -> ServiceKey {
        if let Some(known) = self.0.get(&service) {
            return known.clone();
        }
        self.0.insert(service.clone());
        service
    }
}
