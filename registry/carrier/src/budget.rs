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
use tokio::sync::Mutex;

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
    /// Whose frame waits for bytes; the others queue for it in the order in which they came.
    turn: Mutex<()>,
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
        Self {
            bytes_per_second,
            bucket: RateLimiter::direct_with_clock(quota, TimerClock),
            turn: Mutex::default(),
        }
    }

    /// Whether a frame of so many bytes may go at once; then it is paid for.
    pub fn pay(&self, bytes: usize) -> bool {
        self.turn.try_lock().is_ok_and(|_turn| self.take(bytes).is_ok())
    }

    /// Waits until a frame of so many bytes has been paid for. Who came first goes first, whatever the others' size.
    pub async fn paid(self: Arc<Self>, bytes: usize) {
        let _turn = self.turn.lock().await;
        while let Err(wait) = self.take(bytes) {
            tokio::time::sleep(wait).await;
        }
    }

    /// A frame of more than a second's worth pays a second's worth.
    fn take(&self, bytes: usize) -> Result<(), Duration> {
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

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(NonZeroU32::new(1000).expect("not zero")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_may_go_at_once_and_the_rest_at_its_pace() {
        let (budget, begun) = (budget(), tokio::time::Instant::now());

        assert!(budget.pay(1000) && !budget.pay(500));
        budget.clone().paid(500).await;

        assert!((500..=501).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_of_more_than_a_second_s_worth_does_not_wait_for_ever() {
        let (budget, begun) = (budget(), tokio::time::Instant::now());

        assert!(budget.pay(70_000));
        budget.clone().paid(70_000).await;

        assert!((1000..=1001).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn many_small_frames_do_not_hold_back_a_large_one_that_came_before_them() {
        let (budget, begun) = (budget(), tokio::time::Instant::now());
        assert!(budget.pay(1000));
        let greedy = tokio::spawn({
            let budget = budget.clone();
            async move {
                for _ in 0..1000 {
                    budget.clone().paid(10).await;
                }
            }
        });
        tokio::task::yield_now().await;

        budget.paid(900).await;

        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(!greedy.is_finished());
        greedy.abort();
    }
}
