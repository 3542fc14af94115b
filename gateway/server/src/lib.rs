//! The gateway as a process: one tower stack per core, connection pools, and a table that follows the registry.
//!
//! Invariant: cores share one immutable view and atomics; no call waits for another core, a lock or a queue.

pub mod config;

pub use config::Config;
