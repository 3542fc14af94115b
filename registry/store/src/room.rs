//! Whether the disk has room for more: below a reserve nothing that grows the state is proposed, so that what is under way, what
//! frees room and what the group needs for itself can still be written.
//!
//! Invariant: a refusal leaves nothing behind, and ends by itself as soon as there is room.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use landbridge_registry_core::Command;

use crate::order;

/// The disk of one store.
#[derive(Debug)]
pub(crate) struct Room {
    dir: PathBuf,
    reserve_bytes: AtomicU64,
}

impl Room {
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64) -> Self {
        Self { dir, reserve_bytes: AtomicU64::new(reserve_bytes) }
    }

    /// Whether an order may be proposed as far as the disk is concerned.
    pub(crate) fn takes(&self, order: &Bytes) -> bool {
        self.is_there() || !order::decode(order.clone()).is_ok_and(|command| grows(&command))
    }

    /// A file system that does not say how much is left has room until it refuses a write.
    fn is_there(&self) -> bool {
        let reserve_bytes = self.reserve_bytes.load(Ordering::Relaxed);
        rustix::fs::statvfs(&self.dir)
            .map_or(true, |said| said.f_bavail.saturating_mul(said.f_frsize) >= reserve_bytes)
    }

    /// As if the disk had more or less left.
    #[cfg(test)]
    pub(crate) fn reserve(&self, bytes: u64) {
        self.reserve_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Whether a command keeps more than there was. What the group and its feeds need for themselves never counts, notes among it:
/// they are few, and the group's own are among them.
fn grows(command: &Command) -> bool {
    match command {
        Command::PutPersistent { .. } | Command::Define { .. } | Command::SetOverlay { .. } => true,
        Command::SetPolicy { policy, .. } => policy.is_some(),
        Command::SetImport { policy, .. } => policy.is_some(),
        Command::Found { .. }
        | Command::Open { .. }
        | Command::Close { .. }
        | Command::Settle { .. }
        | Command::Note { .. }
        | Command::SetLink { .. }
        | Command::SetBridge { .. }
        | Command::Undefine { .. }
        | Command::DeletePersistent { .. }
        | Command::SetHealth { .. }
        | Command::AssignPort { .. }
        | Command::ReleasePort { .. }
        | Command::ClearOverlay { .. } => false,
    }
}
