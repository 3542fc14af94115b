//! A nouns-only face of a registry: what a gateway follows and keeps, and what the command line asks.
//!
//! Invariant: a gateway that has once had a table serves from one, whatever the registries do (follower and keepsake).
//! Invariant: no type of a wire or of the replication machine is needed to use this crate.

pub mod table;

mod shelved;

pub mod follower;
/// How the table is made of what a holder shows: for those who drive a holder themselves.
pub mod join;
pub mod keepsake;

pub mod admin;
pub mod presence;

mod metrics;

pub use admin::{Admin, AdminError};
pub use follower::{Carrying, FollowConfig, Follower, Holding, Target, TargetState};
pub use presence::Presence;
pub use shelved::Shelved;
pub use table::{Endpoint, RegionView, Standing, Table};
