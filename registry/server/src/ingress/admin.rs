//! The operators' door: `/landbridge/v1`, JSON over HTTP with a token.

mod backup;
mod company;
mod holds;
mod links;
mod policies;
mod raft;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use bytes::Bytes;
use landbridge_feed::{RegionStatus, Standing};
use landbridge_model::{Position, Region, ServiceKey};
use landbridge_registry_core::{Command, Host, Input};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    auth::bootstrap::same,
    ingress::freshness,
    member::Shared,
    orders::{Answered, Failed},
};

/// A leader that no majority answered for so long does not count as one.
const LEADER_HEARD: Duration = Duration::from_secs(1);

/// How much of a path is noted that somebody was turned away from, in characters.
const TARGET_CHARS_MAX: usize = 128;

/// The routes, each behind the token.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let fresh = middleware::from_fn_with_state(Arc::clone(&shared), freshness::tell);
    // What these show has been decided by the region.
    let decided = Router::new()
        .route("/landbridge/v1/services", get(services))
        .route("/landbridge/v1/instances", get(instances))
        .route("/landbridge/v1/policies/export", get(policies::exports))
        .route("/landbridge/v1/policies/import", get(policies::imports))
        .route("/landbridge/v1/links", get(links::list))
        .layer(fresh);
    Router::new()
        .merge(decided)
        .route("/landbridge/v1/status", get(status))
        .route("/landbridge/v1/regions", get(regions))
        .route("/landbridge/v1/members", get(company::members))
        .route("/landbridge/v1/connections", get(connections))
        .route("/landbridge/v1/events", get(events))
        .route(
            "/landbridge/v1/policies/export/{peer}",
            put(policies::put_export).delete(policies::delete_export),
        )
        .route(
            "/landbridge/v1/policies/import/{region}",
            put(policies::put_import).delete(policies::delete_import),
        )
        .route("/landbridge/v1/links/{region}", put(links::put).delete(links::delete))
        .route("/landbridge/v1/links/{region}/held", get(links::held))
        .route("/landbridge/v1/raft", get(raft::status))
        .route("/landbridge/v1/raft/backup", get(backup::backup))
        .route("/landbridge/v1/raft/members/{member}", put(raft::order))
        .route("/landbridge/v1/holds", get(holds::list))
        .route("/landbridge/v1/holds/{origin}", axum::routing::delete(holds::release))
        .route("/landbridge/v1/audit", get(links::audit))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

/// Lets only who knows the token pass; without a token only this machine.
async fn guard(State(shared): State<Arc<Shared>>, request: axum::extract::Request, next: Next) -> Response {
    let peer = crate::ingress::peer(&request);
    if allows(&shared, request.headers(), peer) {
        return next.run(request).await;
    }
    let path = request.uri().path().chars().take(TARGET_CHARS_MAX).flat_map(char::escape_default);
    let target: String = path.collect();
    shared.knocks.note(shared.clock.unix_ms(), ("anyone", peer), "/landbridge/v1", &target);
    refuse(StatusCode::UNAUTHORIZED, mend(&shared))
}

/// Whether the caller may run this region: it knows the token, or there is none and it is on this machine.
pub(crate) fn allows(shared: &Shared, headers: &HeaderMap, peer: Option<std::net::SocketAddr>) -> bool {
    match &shared.admin_token {
        Some(token) => presented(headers).is_some_and(|given| same(given.as_bytes(), token.as_bytes())),
        None => peer.is_none_or(|peer| is_loopback(peer.ip())),
    }
}

/// What a caller without that right can do about it.
pub(crate) fn mend(shared: &Shared) -> &'static str {
    if shared.admin_token.is_some() {
        "send the token of admin.token_file as 'Authorization: Bearer <token>'"
    } else {
        "set admin.token_file: without a token only loopback callers are answered"
    }
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(json!({ "error": error.into() }))).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let leading = shared.store.leading(LEADER_HEARD);
    Json(json!({
        "role": "registry",
        "version": env!("CARGO_PKG_VERSION"),
        "deployment": shared.deployment,
        "region": shared.region.as_str(),
        "member": shared.member.0,
        "phase": shared.state.phase(),
        "registers": shared.state.registers(),
        "leads": leading.is_some(),
        "term": leading.map(|(term, _)| term),
        "connections": shared.sessions.count(),
        "services": shared.window.services().len(),
        "unix_ms": shared.clock.unix_ms(),
    }))
}

#[derive(Serialize)]
struct Origin {
    region: String,
    own: bool,
    standing: &'static str,
    /// Nothing of it shows: it has been silent for longer than its import policy lets it.
    expired: bool,
    age_ms: u64,
    era: u64,
    raft_seq: u64,
    feeds: usize,
    records: usize,
    lag_seqs: u64,
    lag_ms: Option<u64>,
}

fn origin(status: &RegionStatus, own: &Region, expired: bool) -> Origin {
    let RegionStatus { region, standing, age_ms, raft, feeds, records, lag_seqs, lag_ms } = status;
    let Position { era, seq } = *raft;
    let standing = match standing {
        Standing::Live => "live",
        Standing::Suspect => "suspect",
        Standing::Frozen => "frozen",
    };
    Origin {
        region: region.to_string(),
        own: region == own,
        standing,
        expired,
        age_ms: *age_ms,
        era: era.0,
        raft_seq: seq,
        feeds: *feeds,
        records: *records,
        lag_seqs: *lag_seqs,
        lag_ms: *lag_ms,
    }
}

async fn regions(State(shared): State<Arc<Shared>>) -> Json<Vec<Origin>> {
    let sight = shared.state.sight();
    let row = |status: &RegionStatus| origin(status, &shared.region, sight.expired.contains(&status.region));
    Json(sight.origins.iter().map(row).collect())
}

/// The SDK connections, and what each says of itself.
async fn connections(State(shared): State<Arc<Shared>>) -> Json<Vec<Value>> {
    let sessions = shared.sessions.all();
    let rows = sessions.iter().map(|session| {
        let said = session.introduction();
        json!({
            "connection": session.id(),
            "remote": session.remote().to_string(),
            "client": said.map(|said| said.client_version.as_str()),
            "claimed_ip": said.map(|said| said.client_ip.as_str()),
            "subscriptions": session.outbox().subscriptions(),
            "silent_ms": session.silent_ms(),
        })
    });
    Json(rows.collect())
}

/// Which services are asked for; an empty part means all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    namespace: String,
}

async fn services(State(shared): State<Arc<Shared>>, Query(which): Query<Which>) -> Json<Vec<Value>> {
    let keys = shared.window.services();
    let wanted =
        keys.iter().filter(|key| which.namespace.is_empty() || key.namespace().as_str() == which.namespace);
    let rows = wanted.map(|key| {
        let face = shared.window.face(key);
        let healthy = face.view.hosts.iter().filter(|host| host.instance.healthy).count();
        json!({
            "namespace": key.namespace().as_str(),
            "group": key.group().as_str(),
            "service": key.service().as_str(),
            "instances": face.view.hosts.len(),
            "healthy": healthy,
            "of_other_regions": face.view.hosts.iter().filter(|host| host.origin.is_some()).count(),
        })
    });
    Json(rows.collect())
}

/// Which service is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    group: String,
    service: String,
}

async fn instances(State(shared): State<Arc<Shared>>, Query(named): Query<Named>) -> Response {
    let Named { namespace, group, service } = named;
    match ServiceKey::parse(&namespace, &group, &service) {
        Ok(key) => {
            let face = shared.window.face(&key);
            let rows: Vec<Value> = face.view.hosts.iter().map(|host| row(host, &shared.region)).collect();
            Json(rows).into_response()
        }
        Err(invalid) => refuse(StatusCode::BAD_REQUEST, invalid.to_string()),
    }
}

fn row(host: &Host, own: &Region) -> Value {
    let pairs = host.instance.metadata.pairs().iter();
    let metadata: serde_json::Map<String, Value> =
        pairs.map(|(key, value)| (key.to_string(), Value::from(value.as_str()))).collect();
    json!({
        "ip": host.key.ip.as_str(),
        "port": host.key.port,
        "cluster": host.key.cluster.as_str(),
        "origin": host.origin.as_ref().unwrap_or(own).as_str(),
        "zone": host.instance.zone().as_str(),
        "weight": host.instance.weight,
        "healthy": host.instance.healthy,
        "enabled": host.instance.enabled,
        "persistent": host.persistent,
        "unverified": host.unverified,
        "stale": host.stale,
        "metadata": metadata,
    })
}

/// Streams what happens as JSON lines until the caller goes away.
async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let lines = json_lines(shared.events.listen());
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn json_lines(
    listener: tokio::sync::broadcast::Receiver<crate::events::Line>,
) -> impl tokio_stream::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    use tokio_stream::{StreamExt, wrappers::BroadcastStream};
    BroadcastStream::new(listener).map(|line| {
        let mut text = match line {
            Ok(line) => serde_json::to_vec(&line).unwrap_or_default(),
            Err(lagged) => json!({ "event": "missed", "what": lagged.to_string() }).to_string().into_bytes(),
        };
        text.push(b'\n');
        Ok(Bytes::from(text))
    })
}

async fn submit(shared: &Shared, command: Command) -> Response {
    match shared.orders.ask(|ticket| Input::Submit { ticket, command }).await {
        Ok(Answered::Raft(position, _)) => {
            Json(json!({ "era": position.era.0, "seq": position.seq })).into_response()
        }
        Ok(Answered::Core(_) | Answered::Seen) => Json(json!({})).into_response(),
        Err(why) => failed(why),
    }
}

fn failed(why: Failed) -> Response {
    match why {
        Failed::Refused(refusal) => refuse(StatusCode::BAD_REQUEST, refusal.to_string()),
        Failed::Overloaded => refuse(StatusCode::SERVICE_UNAVAILABLE, "too many writes wait: try again"),
        Failed::Full(why) => refuse(StatusCode::INSUFFICIENT_STORAGE, why),
        Failed::Undecided(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, why),
        Failed::Stopping => refuse(StatusCode::SERVICE_UNAVAILABLE, "this member is ending"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_must_be_the_same_to_the_last_byte() {
        assert!(same(b"secret", b"secret"));
        assert!(!same(b"secreT", b"secret") && !same(b"secre", b"secret") && !same(b"", b"secret"));
    }
}
