//! One core's open connections to endpoints: HTTP/1 ones wait here between calls, HTTP/2 ones are shared.
//!
//! Invariant: a connection is used by one HTTP/1 call at a time; one that is closed or half used never comes back.

use std::cell::RefCell;

use hyper::client::conn::{http1, http2};
use rustc_hash::FxHashMap;

use crate::{config::Upstream, line::Line, payload::Payload};

/// A connection for one HTTP/1 call at a time.
pub(crate) type OneCall = http1::SendRequest<Payload>;

/// A connection for many HTTP/2 calls.
pub(crate) type ManyCalls = http2::SendRequest<Payload>;

/// A task starter for hyper that stays on this core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnThisCore;

impl<Task> hyper::rt::Executor<Task> for OnThisCore
where
    Task: Future + 'static,
    Task::Output: 'static,
{
    fn execute(&self, task: Task) {
        tokio::task::spawn_local(task);
    }
}

/// A connection that waits for its next call.
#[derive(Debug)]
struct Waiting {
    sender: OneCall,
    since: u64,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
struct Slot {
    waiting: Vec<Waiting>,
    /// Connections that we speak ourselves, and since when they wait.
    lines: Vec<(Line, u64)>,
    shared: Option<ManyCalls>,
    used: u64,
}

/// All connections of one core, by the endpoint's serial number.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    slots: RefCell<FxHashMap<u64, Slot>>,
}

impl Pool {
    /// Takes the connection that waited least. It may still turn out to be closed.
    pub(crate) fn take(&self, serial: u64) -> Option<OneCall> {
        let mut slots = self.slots.borrow_mut();
        let waiting = &mut slots.get_mut(&serial)?.waiting;
        loop {
            let next = waiting.pop()?;
            if next.sender.is_ready() {
                return Some(next.sender);
            }
            // Its last answer is read to the end, but its task has not noticed yet: keep it for the next call.
            if !next.sender.is_closed() {
                let older = waiting.iter().rposition(|other| other.sender.is_ready());
                let found = older.map(|at| waiting.remove(at).sender);
                waiting.push(next);
                return found;
            }
        }
    }

    /// Takes the line that waited least and is still open.
    pub(crate) fn take_line(&self, serial: u64) -> Option<Line> {
        let mut slots = self.slots.borrow_mut();
        let lines = &mut slots.get_mut(&serial)?.lines;
        loop {
            let (line, _) = lines.pop()?;
            if line.is_quiet() {
                return Some(line);
            }
        }
    }

    /// Puts a connection back after its call.
    pub(crate) fn put(&self, serial: u64, sender: OneCall, limits: &Upstream, now: u64) {
        if !sender.is_closed() {
            self.keep(serial, limits, now, |slot| slot.waiting.push(Waiting { sender, since: now }));
        }
    }

    /// Puts a line back after its call.
    pub(crate) fn put_line(&self, serial: u64, line: Line, limits: &Upstream, now: u64) {
        self.keep(serial, limits, now, |slot| slot.lines.push((line, now)));
    }

    fn keep(&self, serial: u64, limits: &Upstream, now: u64, put: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(serial).or_default();
        slot.used = now;
        if slot.waiting.len() + slot.lines.len() < limits.idle_per_endpoint_max {
            put(slot);
        }
    }

    /// A shared connection, if one is open.
    pub(crate) fn share(&self, serial: u64, now: u64) -> Option<ManyCalls> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(&serial)?;
        slot.used = now;
        slot.shared.take_if(|sender| sender.is_closed());
        slot.shared.clone()
    }

    /// Offers a shared connection for calls to come.
    pub(crate) fn offer(&self, serial: u64, sender: ManyCalls, now: u64) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(serial).or_default();
        slot.used = now;
        slot.shared = Some(sender);
    }

    /// Closes what waited too long.
    pub(crate) fn sweep(&self, limits: &Upstream, now: u64) {
        let old = |since: u64| now.saturating_sub(since) > limits.idle_timeout_ms;
        self.slots.borrow_mut().retain(|_, slot| {
            slot.waiting.retain(|waiting| !old(waiting.since) && !waiting.sender.is_closed());
            slot.lines.retain(|(line, since)| !old(*since) && line.is_quiet());
            if old(slot.used) {
                slot.shared = None;
            }
            !slot.waiting.is_empty() || !slot.lines.is_empty() || slot.shared.is_some() || !old(slot.used)
        });
    }
}
