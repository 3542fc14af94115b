//! Lets peers in: accepts connections, checks certificates and Hellos, and carries the streams that come to be.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use landbridge_runtime::{clock::Clock, tls::PeerName};
use landbridge_wire::feeds::{FRAME_BYTES_MAX, Feeds, FeedsServer, Frame, Said};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::Connected},
};

use crate::{
    carrier::Shared,
    exchange::{self, first_hello, innermost},
    gate::Refusal,
    metrics::{self, Side},
    outbox::{Outflow, outbox},
};

/// How long the loop rests when the machine gives it no more connections.
const EXHAUSTED_REST_MS: u64 = 100;

/// Connections that passed TLS and wait for HTTP/2; one more waits before its handshake ends.
const HANDSHAKES_DONE_MAX: usize = 16;

/// Streams on one connection: one, and room for a peer that opens the next before the last is over.
const STREAMS_PER_CONNECTION_MAX: u32 = 4;

/// At most one failed handshake is logged in this time; all are counted.
const HANDSHAKE_LOG_MS: u64 = 1_000;

/// Serves until the process ends.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let limits = shared.limits;
    let (ready, accepted) = mpsc::channel(HANDSHAKES_DONE_MAX);
    let service = FeedsServer::new(Door { shared: Arc::clone(&shared) })
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let served = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_millis(limits.keepalive_ms)))
        .http2_keepalive_timeout(Some(Duration::from_millis(limits.keepalive_answer_ms)))
        .initial_stream_window_size(limits.window_bytes)
        .initial_connection_window_size(limits.window_bytes)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(accepted), shared.shutdown.wait());
    tokio::select! {
        () = accept(&shared, listener, ready) => {}
        ended = served => {
            if let Err(error) = ended {
                tracing::error!(event = "feeds_listener_failed", why = innermost(&error), "no peer can call");
            }
        }
    }
}

/// Accepts connections and shakes hands with each in its own task.
async fn accept(shared: &Arc<Shared>, listener: TcpListener, ready: mpsc::Sender<io::Result<Accepted>>) {
    let slots = Arc::new(Semaphore::new(shared.limits.connections_max));
    let complaints = Arc::new(Complaints { clock: Clock::start(), next_ms: AtomicU64::new(0) });
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((io, address)) => {
                let (shared, ready) = (Arc::clone(shared), ready.clone());
                let complaints = Arc::clone(&complaints);
                tokio::spawn(async move {
                    match shake_hands(&shared, io, slot).await {
                        // A closed queue means that the process ends.
                        Ok(accepted) => drop(ready.send(Ok(accepted)).await),
                        Err(refusal) => complaints.note(&refusal, &address.to_string()),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(event = "accept_failed", %error, "resting before the next accept");
                sleep(Duration::from_millis(EXHAUSTED_REST_MS)).await;
            }
        }
    }
}

async fn shake_hands(
    shared: &Shared,
    io: TcpStream,
    slot: OwnedSemaphorePermit,
) -> Result<Accepted, Refusal> {
    io.set_nodelay(true).map_err(|error| Refusal::Handshake(error.to_string()))?;
    let within_ms = shared.limits.connect_ms;
    match timeout(Duration::from_millis(within_ms), shared.identity.accept(io)).await {
        Ok(Ok((io, name))) => Ok(Accepted { io, name, _slot: slot }),
        Ok(Err(error)) => Err(Refusal::Handshake(innermost(&error))),
        Err(_) => Err(Refusal::Handshake(format!("no TLS handshake in {within_ms} ms"))),
    }
}

/// Keeps strangers at the port from filling the log.
struct Complaints {
    clock: Clock,
    next_ms: AtomicU64,
}

impl Complaints {
    fn note(&self, refusal: &Refusal, address: &str) {
        metrics::refused(refusal, Side::Accepted);
        let now = self.clock.now();
        if self.next_ms.load(Ordering::Relaxed) <= now {
            self.next_ms.store(now + HANDSHAKE_LOG_MS, Ordering::Relaxed);
            tracing::warn!(
                event = "peer_refused",
                address,
                reason = refusal.reason(),
                why = %refusal,
                "a caller was refused"
            );
        }
    }
}

/// A connection that passed TLS; knows who is there and holds its slot.
struct Accepted {
    io: TlsStream<TcpStream>,
    name: PeerName,
    _slot: OwnedSemaphorePermit,
}

impl Connected for Accepted {
    type ConnectInfo = PeerName;

    fn connect_info(&self) -> PeerName {
        self.name.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// The feeds service: one stream per peer.
struct Door {
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl Feeds for Door {
    type ExchangeStream = Outflow;

    async fn exchange(&self, request: Request<Streaming<Frame>>) -> Result<Response<Outflow>, Status> {
        let name = request.extensions().get::<PeerName>().cloned();
        let name = name.ok_or_else(|| Status::internal("the connection has no name"))?;
        let opened = self.open(&name, request.into_inner()).await;
        opened.map(Response::new).map_err(|refusal| {
            metrics::refused(&refusal, Side::Accepted);
            tell(&name, &refusal);
            status(&refusal)
        })
    }
}

impl Door {
    async fn open(&self, name: &PeerName, mut inbound: Streaming<Frame>) -> Result<Outflow, Refusal> {
        let shared = &self.shared;
        shared.gate.admit_certificate(name, None)?;
        let hello = first_hello(&mut inbound, shared.limits.hello_ms).await?;
        let peer = shared.gate.admit(name, None, &hello)?;
        let own = Said::Hello(shared.gate.hello.clone());
        let (tap, outflow) = outbox(&own, shared.limits.outbox_frames_max);
        let token = shared.shutdown.child_token();
        let line = exchange::enter(shared, &peer, Side::Accepted, tap, inbound, token)?;
        let carried = Arc::clone(shared);
        shared.shutdown.spawn(async move { line.run(&carried).await });
        Ok(outflow)
    }
}

fn tell(name: &PeerName, refusal: &Refusal) {
    let reason = refusal.reason();
    if refusal.is_expected() {
        tracing::debug!(event = "peer_refused", peer = %name, reason, why = %refusal, "a caller was refused");
    } else {
        tracing::warn!(event = "peer_refused", peer = %name, reason, why = %refusal, "a caller was refused");
    }
}

/// What the caller is told.
fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Duplicate => Status::already_exists(refusal.to_string()),
        Refusal::Handshake(_)
        | Refusal::NoHello(_)
        | Refusal::Deployment(_)
        | Refusal::Region(_)
        | Refusal::Role(_)
        | Refusal::Certificate(_)
        | Refusal::Protocol(_)
        | Refusal::Myself
        | Refusal::ByPeer(_) => Status::permission_denied(refusal.to_string()),
    }
}
