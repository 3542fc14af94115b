//! One core's open connections to endpoints: HTTP/1 ones wait here between calls, HTTP/2 ones are shared.
//!
//! Invariant: a connection is used by one HTTP/1 call at a time; one that is closed or half used never comes back.

use std::{cell::RefCell, io, net::IpAddr, time::Duration};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use landbridge_gateway_core::Endpoint;
use rustc_hash::FxHashMap;
use tokio::net::TcpStream;

use crate::{config::Upstream, payload::Payload};

/// How far an endpoint may send ahead on one HTTP/2 stream.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// How far an endpoint may send ahead on one HTTP/2 connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// An HTTP/2 connection with calls on it is asked for a sign of life this often.
const KEEPALIVE_MS: u64 = 5_000;

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

    /// Puts a connection back after its call.
    pub(crate) fn put(&self, serial: u64, sender: OneCall, limits: &Upstream, now: u64) {
        if sender.is_closed() {
            return;
        }
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(serial).or_default();
        slot.used = now;
        if slot.waiting.len() < limits.idle_per_endpoint_max {
            slot.waiting.push(Waiting { sender, since: now });
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
            if old(slot.used) {
                slot.shared = None;
            }
            !slot.waiting.is_empty() || slot.shared.is_some() || !old(slot.used)
        });
    }
}

/// Opens a TCP connection to an endpoint.
async fn dial(endpoint: &Endpoint, limits: &Upstream) -> io::Result<TokioIo<TcpStream>> {
    let host = endpoint.address.as_str();
    let open = async {
        match host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect((address, endpoint.port)).await,
            Err(_) => TcpStream::connect((host, endpoint.port)).await,
        }
    };
    let wait = Duration::from_millis(limits.connect_timeout_ms);
    let stream = tokio::time::timeout(wait, open).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// Opens a connection for HTTP/1 calls.
pub(crate) async fn connect_one(endpoint: &Endpoint, limits: &Upstream) -> io::Result<OneCall> {
    let io = dial(endpoint, limits).await?;
    let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // The call on the connection sees the error too, and says what follows from it.
        if let Err(error) = connection.await {
            tracing::debug!(event = "upstream_connection_ended", %error);
        }
    });
    Ok(sender)
}

/// Opens a connection for one HTTP/1 call that may turn it into something else.
pub(crate) async fn connect_upgradable(endpoint: &Endpoint, limits: &Upstream) -> io::Result<OneCall> {
    let io = dial(endpoint, limits).await?;
    let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(event = "upstream_connection_ended", %error);
        }
    });
    Ok(sender)
}

/// Opens a connection for HTTP/2 calls, without negotiation (prior knowledge).
pub(crate) async fn connect_many(endpoint: &Endpoint, limits: &Upstream) -> io::Result<ManyCalls> {
    let io = dial(endpoint, limits).await?;
    let (sender, connection) = http2::Builder::new(OnThisCore)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_millis(KEEPALIVE_MS))
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(event = "upstream_connection_ended", %error);
        }
    });
    Ok(sender)
}
