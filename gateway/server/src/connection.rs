//! Speaks HTTP with one client: finds out which version, hands its calls to the stack, ends when its seat says so.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service as HyperService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::Instant,
};
use tower::Service;

use crate::{
    answer::Outgoing,
    head::Scanner,
    layers::{Arrived, Peer},
    local::Local,
    pool::OnThisCore,
    seat::Order,
    watched::Watched,
};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How far a client may send ahead on one HTTP/2 stream.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// How far a client may send ahead on one HTTP/2 connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// What is kept of an answer on one HTTP/2 stream while its client does not take it.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// An HTTP/2 client is asked for a sign of life this often, and given so long for it.
const KEEPALIVE_MS: u64 = 20_000;

/// Serves one client until it leaves or is made to.
///
/// Between its calls a client costs a seat and a socket: what speaks HTTP with it is made anew when it calls again.
pub(crate) async fn converse<Io, S>(local: Rc<Local>, mut io: Io, peer: Peer, stack: S)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static>
        + Clone
        + Unpin
        + 'static,
{
    let peer = Rc::new(peer);
    let Some((speaks_http2, first)) = unless_told(&peer, first_bytes(&mut io)).await else { return };
    let scanner = (!speaks_http2).then(|| Scanner::new(local.shared.connections.header_bytes_max));
    let mut io = Watched::new(io, peer.seat.clone(), local.beat.clone(), scanner, first);
    if speaks_http2 {
        return Box::pin(speak_http2(local, io, peer, stack)).await;
    }
    loop {
        let Some(rested) = Box::pin(speak_http1(&local, io, &peer, stack.clone())).await else { return };
        io = rested;
        if io.is_between() && unless_told(&peer, poll_fn(|cx| io.poll_more(cx))).await != Some(true) {
            return;
        }
    }
}

/// What comes of a wait, unless the seat is told to leave before.
async fn unless_told<T>(peer: &Peer, waiting: impl Future<Output = io::Result<T>>) -> Option<T> {
    let mut waiting = pin!(waiting);
    poll_fn(|cx| match peer.seat.order(cx) {
        Order::Stay => waiting.as_mut().poll(cx).map(Result::ok),
        Order::Leave | Order::Cut => Poll::Ready(None),
    })
    .await
}

async fn speak_http2<Io, S>(local: Rc<Local>, io: Watched<Io>, peer: Rc<Peer>, stack: S)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static,
{
    let limits = &local.shared.connections;
    let connection = http2::Builder::new(OnThisCore)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(limits.pending_resets_max)
        .max_header_list_size(limits.header_bytes_max as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(Duration::from_millis(KEEPALIVE_MS))
        .keep_alive_timeout(Duration::from_millis(KEEPALIVE_MS))
        .serve_connection(TokioIo::new(io), calling(peer.clone(), stack));
    see_through(&peer, false, pin!(connection), |connection| connection.graceful_shutdown()).await;
}

/// Serves calls until the client leaves, or rests: then its socket is given back.
async fn speak_http1<Io, S>(local: &Local, io: Watched<Io>, peer: &Rc<Peer>, stack: S) -> Option<Watched<Io>>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static,
{
    let limits = &local.shared.connections;
    let tunnel = Rc::<Cell<Option<_>>>::default();
    let service = {
        let (call, tunnel) = (calling(peer.clone(), stack), tunnel.clone());
        service_fn(move |request: Request<Incoming>| {
            let (answering, tunnel) = (call.call(request), tunnel.clone());
            async move {
                let mut response = answering.await?;
                if response.body().is_tunnel() {
                    tunnel.set(response.body_mut().take_tunnel());
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(64 * 1024))
        .serve_connection(TokioIo::new(io), service);
    let seen =
        see_through(peer, true, Pin::new(&mut connection), |connection| connection.graceful_shutdown());
    let seen = seen.await;
    let parts = || {
        let parts = connection.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    };
    match seen {
        Seen::Broken => None,
        Seen::Rests => {
            let (mut io, unread) = parts();
            io.put_back(&unread);
            Some(io)
        }
        Seen::Whole => {
            let (half, call) = tunnel.take()?;
            let (mut near, unread) = parts();
            near.stop_looking();
            Box::pin(half.join(near, &unread, &peer.seat, call)).await;
            None
        }
    }
}

/// The stack as hyper calls it.
fn calling<S>(
    peer: Rc<Peer>,
    stack: S,
) -> impl HyperService<
    Request<Incoming>,
    Response = Response<Outgoing>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Outgoing>, Infallible>> + 'static,
> + use<S>
where
    S: Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |request| {
        stack.clone().call(Arrived { request, peer: peer.clone(), begun: Instant::now() })
    })
}

/// How the driving of a connection ended.
enum Seen {
    /// It ended in order.
    Whole,
    /// It was cut or broke.
    Broken,
    /// It waits for its client, and has for a while.
    Rests,
}

/// Drives a connection to its end, or to its rest if it `may_rest`, and does what its seat is told.
async fn see_through<Connection>(
    peer: &Peer,
    may_rest: bool,
    mut connection: Pin<&mut Connection>,
    leave: impl Fn(Pin<&mut Connection>),
) -> Seen
where
    Connection: Future<Output = hyper::Result<()>>,
{
    let mut left = false;
    let driving = |cx: &mut Context<'_>| {
        match peer.seat.order(cx) {
            Order::Stay => {}
            Order::Leave if left => {}
            Order::Leave => {
                left = true;
                leave(connection.as_mut());
            }
            Order::Cut => return Poll::Ready(Ok(Seen::Broken)),
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.map(|()| Seen::Whole)),
            Poll::Pending if may_rest && !left && peer.seat.rests() => Poll::Ready(Ok(Seen::Rests)),
            Poll::Pending => Poll::Pending,
        }
    };
    match poll_fn(driving).await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::debug!(event = "client_connection_ended", %error);
            Seen::Broken
        }
    }
}

/// Reads until it is known whether the client speaks HTTP/2, and returns what was read.
async fn first_bytes(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Vec<u8>)> {
    let mut read = Vec::with_capacity(512);
    loop {
        let before = read.len();
        io.read_buf(&mut read).await?;
        let same = read.len().min(PREFACE.len());
        if read[..same] != PREFACE[..same] || read.len() == before {
            return Ok((false, read));
        }
        if same == PREFACE.len() {
            return Ok((true, read));
        }
        read.reserve(PREFACE.len());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn judged(pieces: &[&[u8]]) -> (bool, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(1_024);
        let reading = async move { first_bytes(&mut ours).await.unwrap() };
        let writing = async move {
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(reading, writing).0
    }

    #[tokio::test]
    async fn the_protocol_is_known_from_the_first_bytes_however_they_come() {
        assert_eq!(judged(&[PREFACE]).await, (true, PREFACE.to_vec()));
        assert_eq!(judged(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n", b"\r\n"]).await, (true, PREFACE.to_vec()));
        assert_eq!(judged(&[b"GET / HTTP/1.1\r\n"]).await, (false, b"GET / HTTP/1.1\r\n".to_vec()));
        assert_eq!(judged(&[b"PRI", b" * HTTP/1.1\r\n"]).await, (false, b"PRI * HTTP/1.1\r\n".to_vec()));
        assert_eq!(judged(&[b""]).await, (false, Vec::new()));
    }
}
