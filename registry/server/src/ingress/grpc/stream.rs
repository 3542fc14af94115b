//! The stream by which the server asks back: set-up, acknowledgements, and its end, which is the connection's.

use std::sync::Arc;

use http::{Request as HttpRequest, Response as HttpResponse};
use hyper::body::Incoming;
use landbridge_registry_core::Input;
use landbridge_wire::nacos::grpc::{
    Ack, ConnectionSetup, Kind, MESSAGE_BYTES_MAX, Payload, Request, answer as say,
};
use tonic::{Status, Streaming, body::Body, codec::BufferSettings};
use tonic_prost::ProstCodec;

use super::Unary;
use crate::{egress::outbox::PushBody, metrics, session::Introduction, upstream};

/// What we can do that a client must not assume (Nacos 3.1 ability names).
const ABILITIES: [(&str, bool); 2] = [("supportPersistentInstanceByGrpc", true), ("fuzzyWatch", true)];

/// What a connection keeps for the words of its client, which are acknowledgements; a longer word gets more.
const WORD_BYTES: usize = 512;

impl Unary {
    /// Opens the stream by which the server asks back.
    pub(super) fn stream(&self, request: HttpRequest<Incoming>) -> HttpResponse<Body> {
        if !self.session.outbox().begin_stream() {
            return Status::already_exists("the connection has its stream already").into_http();
        }
        let buffers = BufferSettings::new(WORD_BYTES, WORD_BYTES);
        let decoder = ProstCodec::<Payload, Payload>::raw_decoder(buffers);
        let words = Streaming::new_request(decoder, request.into_body(), None, Some(MESSAGE_BYTES_MAX));
        tokio::spawn(self.clone().listen(words));
        let mut answer = HttpResponse::new(Body::new(PushBody::new(Arc::clone(&self.session))));
        answer.headers_mut().insert(http::header::CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
        answer
    }

    /// Listens to the client's side of the stream until it ends; the end of the stream is the end of the connection.
    async fn listen(self, mut words: Streaming<Payload>) {
        loop {
            match words.message().await {
                Ok(Some(payload)) => self.hear(&payload),
                Ok(None) => break,
                // A connection that is closed from here ends its stream too.
                Err(_) if self.session.is_closing() => break,
                Err(_) => {
                    metrics::malformed("grpc_stream");
                    break;
                }
            }
        }
        self.session.close();
    }

    fn hear(&self, payload: &Payload) {
        self.session.spoke();
        if let Some(tunnel) = self.session.tunnel().get()
            && upstream::grpc::is_ack(payload)
        {
            return tunnel.acked(payload.clone());
        }
        match Request::parse(payload) {
            Ok(Request::ConnectionSetup(setup)) => self.set_up(setup, payload.client_ip()),
            Ok(Request::Ack(ack)) => self.acked(payload.kind(), &ack),
            Ok(
                Request::ServerCheck
                | Request::HealthCheck
                | Request::Instance { .. }
                | Request::BatchInstance { .. }
                | Request::PersistentInstance { .. }
                | Request::ServiceQuery(_)
                | Request::ServiceList(_)
                | Request::Subscribe(_)
                | Request::FuzzyWatch(_)
                | Request::ConfigQuery
                | Request::ConfigWrite
                | Request::ConfigListen
                | Request::Unknown(_),
            ) => metrics::grpc(payload.kind().name(), "on_stream"),
            Err(_) => metrics::malformed("grpc_stream"),
        }
    }

    fn set_up(&self, setup: ConnectionSetup, client_ip: &str) {
        let naming = setup.is_naming();
        let waits = setup.abilities.is_some();
        self.session.introduce(Introduction {
            client_version: setup.client_version.to_string(),
            client_ip: client_ip.to_owned(),
            app: setup.labels.get("AppName").map(ToString::to_string).unwrap_or_default(),
            tenant: setup.tenant.to_string(),
            naming,
        });
        // Only a client that told its abilities waits for ours; others log an unknown message.
        if waits {
            self.session.outbox().control(say::setup_ack(ABILITIES).framed());
        }
    }

    fn acked(&self, kind: Kind, ack: &Ack) {
        if kind == Kind::NotifyAck
            && let Some(push) = ack.request_id
            && let Some(waited_ms) = self.session.outbox().acked(push, self.session.now_ms())
        {
            self.shared.sessions.push_acked(waited_ms);
            metrics::acked(waited_ms);
        }
        if matches!(kind, Kind::FuzzySyncAck | Kind::FuzzyChangeAck)
            && ack.taken
            && let Some(id) = ack.request_id
        {
            self.shared.fuzzy.acked(&self.session, id, &self.shared.window);
        }
        if kind == Kind::DetectionAck {
            let orders = self.shared.orders.clone();
            let connection = self.connection();
            tokio::spawn(async move { orders.tell(Input::ConnectionAlive { connection }).await });
        }
    }
}
