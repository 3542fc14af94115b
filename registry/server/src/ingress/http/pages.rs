//! The pages that SDKs, probes and people ask a Nacos server for, besides instances.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use landbridge_wire::nacos::http::answer::{self, Counts};

use super::{Asked, json};
use crate::{ingress::status, member::Shared};

/// `{"status":"UP"}`, by which Java 1.x, Go and Node see that a server is there.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>, Asked(asked): Asked) -> Response {
    let only_status = match asked.flag(&["onlyStatus"], true) {
        Ok(only_status) => only_status,
        Err(refusal) => return status::http_unread(&refusal),
    };
    let counts = (!only_status).then(|| count(&shared));
    json(answer::metrics(shared.state.registers(), counts))
}

fn count(shared: &Shared) -> Counts {
    let services = shared.window.services();
    let mut counts = Counts { services: services.len() as u64, ..Counts::default() };
    for service in &services {
        let face = shared.window.face(service);
        for host in &face.view.hosts {
            counts.instances += 1;
            counts.own_instances += u64::from(host.origin.is_none());
            counts.persistent += u64::from(host.persistent);
            counts.beating += u64::from(host.slot.is_some());
        }
    }
    counts.connections = shared.sessions.count() as u64;
    counts.clients = counts.connections + counts.beating + counts.persistent;
    counts.subscriptions =
        shared.sessions.all().iter().map(|session| session.outbox().subscriptions() as u64).sum();
    counts
}

/// Whether the process lives; whoever asks is answered by it.
pub(super) async fn liveness() -> Response {
    (StatusCode::OK, answer::HEALTHY).into_response()
}

/// Whether questions are answered.
pub(super) async fn readiness(State(shared): State<Arc<Shared>>) -> Response {
    if shared.state.answers() {
        return (StatusCode::OK, answer::HEALTHY).into_response();
    }
    (StatusCode::INTERNAL_SERVER_ERROR, "naming not in readiness").into_response()
}

/// What scanners and tools read the version from.
pub(super) async fn server_state() -> Response {
    json(answer::server_state([
        ("version", concat!("landbridge-", env!("CARGO_PKG_VERSION"))),
        ("standalone_mode", "standalone"),
        ("function_mode", "naming"),
    ]))
}

/// There is no config service here; SDKs that ask at start are told that their config does not exist.
pub(super) async fn config() -> Response {
    (StatusCode::NOT_FOUND, answer::CONFIG_NOT_FOUND).into_response()
}

/// The health page of Nacos's config module.
pub(super) async fn config_health() -> Response {
    (StatusCode::OK, answer::CONFIG_HEALTHY).into_response()
}
