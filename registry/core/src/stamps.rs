//! Gives stamps: a hybrid clock that is never behind any record this member has seen (R10).

use landbridge_model::{MemberId, Moment, Mutant, Stamp, planted};

/// The giver of one member's stamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamps {
    member: MemberId,
    last: u64,
    told: Option<(Moment, u64)>,
}

impl Stamps {
    pub fn new(member: MemberId) -> Self {
        Self { member, last: 0, told: None }
    }

    /// Notes what the wall clock showed at this moment.
    pub fn tell(&mut self, now: Moment, unix_ms: u64) {
        self.told = Some((now, unix_ms));
    }

    /// The wall clock, carried on from the last telling.
    pub fn unix_ms(&self, now: Moment) -> u64 {
        self.told.map_or(0, |(at, unix_ms)| unix_ms.saturating_add(now.since(at)))
    }

    /// The next stamp: past the wall clock, the last one given and the greatest clock seen in any record.
    pub fn next(&mut self, now: Moment, seen: u64) -> Stamp {
        let seen = if planted(Mutant::BareClock) { 0 } else { seen };
        let past = self.last.max(seen).saturating_add(1);
        self.last = past.max(Stamp::clock_at(self.unix_ms(now)));
        Stamp { clock: self.last, member: self.member }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_passes_every_stamp_seen_whatever_the_clock_says() {
        let mut stamps = Stamps::new(MemberId(1));
        stamps.tell(Moment(0), 1_000);
        let seen = Stamp::clock_at(9_000);

        assert!(stamps.next(Moment(5), seen).clock > seen);
    }

    #[test]
    fn stamps_rise_though_the_wall_clock_is_set_back() {
        let mut stamps = Stamps::new(MemberId(1));
        stamps.tell(Moment(0), 9_000);
        let before = stamps.next(Moment(1), 0);
        stamps.tell(Moment(2), 1_000);

        assert!(stamps.next(Moment(3), 0) > before);
    }

    #[test]
    fn a_stamp_shows_the_wall_clock_between_two_tellings() {
        let mut stamps = Stamps::new(MemberId(1));
        stamps.tell(Moment(100), 5_000);

        assert_eq!(stamps.next(Moment(350), 0).unix_ms(), 5_250);
    }
}
