//! The instance calls of v1: register, deregister, beat, edit, look and list.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use landbridge_model::{InstanceKey, ServiceName};
use landbridge_registry_core::{Command, Host, Input, Outcome, ServiceView, Ticket};
use landbridge_runtime::http::PeerAddress;
use landbridge_wire::nacos::{
    Enrolment, Lease, Naming, Refusal,
    http::{
        Beat, InstanceEdit, ListQuery,
        answer::{self, Version},
        udp,
    },
};

use super::{Asked, counted, json};
use crate::{answer as views, ingress::status, member::Shared, orders::Answered};

/// An answer, or a refusal, which is an answer too.
type Answer = Result<Response, Refused>;

/// A refusal as it leaves; boxed because it is rare and an answer is large.
struct Refused(Box<Response>);

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

fn either(answer: Answer) -> Response {
    answer.unwrap_or_else(|Refused(response)| *response)
}

fn unread(refusal: Refusal) -> Refused {
    status::http_unread(&refusal).into()
}

fn refuse(status: StatusCode, text: String) -> Refused {
    (status, text).into_response().into()
}

/// Nacos answers every v1 write with this text.
fn ok() -> Response {
    (StatusCode::OK, answer::OK).into_response()
}

pub(super) async fn register(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let answer = async {
        let (service, Enrolment { key, instance, ephemeral }) = asked.register().map_err(unread)?;
        shared.bounded(&instance).map_err(|why| refuse(StatusCode::BAD_REQUEST, why))?;
        let instance = Arc::new(instance);
        written(&shared, |ticket| {
            if ephemeral {
                Input::Register { ticket, target: (service, key), instance }
            } else {
                Input::Submit { ticket, command: Command::PutPersistent { service, key, instance } }
            }
        })
        .await
    };
    counted("register", either(answer.await))
}

pub(super) async fn deregister(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let answer = async {
        let named = asked.named().map_err(unread)?;
        let (service, mut key) = (named.service, named.key);
        if named.ephemeral
            && let Some(pane) = shared.window.find(&service)
            && let Some(host) = meant(&pane.face().view, &key, false)
        {
            // Python registers in a cluster "None" and deregisters without one; Nacos 2 looks at ip and port only.
            key = host.key.clone();
        }
        written(&shared, |ticket| {
            if named.ephemeral {
                Input::Deregister { ticket, target: (service, key) }
            } else {
                Input::Submit { ticket, command: Command::DeletePersistent { service, key } }
            }
        })
        .await
    };
    counted("deregister", either(answer.await))
}

pub(super) async fn replace(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let answer = match asked.replace() {
        Ok(edit) => lay(&shared, edit).await,
        Err(refusal) => Err(unread(refusal)),
    };
    counted("update", either(answer))
}

pub(super) async fn edit(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let answer = match asked.edit() {
        Ok(edit) => lay(&shared, edit).await,
        Err(refusal) => Err(unread(refusal)),
    };
    counted("update", either(answer))
}

/// Lays an operator's edit over an instance; one of a service nobody knows is refused, as in Nacos.
async fn lay(shared: &Shared, edit: InstanceEdit) -> Answer {
    let InstanceEdit { service, key, overlay } = edit;
    if !shared.state.answers() {
        return Err(status::starting().into());
    }
    let face = shared.window.face(&service);
    if face.view.kind.is_none() {
        let text = format!(
            "service not found, namespace: {}, serviceName: {}",
            service.namespace(),
            service.grouped()
        );
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    }
    let overlay = Arc::new(overlay);
    let command = Command::SetOverlay { service, key, overlay };
    written(shared, |ticket| Input::Submit { ticket, command }).await
}

async fn written(shared: &Shared, order: impl FnOnce(Ticket) -> Input) -> Answer {
    match shared.orders.ask(order).await {
        Ok(Answered::Core(_) | Answered::Raft(..)) => Ok(ok()),
        Err(failed) => Err(status::http(&failed).into()),
    }
}

/// A beat on a lease that this member keeps is noted on the board; any other goes to the core.
pub(super) async fn beat(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let answer = match asked.beat() {
        Ok(beat) => beaten(&shared, beat).await,
        Err(refusal) => Err(unread(refusal)),
    };
    counted("beat", either(answer))
}

async fn beaten(shared: &Shared, beat: Beat) -> Answer {
    let Beat { service, mut key, cluster_said, full } = beat;
    if let Some(pane) = shared.window.find(&service) {
        let face = pane.face();
        if let Some(host) = meant(&face.view, &key, cluster_said) {
            if let Some(slot) = host.slot
                && host.instance.healthy
            {
                shared.beats.renew(slot);
                return Ok(json(answer::beat(Lease::of(&host.instance.metadata), true)));
            }
            key = host.key.clone();
        }
    }
    let full = full.map(Arc::new);
    let ask = |ticket| Input::Beat { ticket, target: (service, key), full };
    match shared.orders.ask(ask).await {
        Ok(Answered::Core(Outcome::Unknown)) => Ok(json(answer::beat(Lease::PLAIN, false))),
        Ok(Answered::Core(Outcome::Renewed { interval_ms })) => {
            let lease = Lease { interval_ms: interval_ms.into(), ..Lease::PLAIN };
            Ok(json(answer::beat(lease, true)))
        }
        Ok(Answered::Core(Outcome::Written(_) | Outcome::Verdicts(_)) | Answered::Raft(..)) => {
            Ok(json(answer::beat(Lease::PLAIN, true)))
        }
        Err(failed) => Err(status::http(&failed).into()),
    }
}

/// The own region's instance that is meant: Python leaves the cluster out, and then ip and port decide.
fn meant<'a>(view: &'a ServiceView, key: &InstanceKey, cluster_said: bool) -> Option<&'a Host> {
    let exact = view.host(key).filter(|host| host.origin.is_none());
    if exact.is_some() || cluster_said {
        return exact;
    }
    let mut own = view.hosts.iter().filter(|host| host.origin.is_none());
    own.find(|host| host.key.ip == key.ip && host.key.port == key.port)
}

pub(super) async fn look(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let answer = || {
        let named = asked.named().map_err(unread)?;
        ready(&shared)?;
        let face = shared.window.face(&named.service);
        let missing = |text: String| refuse(StatusCode::NOT_FOUND, text);
        if face.view.hosts.is_empty() {
            return Err(missing(format!(
                "no ips found for cluster {} in service {}",
                named.key.cluster,
                named.service.grouped()
            )));
        }
        let host = face.view.host(&named.key).ok_or_else(|| missing("no matched ip found!".to_owned()))?;
        Ok(json(answer::instance(Version::V1, &named.service, &host.key, &host.instance)))
    };
    counted("look", either(answer()))
}

/// The caller's address, if it speaks over a socket.
pub(super) struct Caller(Option<PeerAddress>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<PeerAddress>().copied()))
    }
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    headers: HeaderMap,
    Asked(asked): Asked,
) -> Response {
    let answer = || {
        let ListQuery { query, udp } = asked.list().map_err(unread)?;
        ready(&shared)?;
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        if let (Some(listener), Some(PeerAddress(caller)), true) = (udp, caller, udp::understands(agent)) {
            // Never to an address that the caller only claims: that would let anyone aim pushes at anyone.
            let mut address = caller;
            address.set_port(listener.port);
            shared.window.listen(&query.service, address, &query.clusters, shared.clock.now());
        }
        let face = shared.window.face(&query.service);
        if query.healthy_only {
            let encoded = views::encode(&face.view, Naming::Grouped, &query.clusters, true);
            return Ok(json(encoded.answer(face.view.last_ref_ms)));
        }
        Ok(json(face.grouped(&query.clusters)))
    };
    counted("list", either(answer()))
}

pub(super) async fn services(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let answer = || {
        let query = asked.service_list().map_err(unread)?;
        ready(&shared)?;
        let names = shared.window.names(&query.namespace, &query.group);
        let skip = usize::try_from(query.skip()).unwrap_or(usize::MAX);
        let take = usize::try_from(query.page_size).unwrap_or(usize::MAX);
        let page = names.iter().skip(skip).take(take).map(ServiceName::as_str);
        Ok(json(answer::service_list(Version::V1, names.len(), page)))
    };
    counted("services", either(answer()))
}

/// Before READY a question is refused, never answered with less than there is.
fn ready(shared: &Shared) -> Result<(), Refused> {
    if shared.state.answers() { Ok(()) } else { Err(status::starting().into()) }
}
