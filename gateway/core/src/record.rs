//! How an endpoint's calls ended lately: exact counts in ten slices of a second.
//!
//! Counts and not an average over time: in a burst an average can hide that everything failed.
//!
//! Invariant: a slice holds only calls of its own second; losing a race to another core loses one call of many.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use landbridge_model::Moment;

/// How many slices are kept.
const SLICES: usize = 10;

/// How long one slice lasts.
const SLICE_MS: u64 = 1_000;

/// The newest counts of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Number of the slice (from 1) in the high half, then 16 bits of calls and 16 bits of failures.
    slices: [AtomicU64; SLICES],
}

/// The number of the slice a moment lies in, from 1.
fn number(now: Moment) -> u32 {
    (now.0 / SLICE_MS) as u32 + 1
}

fn unpacked(word: u64) -> (u32, u16, u16) {
    ((word >> 32) as u32, (word >> 16) as u16, word as u16)
}

fn packed(number: u32, calls: u16, failures: u16) -> u64 {
    (u64::from(number) << 32) | (u64::from(calls) << 16) | u64::from(failures)
}

impl Record {
    /// Counts a call.
    pub(crate) fn count(&self, now: Moment, failed: bool) {
        let number = number(now);
        let slice = &self.slices[number as usize % SLICES];
        let word = slice.load(Relaxed);
        let (written, calls, failures) = match unpacked(word) {
            (written, calls, failures) if written == number => (written, calls, failures),
            _ => (number, 0, 0),
        };
        let failures = failures.saturating_add(u16::from(failed));
        let next = packed(written, calls.saturating_add(1), failures);
        let _ = slice.compare_exchange(word, next, Relaxed, Relaxed);
    }

    /// Calls and failures of the last ten seconds, none from before `since`.
    pub(crate) fn counted(&self, since: Moment, now: Moment) -> (u32, u32) {
        let (newest, first) = (number(now), if since.0 == 0 { 0 } else { number(since) });
        let fresh = |written: u32| {
            written > 0 && written >= first && written <= newest && newest - written < SLICES as u32
        };
        let words = self.slices.iter().map(|slice| unpacked(slice.load(Relaxed)));
        words.filter(|(written, ..)| fresh(*written)).fold((0, 0), |(all, bad), (_, calls, failures)| {
            (all + u32::from(calls), bad + u32::from(failures))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_forgotten_after_ten_seconds() {
        let record = Record::default();
        record.count(Moment(0), true);
        record.count(Moment(500), false);
        record.count(Moment(9_000), true);

        assert_eq!(record.counted(Moment(0), Moment(9_999)), (3, 2));
        assert_eq!(record.counted(Moment(0), Moment(10_000)), (1, 1));
        assert_eq!(record.counted(Moment(0), Moment(60_000)), (0, 0));
    }

    #[test]
    fn a_new_count_leaves_out_what_was_before() {
        let record = Record::default();
        (0..5).for_each(|second| record.count(Moment(second * 1_000), true));

        assert_eq!(record.counted(Moment(3_000), Moment(5_000)), (2, 2));
    }
}
