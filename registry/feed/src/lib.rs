//! The one replication machine and the join: everything one incarnation of one writer has said, in order, and what all
//! listed writers together mean.
//!
//! Invariant: nothing here looks at a clock, a socket, a disk or chance; the same inputs give the same effects.
//! Invariant: silence deletes nothing; a copy disappears only when its feed's close is known and every need is reached.

mod beats;
mod body;
mod catalog;
mod check;
mod choice;
pub mod copy;
mod credit;
mod digest;
mod directory;
mod follower;
pub mod holder;
mod holdings;
mod importer;
pub mod input;
mod lens;
pub mod look;
pub mod message;
mod pulse;
mod reads;
mod ring;
pub mod settings;
mod shadow;
mod stream;
mod supplier;
mod verify;
mod weight;

pub use copy::Copy;
pub use digest::{bucket_of, hash_of};
pub use holder::Holder;
pub use input::{Effect, Input, Loss, Peer, RegionStatus, Role, Shown, Standing, StreamId};
pub use look::{Difference, Differs, LOOK_KEYS_MAX, Look};
pub use message::{BUCKETS, BucketContent, Digests, Message};
pub use settings::{Limits, Settings};
pub use weight::MESSAGE_BYTES_MIN;

#[cfg(test)]
mod tests;
