//! What a member's disk holds, read without the member: the log applied to the state, records and notes.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, bail};
use landbridge_model::{MemberId, Record, RecordKey};
use landbridge_store::{Applied, NoPeers, Notes, Source, Store, StoreConfig, restore};
use landbridge_tests::region::Region;
use tempfile::TempDir;

use crate::{
    power::{run, text},
    restoring::config,
};

/// Everything that a start from this disk alone would begin with.
#[derive(Debug, PartialEq)]
pub struct Held {
    records: BTreeMap<RecordKey, Record>,
    notes: Notes,
}

/// A copy of a member's disk as it lies there; its process does not run.
pub struct Copied {
    /// Goes with it.
    _folder: TempDir,
    config: StoreConfig,
}

impl Copied {
    pub fn of(region: &Region, member: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = config(region, member)?;
        let from = std::mem::replace(&mut config.dir, folder.path().join("raft"));
        // Journals are allocated far beyond what is in them.
        run("cp", &["-r", "--sparse=always", text(&from), text(&config.dir)])?;
        config.voters.retain(|id, _| *id == MemberId(member));
        Ok(Self { _folder: folder, config })
    }

    /// Reads all of it; the copy is used up.
    pub async fn held(self) -> Result<Held> {
        restore(&self.config, &Source::OwnDisk)?;
        let (store, mut applied) = Store::open(self.config.clone(), Arc::new(NoPeers)).await?;
        let first = applied.recv().await.context("the store tells what it holds")?;
        let Applied::Installed { records, .. } = first else { bail!("first came {first:?}") };
        let held = Held { records: records.into_iter().collect(), notes: store.notes() };
        store.shutdown().await?;
        Ok(held)
    }
}
