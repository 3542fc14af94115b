//! What is wanted of times and shares on a machine of one's own (`--strict`), and what a run must keep wherever it runs.
//!
//! Counts of lost and strayed calls are absolute and stand where they are checked.

use std::time::Duration;

/// A slow endpoint counts from so long after the event.
pub(crate) const SLOW_AFTER: Duration = Duration::from_secs(1);

/// A machine on which a call left so late stood still: a gateway takes an endpoint for silent after as long.
pub(crate) const STILL: Duration = Duration::from_millis(100);

/// A case that went wrong on a machine that stood still is played so often at most; the last play counts in any case.
pub(crate) const PLAYS: u32 = 6;

/// Bounds of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    /// The slowest idempotent call after an endpoint, zone or region stopped answering.
    pub(crate) slowest: Duration,
    /// The share of idempotent calls that may see a slow endpoint once the gateway had [`SLOW_AFTER`] to learn.
    pub(crate) slow_share: f64,
    /// A black-holed endpoint is out of rotation after this.
    pub(crate) out: Duration,
    /// The p99 of calls while the table changes, in times of that while it rests.
    pub(crate) changing: f64,
}

impl Bounds {
    /// What is wanted.
    pub(crate) const WANTED: Self = Self {
        slowest: Duration::from_secs(1),
        slow_share: 0.05,
        out: Duration::from_secs(3),
        changing: 1.1,
    };

    /// What holds even where the machine itself stands still for seconds: less than three tries that time out one after
    /// the other, less than the half of a zone's calls that a slow one of two endpoints sees if nobody learns. The p99 of
    /// some hundred calls is whatever the machine makes of it, but no table stops calls for so long.
    pub(crate) const ANYWHERE: Self = Self {
        slowest: Duration::from_secs(12),
        slow_share: 0.35,
        out: Duration::from_secs(30),
        changing: 30.0,
    };
}

/// Says of something wanted whether it holds, in the form that the bench reads.
pub(crate) fn must(what: &str, found: impl std::fmt::Display, held: bool) {
    println!("must | {what} | {found} | {}", if held { "held" } else { "NOT HELD" });
}
