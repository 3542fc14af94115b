//! A copy of everything a region has decided, at one moment, while it goes on deciding.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::Bytes;

use crate::{failure::ProposeError, state::snapshot::SnapshotFile, store::Store};

/// A backup, complete on disk under no name; it goes with the last reader.
#[derive(Debug)]
pub struct Backup {
    file: File,
    bytes: u64,
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupSays {
    /// The era of the region.
    pub era: u64,
    /// The last change in it.
    pub seq: u64,
    /// Its records and notes.
    pub items: u64,
}

impl Backup {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A part of it, empty at its end; blocks.
    pub fn part(&self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut part = vec![0; bytes_max.min(left)];
        self.file.read_exact_at(&mut part, offset)?;
        Ok(part.into())
    }
}

/// Reads a backup to its end, to see that it is whole; blocks.
pub fn verify_backup(path: &Path) -> io::Result<BackupSays> {
    let mut reader = SnapshotFile::open(path.to_owned())?.reader()?;
    let position = reader.head().position;
    let mut items = 0;
    for item in &mut reader {
        item?;
        items += 1;
    }
    Ok(BackupSays { era: position.era.0, seq: position.seq, items })
}

impl Store {
    /// A copy of what this member holds. With `fresh` that is everything answered before the call, and needs a majority.
    pub async fn backup(&self, fresh: bool) -> Result<Backup, ProposeError> {
        if fresh {
            self.read_index().await?;
        }
        let builder =
            self.inner.raft.with_state_machine(|machine| Box::pin(async move { machine.builder() }));
        let builder = builder.await.map_err(|fatal| self.inner.fatal(&fatal))?;
        let built = builder.copy().await;
        let unwritten = |error: io::Error| {
            tracing::warn!(event = "backup_failed", %error);
            ProposeError::Unavailable("the backup could not be written: see this member's log")
        };
        let path = built.map_err(unwritten)?;
        let opened = File::open(&path).and_then(|file| {
            let bytes = file.metadata()?.len();
            fs::remove_file(&path)?;
            Ok(Backup { file, bytes })
        });
        opened.map_err(unwritten)
    }
}
