//! The clock of Nacos's `lastRefTime`: follows the region's fastest wall clock, and never jumps.
//!
//! SDKs drop a push that is not newer than the last one they saw, from whichever member. So all members follow the
//! fastest of them, and a step of one wall clock moves nobody by more than [`SLEW_MS`] per tick.

use std::collections::BTreeMap;

use landbridge_feed::StreamId;
use landbridge_model::Moment;

/// How much of a difference to the wall clock one tick makes up for.
const SLEW_MS: i64 = 1_000;

/// How far ahead another member's clock may pull.
const AHEAD_MAX_MS: i64 = 60_000;

/// The clock, by this process's own moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    /// What to add to a moment, none before the first tick.
    base: Option<i64>,
    /// How far each member's clock is ahead of the own one.
    ahead: BTreeMap<StreamId, i64>,
}

impl Reference {
    /// One tick: what the wall clock shows.
    pub fn tick(&mut self, now: Moment, unix_ms: u64) {
        let shown = signed(unix_ms) - signed(now.0);
        self.base = Some(match self.base {
            None => shown,
            Some(base) => base + (shown - base).clamp(-SLEW_MS, SLEW_MS),
        });
    }

    /// A member of the region told its wall clock.
    pub fn told(&mut self, now: Moment, stream: StreamId, unix_ms: u64) {
        let own = self.base.unwrap_or_default() + signed(now.0);
        self.ahead.insert(stream, (signed(unix_ms) - own).clamp(0, AHEAD_MAX_MS));
    }

    /// It is gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.ahead.remove(&stream);
    }

    /// How far the fastest member is ahead; above 500 ms someone should look at the clocks.
    pub fn ahead_ms(&self) -> u64 {
        self.ahead.values().copied().max().unwrap_or(0).unsigned_abs()
    }

    /// What the region's fastest clock shows, in unix milliseconds.
    pub fn at(&self, now: Moment) -> u64 {
        let own = self.base.unwrap_or_default().saturating_add(signed(now.0)).max(0).unsigned_abs();
        own.saturating_add(self.ahead_ms())
    }

    /// A number past `last`, and not behind the region's fastest clock.
    pub fn next(&self, now: Moment, last: u64) -> u64 {
        self.at(now).max(last.saturating_add(1))
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_rises_though_the_wall_clock_is_set_back() {
        let mut clock = Reference::default();
        clock.tick(Moment(0), 100_000);
        let first = clock.next(Moment(10), 0);
        clock.tick(Moment(1_000), 40_000);

        assert_eq!(first, 100_010);
        assert!(clock.next(Moment(1_001), first) > first);
    }

    #[test]
    fn a_wall_clock_that_leaps_ahead_is_followed_slowly() {
        let mut clock = Reference::default();
        clock.tick(Moment(0), 100_000);
        clock.tick(Moment(1_000), 900_000_000);

        assert_eq!(clock.next(Moment(1_000), 0), 102_000);
    }

    #[test]
    fn the_fastest_member_pulls_all_but_not_by_more_than_a_minute() {
        let mut clock = Reference::default();
        clock.tick(Moment(0), 100_000);
        clock.told(Moment(0), StreamId(1), 103_000);
        assert_eq!(clock.next(Moment(0), 0), 103_000);

        clock.told(Moment(0), StreamId(2), 900_000);
        assert_eq!(clock.next(Moment(0), 0), 160_000);

        clock.forget(StreamId(2));
        assert_eq!(clock.next(Moment(0), 0), 103_000);
    }

    #[test]
    fn two_views_in_one_millisecond_differ() {
        let mut clock = Reference::default();
        clock.tick(Moment(0), 100_000);

        assert_eq!(clock.next(Moment(0), 100_000), 100_001);
    }
}
