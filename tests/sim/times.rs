//! The times of the simulated world, in ticks: one stands for three seconds of production, and every process counts one.

use landbridge_registry_core::Limits;

/// What one tick stands for, in seconds.
pub const TICK_S: i64 = 3;

pub const CLOSE: i64 = 20;
pub const UNVERIFIED: i64 = 4;
pub const BEAT: i64 = 2;
pub const LEASE: i64 = 10;
pub const TOMBSTONE: i64 = 40;
/// After how long a broken connection is found at most.
pub const SESSION: i64 = 7;
pub const HALF_DEAD: i64 = 20;
pub const DRAIN: i64 = 20;
/// After how long a client is back at most.
pub const BACK: i64 = 14;
/// What a change needs at most to reach everybody in calm times.
pub const MARGIN: i64 = 16;
/// What a heartbeat needs at most, over relays and slow links.
pub const BEAT_LAG: i64 = 22;

const TICK_MS: u32 = 1000;

pub fn member_limits() -> Limits {
    Limits {
        close_ticks: CLOSE as u32,
        unverified_ticks: UNVERIFIED as u32,
        reopen_ticks: 4,
        forward_ticks: 1,
        beat_interval_ms: BEAT as u32 * TICK_MS,
        beat_unhealthy_ms: 5 * TICK_MS,
        beat_remove_ms: LEASE as u32 * TICK_MS,
        tombstone_ticks: TOMBSTONE as u32,
        challenge_ticks: 3,
        drain_ticks: DRAIN as u32,
        warmup_ticks: u32::MAX,
        ..Limits::STANDARD
    }
}

pub fn feed_limits(ring: usize, credit: usize) -> landbridge_feed::Limits {
    landbridge_feed::Limits {
        ring_changes_max: ring,
        credit_bytes: credit,
        bulk_bytes_max: credit / 4,
        unverified_ticks: UNVERIFIED as u64,
        stale_ticks: 2,
        frozen_ticks: UNVERIFIED as u64,
        switch_ticks: 2,
        retry_ticks: 10,
        verify_ticks: 10,
        ..landbridge_feed::Limits::STANDARD
    }
}
