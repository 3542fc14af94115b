//! Clients that write all the time while something is killed beside them, and remember what they were answered and when.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    task::JoinHandle,
    time::{interval, timeout},
};

use crate::wait::until_async;

/// Between two writes of one client.
const PACE: Duration = Duration::from_millis(20);

/// A client whose write is not answered for so long gives it up and makes another one.
pub const GIVEN_UP_AFTER: Duration = Duration::from_millis(300);

/// Writes that are answered between two kills.
const WRITES_BETWEEN: usize = 50;

/// After a kill of all, writes go on within this, the members' start counted in.
pub const AGAIN_WITHIN: Duration = Duration::from_secs(120);

/// What was answered.
#[derive(Default)]
struct Answered {
    numbers: BTreeSet<u32>,
    /// When, in order.
    at: Vec<Instant>,
    refused: u64,
    /// When a write was last not taken.
    last_refused: Option<Instant>,
}

/// Writes until it is ended or let go.
pub struct Writing {
    answered: Arc<Mutex<Answered>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writing {
    /// So many clients for each of these members, which write in this way, each number once; true is an answer.
    pub fn start<F>(members: &[SocketAddr], clients: usize, write: fn(SocketAddr, u32) -> F) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let (answered, next) = (Arc::new(Mutex::new(Answered::default())), Arc::new(AtomicU32::new(0)));
        let client = |at: SocketAddr| {
            let (answered, next) = (Arc::clone(&answered), Arc::clone(&next));
            tokio::spawn(async move {
                let mut pace = interval(PACE);
                loop {
                    pace.tick().await;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let taken = write(at, number).await;
                    let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
                    if taken {
                        answered.numbers.insert(number);
                        answered.at.push(Instant::now());
                    } else {
                        answered.refused += 1;
                        answered.last_refused = Some(Instant::now());
                    }
                }
            })
        };
        let tasks = members.iter().flat_map(|at| (0..clients).map(|_| *at)).map(client).collect();
        Self { answered, tasks }
    }

    fn answered(&self) -> MutexGuard<'_, Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many writes were answered, and how many were not taken.
    pub fn counts(&self) -> (usize, u64) {
        let answered = self.answered();
        (answered.numbers.len(), answered.refused)
    }

    /// How long after a moment a write was last not taken; none if all were.
    pub fn refused_until(&self, moment: Instant) -> Option<Duration> {
        self.answered().last_refused?.checked_duration_since(moment)
    }

    /// Waits until as many more writes are answered as lie between two kills.
    pub async fn goes_on(&self) {
        let wanted = self.counts().0 + WRITES_BETWEEN;
        let enough = async || (self.counts().0 >= wanted).then_some(());
        until_async("writes are answered", AGAIN_WITHIN, enough).await;
    }

    /// The longest time without an answer since a moment; none before there was one after it.
    pub fn gap_since(&self, moment: Instant) -> Option<Duration> {
        let answered = self.answered();
        let since = answered.at.partition_point(|at| *at < moment);
        let first = *answered.at.get(since.checked_sub(1).unwrap_or(since))?;
        let later = answered.at.get(since..).filter(|later| !later.is_empty())?;
        let mut before = first;
        let gaps = later.iter().map(|at| at.duration_since(std::mem::replace(&mut before, *at)));
        gaps.max()
    }

    /// The longest time without an answer since a moment, the time from the last one until now among it.
    pub fn longest_wait_since(&self, moment: Instant) -> Duration {
        let last = self.answered().at.last().copied().unwrap_or(moment);
        self.gap_since(moment).unwrap_or_default().max(last.max(moment).elapsed())
    }

    /// Ends it, and tells which numbers were answered.
    pub fn end(self) -> BTreeSet<u32> {
        self.tasks.iter().for_each(JoinHandle::abort);
        std::mem::take(&mut self.answered().numbers)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Waits for an answer no longer than a client would that knows others to ask.
pub async fn patient(write: impl Future<Output = bool>) -> bool {
    timeout(GIVEN_UP_AFTER, write).await.unwrap_or(false)
}
