//! When subscribers hear of a change: at once, and then at most once per service in `push_merge_ms`.
//!
//! Many subscribers are told in portions, services in turns: what is touched for a connection is still at hand when its push
//! is written, and a service with few subscribers does not wait for one with many.
//! Invariant: a service waits here at most once, so the line is never longer than the number of services.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use landbridge_runtime::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{desk::Desks, egress::udp::UdpPush, metrics, window::Pane};

/// So many connections are told before those get their turn: as many as a worker serves between two looks at what else waits.
const PORTION: usize = 32;

/// A service whose subscribers are to be told at a moment; ordered by it.
struct Due {
    at_ms: u64,
    pane: Arc<Pane>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at_ms == other.at_ms && self.pane.number() == other.pane.number()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.pane.number()).cmp(&(other.at_ms, other.pane.number()))
    }
}

/// A service whose subscribers are being told.
struct Telling {
    pane: Arc<Pane>,
    /// The number of the session that was told last.
    told: u64,
}

/// The line of services whose subscribers are to be told.
pub(crate) struct Pusher {
    line: Mutex<BinaryHeap<Reverse<Due>>>,
    news: Notify,
    merge_ms: u64,
    clock: Clock,
    udp: Arc<UdpPush>,
    desks: Arc<Desks>,
}

impl Pusher {
    /// A pusher that merges changes of one service for `merge_ms`.
    pub(crate) fn new(merge_ms: u64, clock: Clock, udp: Arc<UdpPush>, desks: Arc<Desks>) -> Self {
        Self { line: Mutex::default(), news: Notify::new(), merge_ms, clock, udp, desks }
    }

    /// A newer state of the service was published.
    pub(crate) fn touched(&self, pane: &Arc<Pane>) {
        if !pane.has_subscribers() || pane.waits.swap(true, Ordering::AcqRel) {
            return;
        }
        let earliest = pane.pushed_ms.load(Ordering::Relaxed).saturating_add(self.merge_ms);
        let at_ms = self.clock.now().max(earliest);
        self.line.lock().push(Reverse(Due { at_ms, pane: Arc::clone(pane) }));
        self.news.notify_one();
    }

    /// Tells subscribers for as long as the process lives.
    pub(crate) async fn run(&self) {
        let mut telling = VecDeque::new();
        loop {
            let (due, next_ms) = self.take();
            telling.extend(due.into_iter().filter_map(|pane| self.begin(pane)));
            if let Some(Telling { pane, told }) = telling.pop_front() {
                let (count, told) = pane.tell_sessions(told, PORTION);
                metrics::fan_out(count);
                if let Some(told) = told {
                    telling.push_back(Telling { pane, told });
                    tokio::task::yield_now().await;
                }
                continue;
            }
            let news = self.news.notified();
            match next_ms {
                Some(at_ms) => {
                    let wait = std::time::Duration::from_millis(at_ms.saturating_sub(self.clock.now()));
                    let _ = tokio::time::timeout(wait, news).await;
                }
                None => news.await,
            }
        }
    }

    /// What is due, and when the next one will be.
    fn take(&self) -> (Vec<Arc<Pane>>, Option<u64>) {
        let now_ms = self.clock.now();
        let mut line = self.line.lock();
        let mut due = Vec::new();
        while let Some(Reverse(first)) = line.peek() {
            if first.at_ms > now_ms {
                return (due, Some(first.at_ms));
            }
            if let Some(Reverse(first)) = line.pop() {
                due.push(first.pane);
            }
        }
        (due, None)
    }

    /// A service's turn has come: who listens by UDP is told at once, sessions from here on.
    fn begin(&self, pane: Arc<Pane>) -> Option<Telling> {
        pane.pushed_ms.store(self.clock.now(), Ordering::Relaxed);
        pane.waits.store(false, Ordering::Release);
        if !self.desks.newest().switches().push_enabled {
            return None;
        }
        metrics::fan_out(self.udp.push(&pane));
        Some(Telling { pane, told: 0 })
    }
}
