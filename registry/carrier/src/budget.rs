//! How many bytes a second may go to a region, on all streams with it together.
//!
//! A frame that may not go yet waits where it is, and its stream gets no credit back for it: so the holder behind it goes
//! on to merge changes of one key, and a slow link carries newest values instead of a queue.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use landbridge_model::Region;
use metrics::Counter;

use crate::metrics::tell_budget;

/// The budgets of all regions that have one.
pub(crate) type Budgets = BTreeMap<Region, Arc<Budget>>;

/// The clock that also moves the runtime's timers, so that what waits is woken when it may go.
#[derive(Clone, Debug, Default)]
struct TimerClock;

impl Clock for TimerClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// The bytes that may go to one region: so many a second, of which a second's worth may be saved up.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_per_second: NonZeroU32,
    bucket: RateLimiter<NotKeyed, InMemoryState, TimerClock, NoOpMiddleware<Instant>>,
}

/// Makes the budgets.
pub(crate) fn budgets(given: &BTreeMap<Region, NonZeroU32>) -> Budgets {
    let budget = |(region, per_second): (&Region, &NonZeroU32)| {
        tell_budget(region, per_second.get());
        (region.clone(), Arc::new(Budget::new(*per_second)))
    };
    given.iter().map(budget).collect()
}

impl Budget {
    pub fn new(bytes_per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(bytes_per_second);
        Self { bytes_per_second, bucket: RateLimiter::direct_with_clock(quota, TimerClock) }
    }

    /// Pays for a frame, or tells how long it has to wait. A frame of more than a second's worth pays a second's worth.
    pub fn pay(&self, bytes: usize) -> Result<(), Duration> {
        let most = self.bytes_per_second;
        let bytes = u32::try_from(bytes)
            .map_or(most, |bytes| most.min(NonZeroU32::new(bytes).unwrap_or(NonZeroU32::MIN)));
        match self.bucket.check_n(bytes) {
            // No more is asked for than the bucket holds.
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(until)) => Err(until.wait_time_from(TimerClock.now())),
        }
    }
}

/// A stream's way out: the budget that it pays from, and the count of frames that had to wait.
pub(crate) struct Toll {
    pub budget: Arc<Budget>,
    pub waited: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_may_go_at_once_and_the_rest_at_its_pace() {
        let budget = Budget::new(NonZeroU32::new(1000).expect("not zero"));

        assert_eq!(budget.pay(1000), Ok(()));
        let wait = budget.pay(500).expect_err("nothing is left");
        assert_eq!(wait, Duration::from_millis(500));
        tokio::time::advance(wait).await;
        assert_eq!(budget.pay(500), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_of_more_than_a_second_s_worth_does_not_wait_for_ever() {
        let budget = Budget::new(NonZeroU32::new(1000).expect("not zero"));

        assert_eq!(budget.pay(70_000), Ok(()));
        assert_eq!(budget.pay(70_000), Err(Duration::from_secs(1)));
    }
}
