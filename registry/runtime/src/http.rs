//! Serves HTTP/1.1 and HTTP/2 to whoever dials, friend or not, under named limits.
//!
//! Invariant: nothing a peer sends or leaves out can hold a connection beyond the limits, make the process panic, or
//! cost another peer more than its share; `axum::serve` promises none of this.

mod conversation;
pub mod door;
mod head;
mod limits;
mod pace;
mod strict;

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::Service;

use self::conversation::Conversation;
use self::door::{Door, Seat};
pub use self::limits::HttpLimits;
use self::pace::{Pace, Watched};
use crate::clock::Clock;
use crate::shutdown::Shutdown;
use crate::tls::{CallerTls, Identity, PeerName};

/// Pause after the kernel cannot hand out a connection, for example for want of file descriptors.
const ACCEPT_PAUSE_MS: u64 = 50;

/// Refused handshakes are logged at most once in this time; the counter counts all.
const REFUSAL_LOG_MS: u64 = 1_000;

/// The socket a request came from; in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// What is served where.
#[derive(Debug)]
pub struct Serving {
    /// The open port.
    pub listener: TcpListener,
    /// The port's name in logs and metrics.
    pub what: &'static str,
    /// With an identity, only peers with a trusted certificate are let in; their `PeerName` is in the extensions.
    pub tls: Option<Identity>,
    /// The bounds.
    pub limits: HttpLimits,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Serves until the shutdown begins, then lets open requests finish, at most `drain_ms`.
pub async fn serve<S, B>(serving: Serving, service: S)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve_callers(serving, None, service).await;
}

/// The same for callers from outside, who are shown a certificate and need none.
pub async fn serve_callers<S, B>(serving: Serving, callers: Option<CallerTls>, service: S)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Serving { listener, what, tls, limits, shutdown } = serving;
    let port =
        Arc::new(Port { what, limits, tls, callers, clock: Clock::start(), logged_ms: AtomicU64::new(0) });
    let door = Door::new(limits.connections_max, limits.connections_per_address_max);
    let conversations = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => break,
        };
        match accepted {
            Ok((stream, address)) => match door.enter(address.ip()) {
                Ok(seat) => {
                    let (port, service, shutdown) = (Arc::clone(&port), service.clone(), shutdown.clone());
                    conversations
                        .spawn(async move { port.converse(stream, address, seat, service, shutdown).await });
                }
                Err(full) => port.count_turned_away(full.reason()),
            },
            Err(error) => port.recover(&error).await,
        }
    }
    drop(listener);
    conversations.close();
    conversations.wait().await;
}

/// One port as its connections see it.
#[derive(Debug)]
struct Port {
    what: &'static str,
    limits: HttpLimits,
    tls: Option<Identity>,
    callers: Option<CallerTls>,
    clock: Clock,
    /// When a refused handshake was last logged.
    logged_ms: AtomicU64,
}

impl Port {
    async fn converse<S, B>(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        seat: Seat,
        service: S,
        shutdown: Shutdown,
    ) where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Small answers must not wait for an acknowledgement; a socket that refuses this is already gone.
        let _ = stream.set_nodelay(true);
        let connections = metrics::gauge!("landbridge_runtime_http_connections", "listener" => self.what);
        connections.increment(1.0);
        match (&self.tls, &self.callers) {
            (None, None) => {
                let pace = Arc::new(Pace::new(self.clock));
                let io = Watched::new(stream, Arc::clone(&pace), seat);
                self.conversation(address, None, pace, shutdown).run(io, service).await;
            }
            (None, Some(callers)) => match self.handshake(callers.accept(stream), &shutdown).await {
                Ok(stream) => {
                    let pace = Arc::new(Pace::new(self.clock));
                    let io = Watched::new(stream, Arc::clone(&pace), seat);
                    self.conversation(address, None, pace, shutdown).run(io, service).await;
                }
                Err(error) => self.log_refused(address, &error),
            },
            (Some(identity), _) => match self.handshake(identity.accept(stream), &shutdown).await {
                Ok((stream, name)) => {
                    let pace = Arc::new(Pace::new(self.clock));
                    let io = Watched::new(stream, Arc::clone(&pace), seat);
                    self.conversation(address, Some(name), pace, shutdown).run(io, service).await;
                }
                Err(error) => self.log_refused(address, &error),
            },
        }
        connections.decrement(1.0);
    }

    fn conversation(
        &self,
        address: SocketAddr,
        name: Option<PeerName>,
        pace: Arc<Pace>,
        shutdown: Shutdown,
    ) -> Conversation {
        Conversation {
            what: self.what,
            limits: self.limits,
            clock: self.clock,
            address,
            name,
            pace,
            shutdown,
        }
    }

    /// Waits for a handshake, but not for ever.
    async fn handshake<T>(
        &self,
        accepting: impl Future<Output = io::Result<T>>,
        shutdown: &Shutdown,
    ) -> io::Result<T> {
        let patience = Duration::from_millis(self.limits.header_read_timeout_ms);
        tokio::select! {
            accepted = tokio::time::timeout(patience, accepting) => {
                accepted.unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "the handshake took too long")))
            }
            () = shutdown.wait() => Err(io::Error::new(ErrorKind::Interrupted, "the process ends")),
        }
    }

    fn count_turned_away(&self, reason: &'static str) {
        metrics::counter!("landbridge_runtime_http_turned_away_total", "listener" => self.what, "reason" => reason)
            .increment(1);
    }

    fn log_refused(&self, address: SocketAddr, error: &io::Error) {
        self.count_turned_away("tls");
        let now = self.clock.now().max(1);
        let last = self.logged_ms.load(Ordering::Relaxed);
        if last != 0 && now < last + REFUSAL_LOG_MS {
            return;
        }
        self.logged_ms.store(now, Ordering::Relaxed);
        tracing::warn!(
            event = "tls_refused", listener = self.what, peer = %address, %error,
            "a peer without a trusted certificate was turned away"
        );
    }

    /// A connection that is gone already is no matter; anything else may last, so it is logged and given time.
    async fn recover(&self, error: &io::Error) {
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            return;
        }
        tracing::error!(event = "accept_failed", listener = self.what, %error, "no connection can be accepted");
        tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
    }
}

#[cfg(test)]
mod tests;
