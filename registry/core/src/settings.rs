//! What a member's core is set to; times that expire things count own ticks (R22).

use ecow::EcoString;
use landbridge_model::{MemberId, Region};

/// Everything a member's core needs to know about itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its region.
    pub region: Region,
    /// Its number there.
    pub member: MemberId,
    /// Where others follow its feed, `host:port`.
    pub address: EcoString,
    /// How many members the region has; a lone one waits for nobody's heartbeats (R14).
    pub members: usize,
    /// Fresh for each start of the process: the nonces of `open` come from it.
    pub seed: u64,
    /// How instances of other regions appear to plain clients.
    pub visibility: Visibility,
    /// Times and bounds.
    pub limits: Limits,
    /// Bounds of the feed machine.
    pub feed: landbridge_feed::Limits,
}

/// How instances of other regions appear to plain clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// When too few of the own region are healthy.
    Failover,
    /// Always, beside the own region's.
    Merge,
    /// Never.
    Hidden,
    /// When too few of the own region are healthy, and then as the own region's gateways, at the service's port.
    Gateway {
        /// The first and the last port that services may be given.
        ports: (u16, u16),
    },
}

/// Times and bounds of a member; [`Limits::STANDARD`] holds the values of the feeds specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Silence after which the leader closes a feed (R3).
    pub close_ticks: u32,
    /// Silence after which a feed is no reason to wait with READY (R14).
    pub unverified_ticks: u32,
    /// How long an `open` waits before it is proposed again.
    pub reopen_ticks: u32,
    /// How long a forwarded beat waits for its answer (R11).
    pub forward_ticks: u32,
    /// How often a client is to beat unless its metadata says otherwise.
    pub beat_interval_ms: u32,
    /// Silence after which a beating instance is unhealthy, likewise.
    pub beat_unhealthy_ms: u32,
    /// Silence after which it is removed, likewise.
    pub beat_remove_ms: u32,
    /// How long a tombstone outlives the last older record in sight (R12).
    pub tombstone_ticks: u32,
    /// How often a connection hidden by a tombstone is asked for a sign of life (R24).
    pub challenge_ticks: u32,
    /// How long a drain waits for clients to move.
    pub drain_ticks: u32,
    /// How long READY may be missed before questions are answered anyway.
    pub warmup_ticks: u32,
    /// How long an empty service that nobody defined is remembered.
    pub empty_service_ticks: u32,
    /// Fewer healthy local instances than this let remote ones appear (failover).
    pub failover_min: usize,
    /// After so long.
    pub failover_ticks: u32,
    /// And so long after enough are back they vanish.
    pub failover_linger_ticks: u32,
    /// Lapses within this time are one event.
    pub lapse_window_ticks: u32,
    /// A lapse of more than this share of all leases, in percent, and of more than `lapse_floor` leases is held.
    pub lapse_percent: usize,
    /// See `lapse_percent`.
    pub lapse_floor: usize,
    /// How long one look at held leases takes; two that find the same release them.
    pub hold_look_ticks: u32,
    /// How long a hold lasts at most.
    pub hold_max_ticks: u32,
    /// Losses of another region within this time are one event.
    pub import_window_ticks: u32,
    /// A loss of more than this share of what a region shows, in percent, and of more than `import_floor` instances is held.
    pub import_percent: usize,
    /// See `import_percent`.
    pub import_floor: usize,
    /// The most instances held back of one region; what is lost beyond it is let go.
    pub import_held_max: usize,
    /// The most instances in one publish of one connection.
    pub batch_max: usize,
    /// The most claims of this member; beyond it new ones are refused.
    pub claims_max: usize,
    /// The most tombstones of this member; beyond it one is written only where it hides something in sight.
    pub tombstones_max: usize,
}

impl Limits {
    /// The values of the feeds specification, section 9.
    pub const STANDARD: Self = Self {
        close_ticks: 60,
        unverified_ticks: 10,
        reopen_ticks: 2,
        forward_ticks: 1,
        beat_interval_ms: 5_000,
        beat_unhealthy_ms: 15_000,
        beat_remove_ms: 30_000,
        tombstone_ticks: 120,
        challenge_ticks: 3,
        drain_ticks: 60,
        warmup_ticks: 30,
        empty_service_ticks: 60,
        failover_min: 1,
        failover_ticks: 2,
        failover_linger_ticks: 30,
        lapse_window_ticks: 10,
        lapse_percent: 15,
        lapse_floor: 50,
        hold_look_ticks: 15,
        hold_max_ticks: 600,
        import_window_ticks: 10,
        import_percent: 30,
        import_floor: 100,
        import_held_max: 1_000_000,
        batch_max: 10_000,
        claims_max: 4_000_000,
        tombstones_max: 1_000_000,
    };
}
