//! Starts a region anew: from a backup, or from what one member's disk holds when the majority is lost for good.
//!
//! ```text
//! backup, or log and state of a survivor ─▶ a group of this member alone, under a new era ─▶ the others join with empty disks
//! ```
//!
//! Invariant: the new group has a new era and a line of its own, so nothing of the old one is taken for its own.
//! Invariant: the directory belongs to nobody until everything in it is on disk.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use landbridge_model::{Era, MemberId, Position, Record, RecordKey};
use landbridge_registry_core::RaftState;
use openraft::EmptyNode;

use crate::{
    aside,
    config::StoreConfig,
    disk::{DiskFile, DiskSays, Part},
    failure::StoreError,
    identity::{DirLock, Identity},
    log::FoundLog,
    mark::MarkFile,
    order,
    refill::Noted,
    state::{
        disk::{Head, Loaded, StateDisk},
        snapshot::SnapshotFile,
    },
    types::{Membership, Payload, Proposal, StoredMembership, log_id},
};

/// What a region is started anew from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that a backup was written to; the member's own directory must hold nothing.
    Backup(PathBuf),
    /// The member's own directory: everything in its log counts, for any of it may have been answered.
    OwnDisk,
}

/// A region that was started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its era.
    pub era: Era,
    /// What it holds beside notes.
    pub records: usize,
}

/// Writes the directory of a group of this member alone; the other configured members are let in when they come with
/// empty disks. The member must not run; blocks.
pub fn restore(config: &StoreConfig, source: &Source) -> Result<Restored, StoreError> {
    let identity = Identity::new(&config.dir, &config.group, config.member);
    let held = match source {
        Source::Backup(path) => {
            let _lock = DirLock::take(&config.dir)?;
            if config.dir.join("log").exists() || identity.check()? {
                return Err(StoreError::Misconfigured(format!(
                    "{} holds a store: move it away first, or start from it with --from-disk",
                    config.dir.display()
                )));
            }
            read_backup(path).map_err(|error| StoreError::disk("reading the backup", error))?
        }
        Source::OwnDisk => {
            let held = read_own(config, &identity)?;
            aside::set_aside(&config.dir)?;
            held
        }
    };
    let _lock = DirLock::take(&config.dir)?;
    check_region(config, &held)?;
    // A clock that runs behind must not bring an era back.
    let era = Era(config.era.0.max(held.head.position.era.0 + 1));
    let position = Position { era, seq: FIRST.1 };
    let notes = held.notes.into_iter().filter(|(name, _)| !Noted::names(name));
    let state = RaftState::reborn(config.group.region.clone(), position, held.records).with_notes(notes);
    let written = write(config, &state).and_then(|()| {
        let says = DiskSays { line: era.0, ..DiskSays::new(config.disk, Part::Member) };
        DiskFile::create(&config.dir, says)?;
        identity.write()?;
        aside::replaced(&config.dir)
    });
    written.map_err(|error| StoreError::disk("writing the restored store", error))?;
    Ok(Restored { era, records: state.records().len() })
}

/// The place of the first entry, as term and index: everything restored counts as its effect.
const FIRST: (u64, u64) = (1, 1);

fn read_backup(path: &Path) -> io::Result<Loaded> {
    let mut reader = SnapshotFile::open(path.to_owned())?.reader()?;
    let mut held = Loaded { head: reader.head().clone(), records: Vec::new(), notes: Vec::new() };
    for item in &mut reader {
        let (key, value) = item?;
        held.take(&key, &value)?;
    }
    Ok(held)
}

/// What a member's own directory holds, with every entry of its log applied.
fn read_own(config: &StoreConfig, identity: &Identity) -> Result<Loaded, StoreError> {
    let dir = config.dir.as_path();
    let _lock = DirLock::take(dir)?;
    if !identity.check()? {
        return Err(StoreError::Misconfigured(format!("{} holds no store to start from", dir.display())));
    }
    let disk = |error| StoreError::disk("opening the directory", error);
    let mark = MarkFile::open(&dir.join("mark")).map_err(disk)?;
    let log = FoundLog::open(&dir.join("log"), mark.as_ref(), &config.limits)?;
    let Loaded { mut head, records, notes } = StateDisk::open(&dir.join("state"))?.load()?;
    if log.purged() > head.applied {
        let what = "the state machine is older than the start of the log".to_owned();
        return Err(StoreError::Damaged { dir: dir.to_owned(), what });
    }
    let region = config.group.region.clone();
    let mut state = RaftState::restore(region, head.position, records).with_notes(notes);
    let next = head.applied.map_or(0, |id| id.index + 1);
    for entry in log.entries_from(next).map_err(disk)? {
        match entry.payload {
            Payload::Normal(Proposal(order)) => {
                let command = order::decode(order).map_err(disk)?;
                state.apply(entry.log_id.index, &command);
            }
            Payload::Blank | Payload::Membership(_) => {}
        }
    }
    head.position = state.position();
    let records = state.records().iter().map(|(key, record)| (key.clone(), record.clone())).collect();
    let notes = state.notes().iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    Ok(Loaded { head, records, notes })
}

/// Refuses what another region decided.
fn check_region(config: &StoreConfig, held: &Loaded) -> Result<(), StoreError> {
    let wrong = |what: String| Err(StoreError::Misconfigured(what));
    if held.head.position.era == Era(0) {
        return wrong("there is nothing to start from: the region was never founded there".to_owned());
    }
    for (key, _) in &held.records {
        if let RecordKey::Directory(feed) = key
            && *feed.region() != config.group.region
        {
            return wrong(format!("it belongs to region {}, not to {}", feed.region(), config.group.region));
        }
    }
    Ok(())
}

fn write(config: &StoreConfig, state: &RaftState) -> io::Result<()> {
    let me = u64::from(config.member.0);
    let place = log_id(FIRST.0, FIRST.1);
    let alone = Membership::from(BTreeMap::from([(me, EmptyNode {})]));
    let head = Head {
        applied: Some(place),
        membership: StoredMembership::new(Some(place), alone),
        position: state.position(),
    };
    let records: BTreeMap<RecordKey, Option<Record>> =
        state.records().iter().map(|(key, record)| (key.clone(), Some(record.clone()))).collect();
    let expected =
        config.voters.keys().filter(|member| **member != config.member).map(|member: &MemberId| {
            let (name, text) = Noted { disk: 0, out: true, votes: true }.note(*member);
            (name, Some(text))
        });
    let kept = state.notes().iter().map(|(name, text)| (name.clone(), Some(text.clone())));
    let disk = StateDisk::open(&config.dir.join("state"))?;
    disk.apply(&head, &records, &kept.chain(expected).collect())?;
    disk.sync()?;
    drop(FoundLog::open(&config.dir.join("log"), None, &config.limits)?);
    MarkFile::create(&config.dir.join("mark")).map(|_| ())
}
