//! What is wanted of times and shares on a machine of one's own, and what a run on a busy one must at least keep.
//!
//! Counts of lost and strayed calls are absolute and stand where they are checked.

use std::time::Duration;

/// The slowest idempotent call after an endpoint, zone or region stopped answering: this is wanted.
pub(crate) const SLOWEST_WANTED: Duration = Duration::from_millis(1_000);

/// This must hold even where the machine itself stands still for a while.
pub(crate) const SLOWEST_MUST: Duration = Duration::from_millis(3_000);

/// A slow endpoint counts from so long after the event.
pub(crate) const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The share of idempotent calls that may see a slow endpoint after that: this is wanted.
pub(crate) const SLOW_SHARE_WANTED: f64 = 0.05;

/// This must hold.
pub(crate) const SLOW_SHARE_MUST: f64 = 0.15;

/// A black-holed endpoint is out of rotation after this: this is wanted.
pub(crate) const OUT_WANTED: Duration = Duration::from_secs(3);

/// This must hold.
pub(crate) const OUT_MUST: Duration = Duration::from_secs(6);
