//! One core's gates, one for each service that is called: who goes on at once, who waits, and who is sent away.
//!
//! Invariant: a call that went through a gate leaves it exactly once, whatever becomes of the call.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use landbridge_gateway_core::{Criticality, Entry, Gate, Ticket};
use landbridge_model::Moment;
use rustc_hash::FxHashMap;
use tokio::time::{Instant, timeout};

use crate::{
    config::Crowding,
    local::Local,
    metrics::{ADMISSION_LIMITED, ADMISSION_SHED, ADMISSION_WAITED},
};

/// Gates that are kept; past it those through which nobody is on his way are forgotten.
const GATES_MAX: usize = 10_000;

/// Where a call stands that came to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Waits,
    Goes,
    Shed,
}

/// A place in the queue.
#[derive(Debug)]
struct Place {
    stand: Cell<Stand>,
    waker: RefCell<Option<Waker>>,
}

impl Place {
    fn turn(&self, stand: Stand) {
        self.stand.set(stand);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

#[derive(Debug)]
struct Post {
    gate: Gate,
    places: FxHashMap<Ticket, Rc<Place>>,
}

/// The gates of one core.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    posts: RefCell<FxHashMap<u64, Post>>,
    waited: Cell<u64>,
    shed: Cell<[u64; Criticality::ALL.len()]>,
    /// Gates with a limit, as told last.
    limited: Cell<f64>,
}

/// A call on its way behind a gate.
pub(crate) struct Passed {
    local: Rc<Local>,
    service: u64,
    since: Instant,
}

impl Drop for Passed {
    fn drop(&mut self) {
        let now = Instant::now();
        let took_us = now.saturating_duration_since(self.since).as_micros();
        let took_us = u32::try_from(took_us).unwrap_or(u32::MAX);
        self.local.gates.ended(self.service, self.local.moment(now), took_us);
    }
}

/// A call in the queue; one that is given up there leaves it.
pub(crate) struct Queued {
    local: Rc<Local>,
    service: u64,
    criticality: Criticality,
    ticket: Ticket,
    place: Rc<Place>,
}

impl Queued {
    /// Waits for a change, at most so long.
    async fn wait(&self, within: Duration) {
        let turned = poll_fn(|cx| {
            if self.place.stand.get() != Stand::Waits {
                return Poll::Ready(());
            }
            *self.place.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        });
        // Whether its turn came or the time ran out is told by where it stands.
        let _ = timeout(within, turned).await;
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        match self.place.stand.get() {
            Stand::Waits => self.local.gates.leave(self.service, self.ticket),
            // Its turn came, and nobody was there to take it.
            Stand::Goes => self.local.gates.ended(self.service, self.local.moment(Instant::now()), 0),
            Stand::Shed => {}
        }
    }
}

/// What becomes of a call that comes to a gate.
pub(crate) enum Coming {
    Goes(Passed),
    Waits(Box<Queued>),
    Shed,
}

/// Brings a call to the gate of its service.
pub(crate) fn come(local: &Rc<Local>, rules: &Crowding, service: u64, criticality: Criticality) -> Coming {
    let now = Moment(local.beat.now.get());
    match local.gates.arrive(service, now, rules.queue_max, criticality) {
        Arrival::Goes => Coming::Goes(Passed { local: local.clone(), service, since: Instant::now() }),
        Arrival::Shed => Coming::Shed,
        Arrival::Waits(ticket, place) => {
            let local = local.clone();
            Coming::Waits(Box::new(Queued { local, service, criticality, ticket, place }))
        }
    }
}

impl Queued {
    /// Waits for its turn; nothing if it is sent away.
    pub(crate) async fn turn(self: Box<Self>, queue_ms: u64) -> Option<Passed> {
        loop {
            self.wait(Duration::from_millis(queue_ms)).await;
            match self.place.stand.get() {
                Stand::Goes => {
                    let passed =
                        Passed { local: self.local.clone(), service: self.service, since: Instant::now() };
                    // Who goes has left the queue: from here on the passage counts it.
                    self.place.stand.set(Stand::Shed);
                    return Some(passed);
                }
                Stand::Shed => return None,
                Stand::Waits if self.local.gates.sheds(self.service) => {
                    self.local.gates.count_shed(self.criticality);
                    return None;
                }
                Stand::Waits => {}
            }
        }
    }
}

enum Arrival {
    Goes,
    Waits(Ticket, Rc<Place>),
    Shed,
}

impl Gates {
    fn arrive(&self, service: u64, now: Moment, queue_max: u32, criticality: Criticality) -> Arrival {
        let mut posts = self.posts.borrow_mut();
        let post = posts
            .entry(service)
            .or_insert_with(|| Post { gate: Gate::new(now), places: FxHashMap::default() });
        let (ticket, instead) = match post.gate.arrive(queue_max, criticality) {
            Entry::Go => return Arrival::Goes,
            Entry::Shed => {
                self.count_shed(criticality);
                return Arrival::Shed;
            }
            Entry::Wait(ticket) => (ticket, None),
            Entry::Instead(ticket, other) => (ticket, Some(other)),
        };
        if let Some(other) = instead.and_then(|other| Some((other, post.places.remove(&other)?))) {
            let (ticket, place) = other;
            self.count_shed(ticket.criticality());
            place.turn(Stand::Shed);
        }
        self.waited.set(self.waited.get() + 1);
        let place = Rc::new(Place { stand: Cell::new(Stand::Waits), waker: RefCell::default() });
        post.places.insert(ticket, place.clone());
        Arrival::Waits(ticket, place)
    }

    fn sheds(&self, service: u64) -> bool {
        self.posts.borrow().get(&service).is_some_and(|post| post.gate.sheds())
    }

    fn leave(&self, service: u64, ticket: Ticket) {
        if let Some(post) = self.posts.borrow_mut().get_mut(&service) {
            post.gate.leave(ticket);
            post.places.remove(&ticket);
        }
    }

    fn ended(&self, service: u64, now: Moment, took_us: u32) {
        let mut posts = self.posts.borrow_mut();
        let Some(post) = posts.get_mut(&service) else { return };
        post.gate.ended(now, took_us);
        while let Some(ticket) = post.gate.admit_next() {
            if let Some(place) = post.places.remove(&ticket) {
                place.turn(Stand::Goes);
            }
        }
    }

    fn count_shed(&self, criticality: Criticality) {
        let mut shed = self.shed.get();
        shed[criticality as usize] += 1;
        self.shed.set(shed);
    }

    /// Hands the counts to the recorder, and forgets gates if there are too many.
    pub(crate) fn hand_over(&self) {
        let mut posts = self.posts.borrow_mut();
        if posts.len() > GATES_MAX {
            posts.retain(|_, post| !post.gate.is_idle());
        }
        let limited = posts.values().filter(|post| post.gate.limit().is_some()).count() as f64;
        metrics::gauge!(ADMISSION_LIMITED).increment(limited - self.limited.replace(limited));
        metrics::counter!(ADMISSION_WAITED).increment(self.waited.take());
        for (criticality, count) in Criticality::ALL.into_iter().zip(self.shed.take()) {
            if count > 0 {
                metrics::counter!(ADMISSION_SHED, "criticality" => criticality.as_str()).increment(count);
            }
        }
    }

    /// Takes what this core told back, because it ends.
    pub(crate) fn close(&self) {
        metrics::gauge!(ADMISSION_LIMITED).decrement(self.limited.take());
    }
}
