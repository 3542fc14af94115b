//! What one client connection is doing, and when it has done it for too long.
//!
//! A seat is looked at four times a second by its core; a connection has no timers of its own. Limits are therefore
//! kept to a quarter of a second, and cost nothing per request.
//!
//! Invariant: a connection that exceeds a limit is cut, whatever its peer sends or does not send.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    task::{Context, Waker},
};

use crate::config::Connections;

/// A body may be this slow for this long before its rate counts.
const BODY_GRACE_MS: u64 = 10_000;

/// A connection that was asked to end in order gets so long before it is cut.
const FAREWELL_MS: u64 = 5_000;

/// A connection without a call for so long gives back what it needs for calls.
const REST_AFTER_MS: u64 = 500;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Stay,
    /// Finish the calls that run, take no more, close.
    Leave,
    /// Close at once.
    Cut,
}

/// Why a connection was cut; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Overrun {
    /// Whose introduction could not be read in time, or at all.
    Introduction,
    /// A request head was not complete in time.
    Head,
    /// No call for too long.
    Idle,
    /// A call that moved no byte for too long.
    Stalled,
    /// A body that trickled.
    Trickle,
    /// Too many calls that were given up before their answer.
    Resets,
    /// It did not leave when told.
    Lingered,
}

impl Overrun {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Introduction => "introduction",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Trickle => "trickle",
            Self::Resets => "resets",
            Self::Lingered => "lingered",
        }
    }
}

/// The state of one client connection, written by its IO and its calls, read by its core's reaper.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The port it came by.
    port: u64,
    /// Calls begun and not ended.
    calls: Cell<u32>,
    /// Calls begun, ever.
    begun: Cell<u64>,
    /// Calls that were given up before their answer, ever.
    given_up: Cell<u64>,
    /// When the last call ended, or the connection began.
    quiet_since: Cell<u64>,
    /// When a byte last moved.
    moved: Cell<u64>,
    /// A call that moves nothing for so long is given up; `None` for the gateway's own setting.
    patience_ms: Cell<Option<u64>>,
    /// When the request head began that is not complete.
    head_since: Cell<Option<u64>>,
    /// The request body that is not complete: bytes so far, and how long they were waited for.
    body: Cell<Option<Body>>,
    /// What the bytes of a request head broke, if they did.
    fault: Cell<Option<&'static str>>,
    /// Bytes of an answer may not be on their way yet.
    unsent: Cell<bool>,
    /// It was woken to rest since its last call.
    rested: Cell<bool>,
    order: Cell<Order>,
    ordered: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug)]
struct Body {
    bytes: u64,
    waited_ms: u64,
    waiting_since: Option<u64>,
}

impl Seat {
    pub(crate) fn new(port: u64, now: u64) -> Self {
        Self {
            port,
            patience_ms: Cell::new(None),
            calls: Cell::new(0),
            begun: Cell::new(0),
            given_up: Cell::new(0),
            quiet_since: Cell::new(now),
            moved: Cell::new(now),
            head_since: Cell::new(None),
            body: Cell::new(None),
            fault: Cell::new(None),
            unsent: Cell::new(false),
            rested: Cell::new(false),
            order: Cell::new(Order::Stay),
            ordered: Cell::new(0),
            waker: RefCell::new(None),
        }
    }

    /// Notes that bytes moved in either direction.
    pub(crate) fn touch(&self, now: u64) {
        self.moved.set(now);
    }

    /// Sets how long a call may move nothing.
    pub(crate) fn be_patient(&self, idle_ms: u64) {
        self.patience_ms.set(Some(idle_ms));
    }

    /// Notes whether a request head has begun and is not complete.
    pub(crate) fn set_head(&self, open: bool, now: u64) {
        match (open, self.head_since.get()) {
            (true, None) => self.head_since.set(Some(now)),
            (false, Some(_)) => self.head_since.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Notes that a request body begins, or that it is complete.
    pub(crate) fn set_body(&self, open: bool) {
        let fresh = Body { bytes: 0, waited_ms: 0, waiting_since: None };
        self.body.set(open.then_some(fresh));
    }

    /// Notes bytes of a request body.
    pub(crate) fn add_body(&self, bytes: u64, now: u64) {
        if let Some(mut body) = self.body.get() {
            body.bytes += bytes;
            body.waited_ms += body.waiting_since.take().map_or(0, |since| now.saturating_sub(since));
            self.body.set(Some(body));
        }
    }

    /// Notes that the connection asked its peer for bytes and has none.
    pub(crate) fn wait_for_bytes(&self, now: u64) {
        if let Some(mut body) = self.body.get()
            && body.waiting_since.is_none()
        {
            body.waiting_since = Some(now);
            self.body.set(Some(body));
        }
    }

    /// Notes what the bytes of a request head broke.
    pub(crate) fn set_fault(&self, fault: &'static str) {
        self.fault.set(Some(fault));
    }

    /// What was broken, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        self.fault.get()
    }

    /// Notes whether bytes of an answer may not be on their way yet.
    pub(crate) fn set_unsent(&self, unsent: bool) {
        self.unsent.set(unsent);
    }

    /// True if the connection is to rest and nothing of a call is left: after its first call at once, for many never
    /// make another; later when it was woken to.
    pub(crate) fn rests(&self) -> bool {
        let between = self.calls.get() == 0 && self.head_since.get().is_none() && self.body.get().is_none();
        let due = self.rested.get() || self.begun.get() == 1;
        between && due && !self.unsent.get() && self.fault.get().is_none()
    }

    /// Wakes it once when it has had no call for a while.
    fn put_to_rest(&self, now: u64) {
        let quiet = now.saturating_sub(self.quiet_since.get()) >= REST_AFTER_MS;
        if self.calls.get() == 0
            && quiet
            && !self.rested.replace(true)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// What the connection is to do; its task is woken when that changes.
    pub(crate) fn order(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.order.get()
    }

    fn give(&self, order: Order, now: u64) {
        if self.order.get() != order {
            self.order.set(order);
            self.ordered.set(now);
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    /// What the connection has overrun by now.
    fn overrun(&self, limits: &Connections, now: u64) -> Option<Overrun> {
        let over = |since: u64, max_ms: u64| now.saturating_sub(since) > max_ms;
        if self.head_since.get().is_some_and(|since| over(since, limits.header_timeout_ms)) {
            return Some(Overrun::Head);
        }
        if let Some(body) = self.body.get() {
            let waited = body.waited_ms + body.waiting_since.map_or(0, |since| now.saturating_sub(since));
            let expected = limits.body_rate_min_bytes_per_second.saturating_mul(waited) / 1_000;
            if waited > BODY_GRACE_MS && body.bytes < expected {
                return Some(Overrun::Trickle);
            }
        }
        let given_up = self.given_up.get();
        if given_up > limits.early_resets_max && given_up * 2 > self.begun.get() {
            return Some(Overrun::Resets);
        }
        if self.calls.get() == 0 {
            return over(self.quiet_since.get(), limits.idle_timeout_ms).then_some(Overrun::Idle);
        }
        let patience_ms = self.patience_ms.get().unwrap_or(limits.stream_idle_timeout_ms);
        over(self.moved.get(), patience_ms).then_some(Overrun::Stalled)
    }

    /// Gives the order that follows from the limits. Tells why when that cuts the connection.
    fn review(&self, limits: &Connections, now: u64) -> Option<Overrun> {
        match (self.order.get(), self.overrun(limits, now)) {
            (Order::Cut, _) => None,
            (Order::Stay, Some(Overrun::Idle)) => {
                self.give(Order::Leave, now);
                None
            }
            (Order::Leave, Some(Overrun::Idle) | None) => {
                let idle = self.calls.get() == 0;
                let late = idle && now.saturating_sub(self.ordered.get()) > FAREWELL_MS;
                late.then(|| self.cut(Overrun::Lingered, now))
            }
            (Order::Stay | Order::Leave, Some(overrun)) => Some(self.cut(overrun, now)),
            (Order::Stay, None) => {
                self.put_to_rest(now);
                None
            }
        }
    }

    fn cut(&self, overrun: Overrun, now: u64) -> Overrun {
        self.give(Order::Cut, now);
        overrun
    }
}

/// What the connections and calls of one core share.
#[derive(Debug, Default)]
pub(crate) struct Beat {
    /// The time as of the core's last tick: good enough for limits of seconds, and free.
    pub(crate) now: Cell<u64>,
    /// Calls begun and not ended.
    pub(crate) in_flight: Cell<u32>,
    /// Tunnels that are open.
    pub(crate) tunnels: Cell<u32>,
}

/// One call on a connection; it ends when the last byte of its answer is on its way, or it is given up.
#[derive(Debug)]
pub(crate) struct OpenCall {
    seat: Rc<Seat>,
    beat: Rc<Beat>,
    answered: bool,
}

impl OpenCall {
    pub(crate) fn begin(seat: &Rc<Seat>, beat: &Rc<Beat>) -> Self {
        seat.calls.set(seat.calls.get() + 1);
        seat.begun.set(seat.begun.get() + 1);
        seat.rested.set(false);
        seat.touch(beat.now.get());
        beat.in_flight.set(beat.in_flight.get() + 1);
        Self { seat: seat.clone(), beat: beat.clone(), answered: false }
    }

    /// Notes that its answer is there.
    pub(crate) fn answer(&mut self) {
        self.answered = true;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.seat.calls.set(self.seat.calls.get() - 1);
        self.seat.given_up.set(self.seat.given_up.get() + u64::from(!self.answered));
        self.seat.quiet_since.set(self.beat.now.get());
        self.beat.in_flight.set(self.beat.in_flight.get() - 1);
    }
}

/// All client connections of one core.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    seats: RefCell<Vec<Weak<Seat>>>,
    leaving: Cell<bool>,
}

impl Seats {
    /// Adds a connection.
    pub(crate) fn take(&self, port: u64, now: u64) -> Rc<Seat> {
        let seat = Rc::new(Seat::new(port, now));
        if self.leaving.get() {
            seat.give(Order::Leave, now);
        }
        self.seats.borrow_mut().push(Rc::downgrade(&seat));
        seat
    }

    /// Open connections, as of the last review.
    pub(crate) fn count(&self) -> usize {
        self.seats.borrow().len()
    }

    /// Forgets closed connections and holds the others to the limits.
    pub(crate) fn review(&self, limits: &Connections, now: u64, mut cut: impl FnMut(Overrun)) {
        self.seats.borrow_mut().retain(|seat| match seat.upgrade() {
            Some(seat) => {
                if let Some(why) = seat.review(limits, now) {
                    cut(why);
                }
                true
            }
            None => false,
        });
    }

    /// Tells all connections, also those to come.
    pub(crate) fn give_all(&self, order: Order, now: u64) {
        self.leaving.set(order != Order::Stay);
        for seat in self.seats.borrow().iter().filter_map(Weak::upgrade) {
            seat.give(order, now);
        }
    }

    /// Tells the connections of one port; true if there are none.
    pub(crate) fn give_port(&self, port: u64, order: Order, now: u64) -> bool {
        let seats = self.seats.borrow();
        let mut there = seats.iter().filter_map(Weak::upgrade).filter(|seat| seat.port == port).peekable();
        let nobody = there.peek().is_none();
        for seat in there {
            seat.give(order, now);
        }
        nobody
    }

    /// True when no connection is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.seats.borrow().iter().all(|seat| seat.strong_count() == 0)
    }
}

#[cfg(test)]
#[path = "seat_tests.rs"]
mod tests;
