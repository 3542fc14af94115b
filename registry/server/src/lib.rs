//! A registry member as a process: Nacos and operators at its front doors, feeds at its side door, one core behind them.
//!
//! Invariant: reads take the published window; only writes reach the core, and only through its queue.

pub mod config;
pub mod metrics;

pub mod peers;

pub mod strangers;

mod member;

mod answer;
mod auth;
mod beats;
mod desk;
mod driver;
mod events;
mod fuzzy;
mod knocks;
mod labels;
mod orders;
mod probes;
mod region;
mod session;
mod state;
mod upstream;
mod window;

mod egress;
mod ingress;

pub use config::{CompanyConfig, Config, ListedIn};
pub use ingress::nacos_routes;
pub use landbridge_store::{BackupSays, Restored, Source, verify_backup};
pub use member::{Failure, run};
pub use region::restore;
