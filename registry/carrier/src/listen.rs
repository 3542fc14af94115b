//! Lets peers in: checks their Hellos against their certificates, and carries the streams that come to be.

use std::sync::Arc;

use landbridge_runtime::{
    http::{self, HttpLimits, Serving},
    tls::PeerName,
};
use landbridge_wire::feeds::{FRAME_BYTES_MAX, Feeds, FeedsServer, Frame, Said};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    carrier::Shared,
    exchange::{self, first_hello},
    gate::Refusal,
    limits::Limits,
    metrics::{self, Side},
    outbox::{Outflow, outbox},
};

/// Streams on one connection: one, and room for a peer that opens the next before the last is over.
const STREAMS_PER_CONNECTION_MAX: u32 = 4;

/// Serves until the process ends.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let serving = Serving {
        listener,
        what: "feeds",
        tls: Some(shared.identity.clone()),
        limits: http_limits(shared.limits),
        shutdown: shared.shutdown.clone(),
    };
    let service = FeedsServer::new(Door { shared })
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    http::serve(serving, service).await;
}

fn http_limits(limits: Limits) -> HttpLimits {
    HttpLimits {
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_max,
        header_read_timeout_ms: limits.connect_ms,
        streams_max: STREAMS_PER_CONNECTION_MAX,
        stream_window_bytes: limits.window_bytes,
        connection_window_bytes: limits.window_bytes,
        keepalive_interval_ms: limits.keepalive_ms,
        keepalive_timeout_ms: limits.keepalive_answer_ms,
        ..HttpLimits::recommended().streaming()
    }
}

/// The feeds service: one stream per peer.
#[derive(Clone)]
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
        shared.exchanges_with(name)?;
        let hello = first_hello(&mut inbound, shared.limits.hello_ms).await?;
        let peer = shared.gate.admit(name, None, &hello)?;
        let own = Said::Hello(shared.gate.hello.clone());
        let (tap, outflow) = outbox(&own, shared.limits.outbox_frames_max);
        let token = shared.shutdown.child_token();
        let terms = exchange::Terms { side: Side::Accepted, packs: shared.gate.packs(&hello) };
        let line = exchange::enter(shared, &peer, terms, tap, inbound, token)?;
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
        Refusal::Unreachable(_)
        | Refusal::Handshake(_)
        | Refusal::NoHello(_)
        | Refusal::Deployment(_)
        | Refusal::Region(_)
        | Refusal::Role(_)
        | Refusal::Certificate(_)
        | Refusal::Protocol(_)
        | Refusal::Paused(_)
        | Refusal::Myself
        | Refusal::ByPeer(_) => Status::permission_denied(refusal.to_string()),
    }
}
