//! What the store counts, for the metrics page and for tests.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    commits: AtomicU64,
    entries: AtomicU64,
}

impl Meters {
    /// One group commit of so many entries took so long.
    pub(crate) fn committed(&self, entries: usize, took: Duration) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        metrics::counter!("landbridge_store_entries_total").increment(entries);
        metrics::histogram!("landbridge_store_commit_seconds").record(took.as_secs_f64());
    }

    /// A decision was refused because the disk is full.
    pub(crate) fn refused(&self) {
        metrics::counter!("landbridge_store_full_refusals_total").increment(1);
    }

    /// Group commits and the entries in them.
    pub(crate) fn commits(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed))
    }
}
