//! Config requests over gRPC: each client that asks gets a connection of its own to the upstream, as Nacos knows watchers.
//!
//! ```text
//! none ──config request──▶ dialled ──set-up taken──▶ open ──either end closes──▶ the client's connection is closed
//! ```
//! Invariant: when the upstream's side is lost the client's connection ends too, so that the SDK watches again what it watched.

use std::{sync::Arc, time::Duration};

use landbridge_wire::nacos::grpc::{
    BiRequestStreamClient, MESSAGE_BYTES_MAX, Payload, RequestClient, ask, proto::Metadata,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};
use tracing::debug;

use super::{CREDENTIAL_HEADERS, GRPC_ABOVE, Missed, Upstream, counted};
use crate::session::Session;

/// What clients ask of configs.
const REQUESTS: [&str; 5] = [
    "ConfigQueryRequest",
    "ConfigPublishRequest",
    "ConfigRemoveRequest",
    "ConfigBatchListenRequest",
    "ConfigFuzzyWatchRequest",
];

/// What clients answer to questions of the upstream.
const ACKS: [&str; 4] = [
    "ConfigChangeNotifyResponse",
    "ClientConfigMetricResponse",
    "ConfigFuzzyWatchSyncResponse",
    "ConfigFuzzyWatchChangeNotifyResponse",
];

/// Words to the upstream that wait to be sent; further acks are dropped, and it asks again.
const WORDS_MAX: usize = 64;

/// How often a new connection is tried until the upstream has taken its set-up.
const SETTLE_EVERY: Duration = Duration::from_millis(20);

/// Whether a message is a question for the upstream.
pub(crate) fn is_request(payload: &Payload) -> bool {
    REQUESTS.contains(&payload.type_name())
}

/// Whether a message answers the upstream.
pub(crate) fn is_ack(payload: &Payload) -> bool {
    ACKS.contains(&payload.type_name())
}

/// One client's connection to the upstream.
pub(crate) struct Tunnel {
    requests: RequestClient<Channel>,
    words: mpsc::Sender<Payload>,
}

impl Tunnel {
    /// Passes what the client answered.
    pub(crate) fn acked(&self, payload: Payload) {
        // A full queue drops the ack; the upstream asks again after seconds.
        let _ = self.words.try_send(payload);
    }
}

impl Upstream {
    /// Asks on behalf of a client.
    pub(crate) async fn request(&self, session: &Arc<Session>, payload: Payload) -> Result<Payload, Missed> {
        let asking = tokio::time::timeout(self.answer, self.ask_for(session, payload)).await;
        counted("grpc", asking.unwrap_or(Err(Missed::Slow)))
    }

    async fn ask_for(&self, session: &Arc<Session>, payload: Payload) -> Result<Payload, Missed> {
        let tunnel = session.tunnel().get_or_try_init(|| self.open(session)).await?;
        let mut requests = tunnel.requests.clone();
        match requests.request(self.presentable(payload)).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                session.close();
                Err(Missed::Unreachable(status.message().to_owned()))
            }
        }
    }

    /// A message without what the caller shows of itself to this region.
    fn presentable(&self, mut payload: Payload) -> Payload {
        if let Some(Metadata { headers, .. }) = &mut payload.metadata
            && self.strips
        {
            headers.retain(|name, _| !CREDENTIAL_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
        }
        payload
    }

    async fn open(&self, session: &Arc<Session>) -> Result<Tunnel, Missed> {
        let mut why = "none is configured".to_owned();
        for (host, port) in self.servers(usize::try_from(session.number()).unwrap_or_default()) {
            let opening = tokio::time::timeout(self.connect, self.dial(session, host, *port)).await;
            match opening {
                Ok(Ok(tunnel)) => return Ok(tunnel),
                Ok(Err(error)) => {
                    debug!(event = "upstream_refused", host, %error);
                    why = format!("{host}:{port} does not take a client");
                }
                Err(_) => why = format!("{host}:{port} does not take a client in time"),
            }
        }
        Err(Missed::Unreachable(why))
    }

    async fn dial(&self, session: &Arc<Session>, host: &str, port: u16) -> Result<Tunnel, tonic::Status> {
        let broken = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        let address = format!("http://{host}:{}", port.saturating_add(GRPC_ABOVE));
        let endpoint = Endpoint::from_shared(address).map_err(broken)?.connect_timeout(self.connect);
        let channel = endpoint.connect().await.map_err(broken)?;
        let (words, said) = mpsc::channel(WORDS_MAX);
        let taken = words.try_send(set_up(session));
        taken.map_err(|_| tonic::Status::internal("a new queue has room"))?;
        let mut streams =
            BiRequestStreamClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let heard = streams.request_bi_stream(ReceiverStream::new(said)).await?.into_inner();
        let mut requests = RequestClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        // A set-up is answered by nothing that every Nacos sends; one that was taken is known by what is answered after it.
        let mut pace = tokio::time::interval(SETTLE_EVERY);
        loop {
            pace.tick().await;
            let answer = requests.request(ask::health_check()).await?.into_inner();
            if answer.type_name() == "HealthCheckResponse" {
                break;
            }
        }
        tokio::spawn(listen(Arc::clone(session), heard, words.clone()));
        Ok(Tunnel { requests, words })
    }
}

/// What the client said of itself, said again. Without abilities the upstream sends nothing that the client was not told of.
fn set_up(session: &Session) -> Payload {
    let said = session.introduction();
    let (version, tenant, app) = said
        .map_or(("", "", ""), |said| (said.client_version.as_str(), said.tenant.as_str(), said.app.as_str()));
    let json = json!({
        "headers": {},
        "clientVersion": version,
        "tenant": tenant,
        "labels": { "module": "config", "source": "sdk", "AppName": app },
        "module": "internal",
    });
    let mut payload = Payload::new("ConnectionSetupRequest", json.to_string());
    if let Some(metadata) = &mut payload.metadata {
        metadata.client_ip = said.map(|said| said.client_ip.clone()).unwrap_or_default();
    }
    payload
}

/// Hears the upstream until either end is over: it is told that we live, and its questions go to the client.
async fn listen(session: Arc<Session>, mut heard: Streaming<Payload>, words: mpsc::Sender<Payload>) {
    loop {
        let payload = tokio::select! {
            payload = heard.message() => payload,
            () = session.closing().cancelled() => return,
        };
        let Ok(Some(payload)) = payload else { break };
        match payload.type_name() {
            "ClientDetectionRequest" => {
                let id = serde_json::from_slice::<Value>(payload.json()).ok();
                let id = id.and_then(|said| said.get("requestId").cloned()).unwrap_or_default();
                let json = json!({ "resultCode": 200, "errorCode": 0, "requestId": id, "success": true });
                // A full queue is a word on its way, which says as well that we live.
                let _ = words.try_send(Payload::new("ClientDetectionResponse", json.to_string()));
            }
            "SetupAckRequest" => {}
            "ConnectResetRequest" => break,
            // A client that lets too much pile up is asked again by the upstream.
            _ => drop(session.outbox().control(payload.framed())),
        }
    }
    session.close();
}
