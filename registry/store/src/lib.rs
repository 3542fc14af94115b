//! One member's part in its region's Raft group, on disk: the only room that names openraft.
//!
//! Invariant: an answer to a proposal leaves after the proposal is durable on a majority.
//! Invariant: a member whose disk lost what it had promised notices, and does not vote before it was admitted anew.

mod admission;
mod answering;
mod aside;
mod backup;
mod beginning;
mod changing;
mod codec;
mod config;
mod disk;
mod failed;
mod failure;
mod halfway;
mod identity;
mod incoming;
mod log;
mod manifest;
mod mark;
mod meters;
mod network;
mod opening;
mod order;
mod refill;
mod restore;
mod room;
mod rpc;
mod state;
mod store;
mod transport;
mod types;
mod work;

#[cfg(test)]
mod tests;

pub use backup::{Backup, BackupSays, verify_backup};
pub use changing::{Change, ChangeError, Follower, Members, Places};
pub use config::{GroupId, StoreConfig, StoreLimits, Timing};
pub use failure::{ProposeError, StoreError};
pub use restore::{Restored, Source, restore};
pub use room::Left;
pub use state::{Applied, Notes};
pub use store::{Standing, Store};
pub use transport::{Call, CallError, NoPeers, Rpc, Transport};
pub use work::Work;
