//! Clients that write persistent instances all the time, and remember what they were answered.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use landbridge_tests::{region::Region, wait::within};
use tokio::{task::JoinHandle, time::interval};

use crate::clients::{persist, shown};

/// Between two writes of one client.
const PACE: Duration = Duration::from_millis(20);

/// Instances of one service.
const PER_SERVICE: u32 = 500;

/// What was answered by any member is shown by all others within this.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);

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

/// Writes to every one of these members until it is ended.
pub struct Writing {
    answered: Arc<Mutex<Answered>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writing {
    /// One client for each member, which waits for each answer.
    pub fn start(members: &[SocketAddr]) -> Self {
        Self::with(members, 1, keep)
    }

    /// So many clients for each member, which write in this way; true is an answer.
    pub fn with<F>(members: &[SocketAddr], clients: usize, write: fn(SocketAddr, u32) -> F) -> Self
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

    /// Ends it without a look at what is there.
    pub fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
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

    /// Ends it, and holds that every member comes to show everything that was answered: one that follows applies an
    /// entry a little after the member that answered for it.
    pub async fn end(self, region: &Region) -> Result<usize> {
        self.tasks.iter().for_each(JoinHandle::abort);
        let numbers = self.answered().numbers.clone();
        let services: BTreeSet<String> = numbers.iter().map(|number| service_of(*number)).collect();
        for member in region.members() {
            let mut lost = numbers.clone();
            let all_here = within(APPLIED_WITHIN, async || {
                for service in &services {
                    let here = region.shown(member, service).await.unwrap_or_default();
                    lost.retain(|number| here.binary_search(&shown(*number)).is_err());
                }
                lost.is_empty().then_some(())
            });
            if all_here.await.is_none() {
                let first: Vec<_> = lost.iter().take(10).collect();
                let told = region.tell_all().await;
                bail!("member {member} lost {} of {}: {first:?}\n{told}", lost.len(), numbers.len());
            }
        }
        Ok(numbers.len())
    }
}

/// Writes one persistent instance; whether it was answered.
pub async fn keep(at: SocketAddr, number: u32) -> bool {
    persist(at, &service_of(number), number).await
}

fn service_of(number: u32) -> String {
    format!("stays-{}", number / PER_SERVICE)
}
