//! Whether one more call keeps to a rate: a leaky bucket in one number (GCRA), for all cores at once.
//!
//! The number is the moment at which everything that passed is paid for. It means the same under another rate, so a
//! rate may change between two calls and nothing that passed is forgotten.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nanoseconds of a second.
const SECOND_NS: f64 = 1e9;

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second, above 0.
    pub per_second: f64,
    /// Calls that may come at once; below 1 it counts as 1.
    pub burst: f64,
}

impl Rate {
    /// A part of this rate, from 0 to 1.
    pub fn part(self, part: f64) -> Self {
        Self { per_second: self.per_second * part, burst: self.burst * part }
    }
}

/// What passed and is not paid for yet.
#[derive(Debug, Default)]
pub struct Bucket {
    paid_at_ns: AtomicU64,
}

impl Bucket {
    /// Lets one call pass, or tells in how many nanoseconds one may. `now_ns` counts from any fixed moment.
    pub fn take(&self, now_ns: u64, rate: Rate) -> Result<(), u64> {
        let cost_ns = (SECOND_NS / rate.per_second) as u64;
        let ahead_ns = (SECOND_NS / rate.per_second * (rate.burst - 1.0).max(0.0)) as u64;
        let mut wait_ns = 0;
        let pay = |paid_at: u64| {
            let paid_at = paid_at.max(now_ns);
            wait_ns = (paid_at - now_ns).saturating_sub(ahead_ns);
            (wait_ns == 0).then(|| paid_at.saturating_add(cost_ns))
        };
        match self.paid_at_ns.fetch_update(Relaxed, Relaxed, pay) {
            Ok(_) => Ok(()),
            Err(_) => Err(wait_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Rate = Rate { per_second: 10.0, burst: 5.0 };
    const MS: u64 = 1_000_000;

    /// Calls that pass when one comes each millisecond.
    fn passed(bucket: &Bucket, rate: Rate, ms: std::ops::Range<u64>) -> usize {
        ms.filter(|now| bucket.take(now * MS, rate).is_ok()).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let bucket = Bucket::default();

        assert_eq!((0..9).filter(|_| bucket.take(0, TEN).is_ok()).count(), 5);
        assert_eq!(bucket.take(0, TEN), Err(100 * MS));
        assert_eq!(passed(&bucket, TEN, 1..1_001), 10);
        assert_eq!(passed(&bucket, TEN, 60_000..60_001 + 50), 5, "what is not used is saved up to the burst");
    }

    #[test]
    fn a_changed_rate_holds_at_once_and_gives_no_new_burst() {
        let bucket = Bucket::default();
        passed(&bucket, TEN, 0..1_000);

        let slow = passed(&bucket, TEN.part(0.2), 1_000..6_000);
        let fast = passed(&bucket, TEN, 6_000..7_000);

        assert!((9..=11).contains(&slow), "{slow} in five seconds at 2 a second");
        assert!((9..=11).contains(&fast), "{fast} in a second at 10 a second");
    }

    #[test]
    fn less_than_one_a_second_passes_now_and_then() {
        let rate = Rate { per_second: 0.5, burst: 0.1 };

        assert_eq!(passed(&Bucket::default(), rate, 0..10_000), 5);
    }
}
