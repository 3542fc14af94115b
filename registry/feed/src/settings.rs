//! What a holder is told once: where it stands, what it is, and its bounds.

use landbridge_model::Region;

use crate::input::Role;

/// Who a holder is and which bounds it keeps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its region.
    pub region: Region,
    /// What it is there.
    pub role: Role,
    /// Its bounds.
    pub limits: Limits,
}

/// Every bound of a holder by name. Ticks are the holder's own, one a second.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Changes that a feed's ring remembers; a follower further behind than that is reconciled.
    pub ring_changes_max: usize,
    /// Bytes that a feed's ring remembers, by weight; likewise.
    pub ring_bytes_max: usize,
    /// Bytes on their way on one stream, by weight; nothing more is said until some have drained.
    pub credit_bytes: usize,
    /// The greatest weight of one message of records; a step of a feed above it travels by reconcile.
    pub bulk_bytes_max: usize,
    /// Ticks without an advancing heartbeat until a feed's records are marked unverified (R26).
    pub unverified_ticks: u64,
    /// Ticks without an advancing heartbeat of any feed until a region is suspect.
    pub stale_ticks: u64,
    /// Ticks without an advancing heartbeat of any feed until a region is frozen.
    pub frozen_ticks: u64,
    /// Ticks without progress until another supplier of a feed is asked (R21).
    pub switch_ticks: u64,
    /// Ticks for which a supplier that failed so is not preferred again.
    pub retry_ticks: u64,
    /// Ticks between two verifications that a writer makes of its own feed (R25).
    pub verify_ticks: u64,
    /// Streams at once; one more is refused.
    pub streams_max: usize,
    /// Feeds one peer may want on a stream; one more and the stream is refused.
    pub wants_per_stream_max: usize,
    /// Feeds one directory may list; one more and the stream it came on is refused.
    pub directory_max: usize,
    /// Regions a holder keeps; further ones are not followed.
    pub regions_max: usize,
    /// Records one feed may bring over a wire; one more and the stream is refused.
    pub feed_records_max: usize,
    /// Heartbeats one message may bring; one more and the stream is refused.
    pub beats_max: usize,
}

impl Limits {
    /// The bounds of the specification; a process's configuration starts from these.
    pub const STANDARD: Self = Self {
        ring_changes_max: 8192,
        ring_bytes_max: 2 << 20,
        credit_bytes: 256 << 10,
        bulk_bytes_max: 64 << 10,
        unverified_ticks: 10,
        stale_ticks: 3,
        frozen_ticks: 10,
        switch_ticks: 3,
        retry_ticks: 30,
        verify_ticks: 60,
        streams_max: 1024,
        wants_per_stream_max: 4096,
        directory_max: 1024,
        regions_max: 64,
        feed_records_max: 4_000_000,
        beats_max: 8192,
    };
}
