//! Accepts SDK connections: one session for each TCP connection, ended when the connection is.
//!
//! Invariant: a peer that is gone is found by its silence ([`crate::session`]), sooner than HTTP/2 pings would; there are none.
//! Invariant: one address takes at most its share of the seats. How fast it asks is not bounded here: a gateway does that.
//! Nacos attributes every unary call to the connection it came on, so each connection has a service of its own.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use landbridge_registry_core::{ConnectionId, Input};
use landbridge_runtime::{
    http::door::{Door, Full, Seat},
    shutdown::Shutdown,
    tls::CallerStream,
};
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use crate::{ingress::grpc::Conversation, member::Shared, metrics, session::Session};

/// Unary calls and streams of one connection that may be open at once.
const STREAMS_MAX: u32 = 1_024;

/// Header bytes of one call.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// Streams that a peer may reset before its connection is closed (rapid reset).
const RESETS_MAX: usize = 512;

/// After an accept that failed for want of descriptors, so long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the shutdown begins; connections then end by themselves or with the process.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>, shutdown: Shutdown) {
    let door = Door::new(shared.limits.connections_max, shared.limits.of_one_address());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => return,
        };
        match accepted {
            Ok((stream, remote)) => match door.enter(remote.ip()) {
                Ok(seat) => {
                    // Pushes are small and urgent; a socket that cannot be told so works all the same.
                    let _ = stream.set_nodelay(true);
                    let session = shared.sessions.open(remote);
                    tokio::spawn(converse(Arc::clone(&shared), session, stream, seat));
                }
                Err(Full::All) => metrics::connection_closed("connections_max"),
                Err(Full::Address) => metrics::connection_closed("connections_per_address"),
            },
            Err(error) => {
                debug!(event = "accept_failed", %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection, and tells the core when it is over; its seat is free then.
async fn converse(shared: Arc<Shared>, session: Arc<Session>, stream: TcpStream, _seat: Seat) {
    let connection = ConnectionId(session.number());
    let accepting = async {
        match &shared.callers {
            Some(tls) => tls.accept(stream).await,
            None => Ok(CallerStream::Plain(stream)),
        }
    };
    let patience = Duration::from_millis(shared.limits.header_read_timeout_ms);
    let Ok(Ok(stream)) = tokio::time::timeout(patience, accepting).await else {
        metrics::connection_closed("tls");
        shared.sessions.forget(session.number());
        return;
    };
    shared.orders.tell(Input::ConnectionOpened { connection }).await;
    let conversation = Conversation::new(Arc::clone(&shared), Arc::clone(&session));
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX);
    let serving = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(conversation));
    let reason = until_closed(&session, serving).await;
    metrics::connection_closed(reason);
    // Whatever works for the connection ends with it.
    session.close();
    shared.sessions.forget(session.number());
    shared.window.forget(&session);
    shared.fuzzy.forget(&session);
    shared.orders.tell(Input::ConnectionEnded { connection }).await;
}

/// Serves until the peer has gone or the session is to be closed; says why it ended.
async fn until_closed<E>(session: &Session, serving: impl Future<Output = Result<(), E>>) -> &'static str {
    let (mut serving, mut closing) = (pin!(serving), pin!(session.closing().cancelled()));
    let mut waits = false;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
            return Poll::Ready(if ended.is_ok() { "peer" } else { "broken" });
        }
        // A task's waker stays the same: asked once, the wish to close wakes it. Asking at each push would cost two locks.
        if waits && !session.is_closing() {
            return Poll::Pending;
        }
        waits = true;
        closing.as_mut().poll(cx).map(|()| "closed")
    })
    .await
}
