//! What SDKs say over gRPC: unary requests, and the one stream by which the server asks back.
//!
//! Invariant: only `ServerCheckRequest` is answered before the connection is set up (Nacos 2.5 `GrpcRequestAcceptor`).

mod door;
mod stream;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request as HttpRequest, Response as HttpResponse};
use hyper::body::Incoming;
use landbridge_model::{InstanceKey, ServiceKey};
use landbridge_registry_core::{ConnectionId, Input, Published};
use landbridge_wire::nacos::{
    Enrolment, Naming, ServiceListQuery, ServiceQuery, codes,
    grpc::{
        FuzzyWatch, Kind, MESSAGE_BYTES_MAX, Payload, PersistentChange, Publish, Request, RequestServer,
        RequestService, Subscribe, answer as say,
    },
};
use tonic::{Status, body::Body};
use tower::Service;

use crate::{
    answer,
    auth::{Principal, owner},
    fuzzy::Full,
    ingress::{freshness, meant, status},
    labels::Consumer,
    member::Shared,
    metrics,
    orders::{Answered, Failed},
    session::Session,
    upstream::{self, Upstream},
};

/// The path of unary requests.
const UNARY: &str = "/Request/request";

/// The path of the stream.
const STREAM: &str = "/BiRequestStream/requestBiStream";

/// One connection's gRPC service.
#[derive(Clone)]
pub(crate) struct Conversation {
    unary: RequestServer<Unary>,
    talk: Unary,
}

impl Conversation {
    /// The service of a connection that was just accepted.
    pub(crate) fn new(shared: Arc<Shared>, session: Arc<Session>) -> Self {
        let talk = Unary { shared, session };
        let unary = RequestServer::new(talk.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { unary, talk }
    }
}

impl Service<HttpRequest<Incoming>> for Conversation {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Incoming>) -> Self::Future {
        match request.uri().path() {
            UNARY => self.unary.call(request.map(Body::new)),
            STREAM => {
                let answer = self.talk.stream(request);
                Box::pin(std::future::ready(Ok(answer)))
            }
            _ => Box::pin(std::future::ready(Ok(Status::unimplemented("no such method").into_http()))),
        }
    }
}

/// What a connection's requests work with.
#[derive(Clone)]
struct Unary {
    shared: Arc<Shared>,
    session: Arc<Session>,
}

#[tonic::async_trait]
impl RequestService for Unary {
    async fn request(&self, request: tonic::Request<Payload>) -> Result<tonic::Response<Payload>, Status> {
        let payload = request.into_inner();
        self.session.spoke();
        let kind = payload.kind();
        if let Some(upstream) = &self.shared.upstream
            && upstream::grpc::is_request(&payload)
        {
            return Ok(tonic::Response::new(self.passed(upstream, payload).await));
        }
        let answer = match Request::parse(&payload) {
            Ok(request) => self.answer(&payload, request).await,
            Err(refusal) => {
                metrics::malformed("grpc");
                Err(status::grpc_unread(kind, &refusal))
            }
        };
        let outcome = if answer.is_ok() { "ok" } else { "refused" };
        metrics::grpc(kind.name(), outcome);
        let reads =
            matches!(kind, Kind::ServiceQuery | Kind::ServiceList | Kind::Subscribe) && answer.is_ok();
        let mut response = tonic::Response::new(answer.unwrap_or_else(|refused| refused));
        if reads {
            freshness::note(&self.shared, response.metadata_mut());
        }
        Ok(response)
    }
}

/// An answer, or a refusal, which is an answer too.
type Reply = Result<Payload, Payload>;

impl Unary {
    async fn answer(&self, payload: &Payload, request: Request) -> Reply {
        let kind = payload.kind();
        if let Request::ServerCheck = request {
            return if self.shared.state.registers() {
                Ok(say::server_check(self.session.id()))
            } else {
                Err(say::error(codes::STARTING, codes::STARTING_TEXT))
            };
        }
        if self.session.introduction().is_none() {
            return Err(say::error(codes::UNREGISTERED, codes::UNREGISTERED_TEXT));
        }
        let principal = door::admit(&self.shared, payload, || door::need(&request)).await?;
        match request {
            Request::ServerCheck | Request::HealthCheck => Ok(say::health_check()),
            Request::Instance { service, publish } => self.instance(&principal, service, publish).await,
            Request::BatchInstance { service, instances } => self.batch(&principal, service, instances).await,
            Request::PersistentInstance { service, change } => {
                self.persistent(&principal, service, change).await
            }
            Request::ServiceQuery(query) => self.query(&query),
            Request::ServiceList(query) => self.list(&query),
            Request::Subscribe(subscribe) => self.subscribe(&subscribe),
            Request::FuzzyWatch(asked) => self.fuzzy_watch(asked),
            Request::ConfigQuery => Err(say::config_not_found()),
            Request::ConfigWrite => Err(say::config_not_kept(kind)),
            Request::ConfigListen => Ok(say::config_unchanged()),
            Request::ConnectionSetup(_) | Request::Ack(_) => {
                Err(say::error(codes::BAD_PAYLOAD, "this message belongs on the stream"))
            }
            Request::Unknown(name) if codes::BETWEEN_SERVERS.contains(&name.as_str()) => {
                Err(say::error(codes::BAD_PAYLOAD, &codes::forbidden_from_sdk(&name)))
            }
            Request::Unknown(_) => Err(say::error(codes::NO_HANDLER, codes::NO_HANDLER_TEXT)),
        }
        .inspect_err(|_| metrics::refused(kind.name()))
    }

    /// What the Nacos that keeps configs answers, or why it does not.
    async fn passed(&self, upstream: &Upstream, payload: Payload) -> Payload {
        let kind = payload.kind();
        if self.session.introduction().is_none() {
            return say::error(codes::UNREGISTERED, codes::UNREGISTERED_TEXT);
        }
        let need = || upstream::rule::grpc(payload.type_name(), payload.json());
        if let Err(refused) = door::admit(&self.shared, &payload, need).await {
            return refused;
        }
        let answer = upstream.request(&self.session, payload).await;
        metrics::grpc(kind.name(), if answer.is_ok() { "ok" } else { "refused" });
        answer.unwrap_or_else(|missed| status::grpc_missed(&missed))
    }

    fn connection(&self) -> ConnectionId {
        ConnectionId(self.session.number())
    }

    /// Only a connection of the module `naming` may publish (Nacos 2.5 `ConnectionBasedClientManager`).
    fn publishes(&self, kind: Kind) -> Result<(), Payload> {
        if self.session.introduction().is_some_and(|introduction| introduction.naming) {
            return Ok(());
        }
        let text = "only a connection of the module naming can register ephemeral instances";
        Err(say::refused(kind, codes::INVALID, text))
    }

    async fn instance(&self, principal: &Principal, service: ServiceKey, publish: Publish) -> Reply {
        self.publishes(Kind::Instance)?;
        let connection = self.connection();
        match publish {
            Publish::Register(Enrolment { key, instance, .. }) => {
                self.bounded(Kind::Instance, [&instance])?;
                self.owns(Kind::Instance, principal, &service, [&key])?;
                let instance = owner::marked(principal, instance);
                let (shown, keys) = (service.clone(), vec![key.clone()]);
                let published = Published::One(key, Arc::new(instance));
                let order = |ticket| Input::Publish { ticket, connection, service, published };
                self.written(Kind::Instance, order).await?;
                self.published(shown, keys);
                Ok(say::registered())
            }
            Publish::Deregister => {
                let shown = service.clone();
                let order = |ticket| Input::Withdraw { ticket, connection, service };
                self.written(Kind::Instance, order).await?;
                self.published(shown, Vec::new());
                Ok(say::deregistered())
            }
        }
    }

    async fn batch(&self, principal: &Principal, service: ServiceKey, instances: Vec<Enrolment>) -> Reply {
        self.publishes(Kind::BatchInstance)?;
        self.bounded(Kind::BatchInstance, instances.iter().map(|enrolment| &enrolment.instance))?;
        self.owns(
            Kind::BatchInstance,
            principal,
            &service,
            instances.iter().map(|enrolment| &enrolment.key),
        )?;
        let connection = self.connection();
        let shown = service.clone();
        let keys = instances.iter().map(|enrolment| enrolment.key.clone()).collect();
        let marked = |instance| Arc::new(owner::marked(principal, instance));
        let set = instances.into_iter().map(|enrolment| (enrolment.key, marked(enrolment.instance)));
        let published = Published::Batch(set.collect());
        let order = |ticket| Input::Publish { ticket, connection, service, published };
        self.written(Kind::BatchInstance, order).await?;
        self.published(shown, keys);
        Ok(say::batch_registered())
    }

    async fn persistent(
        &self,
        principal: &Principal,
        service: ServiceKey,
        change: PersistentChange,
    ) -> Reply {
        use landbridge_registry_core::Command;
        let kind = Kind::PersistentInstance;
        let (command, done) = match change {
            PersistentChange::Register(Enrolment { key, instance, .. }) => {
                self.bounded(kind, [&instance])?;
                self.owns(kind, principal, &service, [&key])?;
                let instance = Arc::new(owner::marked(principal, instance));
                (Command::PutPersistent { service, key, instance }, say::registered())
            }
            PersistentChange::Deregister(key) => {
                let key = meant(&self.shared, &service, key, true).await;
                self.owns(kind, principal, &service, [&key])?;
                (Command::DeletePersistent { service, key }, say::deregistered())
            }
        };
        self.written(kind, |ticket| Input::Submit { ticket, command }).await.map(|()| done)
    }

    /// Notes what the connection published, and tells it what that changes for itself.
    fn published(&self, service: ServiceKey, keys: Vec<InstanceKey>) {
        self.session.publishes(service, keys);
        self.shared.window.relabel(&self.session);
    }

    /// Refuses metadata beyond the member's own limit.
    fn bounded<'a>(
        &self,
        kind: Kind,
        instances: impl IntoIterator<Item = &'a landbridge_model::Instance>,
    ) -> Result<(), Payload> {
        let refused = instances.into_iter().find_map(|instance| self.shared.bounded(instance).err());
        refused.map_or(Ok(()), |text| Err(say::refused(kind, codes::INVALID, &text)))
    }

    /// Refuses to change what another user registered.
    fn owns<'a>(
        &self,
        kind: Kind,
        principal: &Principal,
        service: &ServiceKey,
        keys: impl IntoIterator<Item = &'a InstanceKey>,
    ) -> Result<(), Payload> {
        if keys.into_iter().all(|key| self.shared.may_change(principal, service, key)) {
            return Ok(());
        }
        metrics::denied("grpc", "owner");
        Err(say::refused(kind, codes::NO_RIGHT, status::OWNED))
    }

    async fn written(
        &self,
        kind: Kind,
        order: impl FnOnce(landbridge_registry_core::Ticket) -> Input,
    ) -> Result<(), Payload> {
        match self.shared.orders.ask(order).await {
            Ok(Answered::Core(_) | Answered::Raft(..) | Answered::Seen) => Ok(()),
            Err(failed) => Err(status::grpc(kind, &failed)),
        }
    }

    /// Reads wait for nothing; before READY they are refused, never answered with less than there is.
    fn ready(&self) -> Result<(), Payload> {
        if self.shared.state.answers() {
            return Ok(());
        }
        Err(say::error(codes::STARTING, codes::STARTING_TEXT))
    }

    fn query(&self, query: &ServiceQuery) -> Reply {
        self.ready()?;
        let face = self.shared.window.face(&query.service);
        let wanted = self.shared.window.wanted(&face, &query.clusters, Consumer::Connected(&self.session));
        if query.healthy_only {
            let encoded = answer::encode(&face.view, Naming::Bare, &wanted, true);
            return Ok(say::queried(&encoded, face.view.last_ref_ms));
        }
        Ok(face.queried(&wanted))
    }

    /// What a watch matches is told on the stream; a service is there as long as lists name it.
    fn fuzzy_watch(&self, asked: FuzzyWatch) -> Reply {
        self.ready()?;
        let full = match self.shared.fuzzy.ask(&self.session, asked, &self.shared.window) {
            Ok(()) => return Ok(say::fuzzy_watched()),
            Err(full) => full,
        };
        let (code, text) = match full {
            Full::Patterns => (codes::PATTERNS_FULL, "fuzzy watch pattern count limit"),
            Full::Matches => (codes::MATCHES_FULL, "fuzzy watch pattern matched service count limit"),
        };
        Err(say::refused(Kind::FuzzyWatch, code, text))
    }

    fn list(&self, query: &ServiceListQuery) -> Reply {
        self.ready()?;
        let names = self.shared.window.names(&query.namespace, &query.group);
        let skip = usize::try_from(query.skip()).unwrap_or(usize::MAX);
        let take = usize::try_from(query.page_size).unwrap_or(usize::MAX);
        let page = names.iter().skip(skip).take(take).map(landbridge_model::ServiceName::as_str);
        Ok(say::service_list(names.len(), page))
    }

    fn subscribe(&self, wish: &Subscribe) -> Reply {
        self.ready()?;
        let Subscribe { service, clusters, subscribe } = wish;
        let window = &self.shared.window;
        if *subscribe {
            if !window.subscribe(service, &self.session, clusters) {
                let failed = Failed::Refused(landbridge_registry_core::Refusal::Full {
                    bound: "subscriptions of one connection",
                    max: crate::egress::outbox::SUBSCRIPTIONS_MAX,
                });
                return Err(status::grpc(Kind::Subscribe, &failed));
            }
        } else {
            window.unsubscribe(service, &self.session);
        }
        let face = window.face(service);
        let wanted = window.wanted(&face, clusters, Consumer::Connected(&self.session));
        let encoded = answer::encode(&face.view, Naming::Bare, &wanted, false);
        Ok(say::subscribed(&encoded, face.view.last_ref_ms))
    }
}
