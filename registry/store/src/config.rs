//! What a store is told at its start.

use std::{collections::BTreeMap, path::PathBuf};

use ecow::EcoString;
use landbridge_model::{Era, MemberId, Region};

use crate::work::Work;

/// Which group a store belongs to; a directory belongs to one group and one member for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupId {
    /// The deployment, so that two deployments that use one region name never mix.
    pub deployment: EcoString,
    /// The region.
    pub region: Region,
}

/// What a store is told at its start.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where it lives; created if it is not there.
    pub dir: PathBuf,
    /// Who this is.
    pub member: MemberId,
    /// To which group it belongs.
    pub group: GroupId,
    /// The voters of the very first start, with where their Raft port is reached; later only the addresses count.
    pub voters: BTreeMap<MemberId, EcoString>,
    /// The era that a first start founds: unix milliseconds. Not looked at later.
    pub era: Era,
    /// The number of the disk, if it is used for the first time: drawn by chance, and not looked at later.
    pub disk: u64,
    /// Its bounds.
    pub limits: StoreLimits,
    /// Its paces.
    pub timing: Timing,
    /// Where what blocks is done.
    pub work: Work,
}

/// The bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Recent log entries kept in memory, in bytes; older ones are read from disk.
    pub tail_bytes_max: usize,
    /// One group commit, in bytes; what does not fit goes into the next.
    pub commit_bytes_max: usize,
    /// Log writes that wait for the disk; beyond it the group waits.
    pub log_queue_max: usize,
    /// Events that wait for the driver; beyond it nothing more is applied.
    pub applied_queue_max: usize,
    /// Proposals that wait for the group; beyond it proposers wait.
    pub proposals_max: usize,
    /// Entries after which a snapshot is made.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot for members that lag.
    pub kept_entries: u64,
    /// One part of a snapshot on the wire, in bytes.
    pub snapshot_part_bytes: usize,
    /// A snapshot that another member sends, in bytes; a longer one is refused.
    pub snapshot_bytes_max: u64,
    /// Below so many free bytes on its disk a leader refuses what grows the state and lets another one lead; below a quarter of
    /// them a member writes nothing. 0: a disk is used until a write fails, which ends the process.
    pub reserve_bytes: u64,
}

impl StoreLimits {
    /// Bounds for a directory of some hundred feeds and some ten thousand records.
    pub const ORDINARY: Self = Self {
        tail_bytes_max: 4 << 20,
        commit_bytes_max: 4 << 20,
        log_queue_max: 1024,
        applied_queue_max: 256,
        proposals_max: 1024,
        snapshot_entries: 20_000,
        kept_entries: 10_000,
        snapshot_part_bytes: 1 << 20,
        snapshot_bytes_max: 4 << 30,
        reserve_bytes: 64 << 20,
    };
}

/// The paces of a group, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// The shortest silence after which a member stands for election.
    pub election_min_ms: u64,
    /// The longest, and for how long a heard leader is believed in.
    pub election_max_ms: u64,
    /// How long a proposal or a read waits for a majority before it is answered as unavailable.
    pub answer_ms: u64,
}

impl Timing {
    /// A leader that dies is replaced within a second, on disks that sync within some ten milliseconds.
    pub const ORDINARY: Self =
        Self { heartbeat_ms: 100, election_min_ms: 250, election_max_ms: 400, answer_ms: 5_000 };
}
