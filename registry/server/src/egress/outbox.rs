//! What waits to be said to one gRPC client: a few control messages and, per subscription, at most one newest state.
//!
//! ```text
//! subscription:  Idle ──touched──▶ Due ──written──▶ InFlight ──ack──▶ Idle
//!                                   ▲                  │ touched: again
//!                                   └─ack with again, or no ack for PUSH_TIMEOUT_MS
//! ```
//! Invariant: nothing queues; a slow client gets the newest state once it reads again.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use landbridge_registry_core::Labels;
use landbridge_wire::nacos::ClusterFilter;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::{session::Session, window::Pane};

/// After so long without an ack a push is said again (Nacos 2.5 `PushConfig`: timeout 5 s).
pub(crate) const PUSH_TIMEOUT_MS: u64 = 5_000;

/// The most control messages that wait for one client; a client that lets more pile up is closed.
const CONTROL_MAX: usize = 16;

/// The most subscriptions of one connection; further ones are refused.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 10_000;

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Due,
    InFlight { push: u64, since_ms: u64, again: bool },
}

struct Subscription {
    pane: Arc<Pane>,
    clusters: ClusterFilter,
    /// The labels by which the instances were chosen that the client was told last.
    told: Labels,
    state: State,
}

#[derive(Default)]
struct Inner {
    control: VecDeque<Bytes>,
    due: VecDeque<u64>,
    subscriptions: FxHashMap<u64, Subscription>,
    waker: Option<Waker>,
    streaming: bool,
    closed: bool,
}

/// The outbox of one session.
#[derive(Default)]
pub(crate) struct Outbox(Mutex<Inner>);

impl Outbox {
    /// Begins a subscription, or changes its cluster filter, and makes a push due; false if there are too many.
    pub(crate) fn subscribe(&self, pane: &Arc<Pane>, clusters: &ClusterFilter) -> bool {
        let mut inner = self.0.lock();
        let known = inner.subscriptions.get(&pane.number()).map(|held| (held.state, held.told.clone()));
        if inner.closed || (known.is_none() && inner.subscriptions.len() >= SUBSCRIPTIONS_MAX) {
            return false;
        }
        let (state, told) = known.unwrap_or((State::Idle, Labels::new()));
        let subscription = Subscription { pane: Arc::clone(pane), clusters: clusters.clone(), told, state };
        inner.subscriptions.insert(pane.number(), subscription);
        inner.touch(pane.number());
        true
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, pane: u64) {
        self.0.lock().subscriptions.remove(&pane);
    }

    /// The service has a newer state.
    pub(crate) fn touched(&self, pane: u64) {
        self.0.lock().touch(pane);
    }

    /// The client has taken the push; milliseconds since it was written, if it was waited for.
    pub(crate) fn acked(&self, push: u64, now_ms: u64) -> Option<u64> {
        let mut inner = self.0.lock();
        let mut taken = None;
        for (number, held) in &mut inner.subscriptions {
            if let State::InFlight { push: waiting, since_ms, again } = held.state
                && waiting == push
            {
                held.state = State::Idle;
                taken = Some((*number, again, now_ms.saturating_sub(since_ms)));
                break;
            }
        }
        let (number, again, waited_ms) = taken?;
        if again {
            inner.touch(number);
        }
        Some(waited_ms)
    }

    /// Makes pushes due again that were not acked in time; says how many.
    pub(crate) fn retry(&self, now_ms: u64) -> usize {
        let mut inner = self.0.lock();
        let late: Vec<u64> = inner
            .subscriptions
            .iter_mut()
            .filter_map(|(number, held)| match held.state {
                State::InFlight { since_ms, .. } if now_ms.saturating_sub(since_ms) >= PUSH_TIMEOUT_MS => {
                    held.state = State::Idle;
                    Some(*number)
                }
                State::InFlight { .. } | State::Idle | State::Due => None,
            })
            .collect();
        for number in &late {
            inner.touch(*number);
        }
        late.len()
    }

    /// What the client subscribes to, each with its cluster filter.
    pub(crate) fn subscribed(&self) -> Vec<(Arc<Pane>, ClusterFilter)> {
        let inner = self.0.lock();
        inner.subscriptions.values().map(|held| (Arc::clone(&held.pane), held.clusters.clone())).collect()
    }

    /// What the client subscribes to, each with its cluster filter and the labels of what it was told last.
    pub(crate) fn told(&self) -> Vec<(Arc<Pane>, ClusterFilter, Labels)> {
        let inner = self.0.lock();
        let of = |held: &Subscription| (Arc::clone(&held.pane), held.clusters.clone(), held.told.clone());
        inner.subscriptions.values().map(of).collect()
    }

    /// The cluster filter under which the client subscribes to a service.
    pub(crate) fn clusters(&self, pane: u64) -> Option<ClusterFilter> {
        self.0.lock().subscriptions.get(&pane).map(|held| held.clusters.clone())
    }

    /// Queues a control message; false if the client lets too many pile up.
    pub(crate) fn control(&self, frame: Bytes) -> bool {
        let mut inner = self.0.lock();
        if inner.control.len() >= CONTROL_MAX {
            return false;
        }
        inner.control.push_back(frame);
        inner.wake();
        true
    }

    /// The stream is over; gives back the subscribed services.
    pub(crate) fn close(&self) -> Vec<Arc<Pane>> {
        let mut inner = self.0.lock();
        inner.closed = true;
        inner.control.clear();
        inner.due.clear();
        let panes = inner.subscriptions.drain().map(|(_, held)| held.pane).collect();
        inner.wake();
        panes
    }

    /// Claims the outbox for a stream; false if another stream of the connection has it.
    pub(crate) fn begin_stream(&self) -> bool {
        let mut inner = self.0.lock();
        !std::mem::replace(&mut inner.streaming, true)
    }

    /// How many pushes the client has not been sent yet, because it does not read.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().due.len()
    }

    /// How many subscriptions stand.
    pub(crate) fn subscriptions(&self) -> usize {
        self.0.lock().subscriptions.len()
    }
}

impl Inner {
    fn touch(&mut self, number: u64) {
        let Some(held) = self.subscriptions.get_mut(&number) else { return };
        match &mut held.state {
            State::Idle => {
                held.state = State::Due;
                self.due.push_back(number);
                self.wake();
            }
            State::Due => {}
            State::InFlight { again, .. } => *again = true,
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// The next thing to say.
    fn next(&mut self, session: &Session) -> Option<Bytes> {
        if let Some(frame) = self.control.pop_front() {
            return Some(frame);
        }
        while let Some(number) = self.due.pop_front() {
            if let Some(held) = self.subscriptions.get_mut(&number)
                && held.state == State::Due
            {
                let (push, frame, told) = held.pane.push(&held.clusters, session);
                held.told = told;
                held.state = State::InFlight { push, since_ms: session.now_ms(), again: false };
                return Some(frame);
            }
        }
        None
    }
}

/// The response body of a client's stream: pre-framed gRPC messages taken from the outbox when the client reads.
pub(crate) struct PushBody {
    session: Arc<Session>,
}

impl PushBody {
    /// The body of a session's stream.
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self { session }
    }
}

impl Body for PushBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut inner = self.session.outbox().0.lock();
        if let Some(frame) = inner.next(&self.session) {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if inner.closed {
            return Poll::Ready(None);
        }
        if !inner.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
