//! What operators ask: routes, endpoints, and why a call goes where it goes.

mod evacuate;
mod explain;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use landbridge_gateway_core::{Endpoint, HostMatch, Route, RouteTable, Service, Target};
use landbridge_model::Moment;
use landbridge_runtime::{
    http::{HttpLimits, Serving, serve as serve_http},
    pages::{self, Health},
    shutdown::Shutdown,
    telemetry::MetricsPage,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use crate::{
    config::Config,
    gateway::Order,
    limiter::Shares,
    view::{Shared, View},
};

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) shared: Arc<Shared>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) token: Option<String>,
    pub(crate) shares: Shares,
    /// The config it was started with, which knows its files.
    pub(crate) running: Arc<Config>,
}

/// Serves operators until the end.
pub(crate) async fn serve(
    office: Office,
    listener: TcpListener,
    health: Health,
    metrics: MetricsPage,
    shutdown: Shutdown,
) {
    let own = Router::new()
        .route("/landbridge/v1/routes", get(routes))
        .route("/landbridge/v1/services", get(services))
        .route("/landbridge/v1/endpoints", get(endpoints))
        .route("/landbridge/v1/explain", get(explain::explained))
        .route("/landbridge/v1/limits", get(limits))
        .route("/landbridge/v1/table/release", post(release))
        .route("/landbridge/v1/reload", post(reload))
        .route("/landbridge/v1/evacuations", get(evacuate::list).post(evacuate::begin))
        .route("/landbridge/v1/evacuations/{id}", delete(evacuate::end))
        .route_layer(middleware::from_fn_with_state(office.clone(), admitted))
        .with_state(office);
    let router = own.merge(pages::routes(health, metrics));
    let limits = HttpLimits::recommended();
    serve_http(Serving { listener, what: "admin", tls: None, limits, shutdown }, router).await;
}

fn refusal(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({ "error": why.into() }))).into_response()
}

/// Asks for the token, where one is set.
async fn admitted(State(office): State<Office>, request: Request, next: Next) -> Response {
    let Some(token) = &office.token else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    // Looks at every byte, so that the time taken tells nothing about the token.
    let differ = shown.iter().zip(token.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    if differ == 0 && shown.len() == token.len() {
        next.run(request).await
    } else {
        refusal(StatusCode::UNAUTHORIZED, "this needs the admin token")
    }
}

fn route_json(route: &Route) -> Value {
    let host = |host: &HostMatch| match host {
        HostMatch::Exact(name) => name.to_string(),
        HostMatch::Under(rest) => format!("*{rest}"),
    };
    let target = |one: &Target| json!({ "service": one.name.to_string(), "weight": one.weight });
    let headers: BTreeMap<_, _> =
        route.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    json!({
        "id": route.id.as_str(),
        "hosts": route.hosts.iter().map(host).collect::<Vec<_>>(),
        "path_prefix": route.path_prefix.as_deref(),
        "headers": headers,
        "targets": route.targets.iter().map(target).collect::<Vec<_>>(),
        "rewrite_prefix": route.rewrite_prefix.as_deref(),
        "timeout_ms": route.policy.timeout_ms,
        "try_timeout_ms": route.policy.try_timeout_ms,
        "tries_max": route.policy.tries_max,
        "repeatable": route.policy.repeatable,
    })
}

async fn routes(State(office): State<Office>) -> Json<Value> {
    let view = office.shared.view.load_full();
    let one = |table: &RouteTable| {
        json!({
            "listener": table.listener.as_str(),
            "host_suffix": table.host_suffix.as_deref(),
            "by_path": table.by_path,
            "by_header": table.by_header,
            "routes": table.routes.iter().map(route_json).collect::<Vec<_>>(),
        })
    };
    let listeners: Vec<_> = view.snapshot.listeners().iter().map(one).collect();
    Json(json!({ "version": view.snapshot.version, "listeners": listeners }))
}

async fn services(State(office): State<Office>) -> Json<Value> {
    let view = office.shared.view.load_full();
    let one = |service: &Arc<Service>| {
        let mut rungs = BTreeMap::<_, usize>::new();
        for step in service.home().steps() {
            *rungs.entry(step.rung.as_str()).or_default() += step.endpoints().count();
        }
        json!({ "name": service.name.to_string(), "endpoints": service.endpoints().len(), "rungs": rungs })
    };
    let services: Vec<_> = view.snapshot.services().map(one).collect();
    Json(json!({ "version": view.snapshot.version, "services": services }))
}

fn endpoint_json(view: &View, now: Moment, endpoint: &Endpoint) -> Value {
    let state = &endpoint.state;
    let rules = &view.settings.pick.health;
    json!({
        "address": format!("{}:{}", endpoint.address, endpoint.port),
        "cluster": endpoint.cluster.as_str(),
        "region": endpoint.region.as_str(),
        "zone": endpoint.zone.as_str(),
        "weight": endpoint.weight,
        "healthy": endpoint.healthy,
        "unverified": endpoint.unverified,
        "stale": endpoint.stale,
        "in_flight": state.in_flight(),
        "latency_ms": f64::from(state.latency_us(rules, now)) / 1_000.0,
        "usual_ms": f64::from(state.usual_us()) / 1_000.0,
        "failures": state.failures(),
        "breaker": state.breaker(now).as_str(),
        "grown": state.grown(rules, now),
        "ejected_for_ms": state.ejected_until().since(now),
    })
}

/// Which service is asked about.
#[derive(Deserialize)]
struct Asking {
    service: String,
}

async fn endpoints(State(office): State<Office>, Query(asking): Query<Asking>) -> Response {
    let view = office.shared.view.load_full();
    let now = Moment(office.shared.clock.now());
    let Some(service) = view.snapshot.named(&asking.service) else {
        return refusal(StatusCode::NOT_FOUND, format!("no service is called {:?}", asking.service));
    };
    let endpoints: Vec<_> = service.endpoints().iter().map(|one| endpoint_json(&view, now, one)).collect();
    Json(json!({ "service": service.name.to_string(), "endpoints": endpoints })).into_response()
}

/// This gateway's parts of the limits that it shares.
async fn limits(State(office): State<Office>) -> Json<Value> {
    let parts = office.shares.load();
    Json(json!({ "gateways": parts.gateways, "unasked": parts.rest, "parts": parts.of_texts() }))
}

/// Reads the config again, as SIGHUP does, and tells what came of it.
async fn reload(State(office): State<Office>) -> Response {
    let fresh = match office.running.again() {
        Ok(fresh) => fresh,
        Err(mistakes) => {
            return (StatusCode::CONFLICT, Json(json!({ "mistakes": mistakes }))).into_response();
        }
    };
    let later = office.running.needs_restart(&fresh);
    let (done, told) = oneshot::channel();
    if office.orders.try_send(Order::Reload(Box::new(fresh), done)).is_err() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many orders wait");
    }
    match told.await {
        Ok(Ok(())) => Json(json!({ "needs_restart": later })).into_response(),
        Ok(Err(mistakes)) => (StatusCode::CONFLICT, Json(json!({ "mistakes": mistakes }))).into_response(),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway ends"),
    }
}

async fn release(State(office): State<Office>) -> Response {
    let (done, told) = oneshot::channel();
    if office.orders.try_send(Order::Release(done)).is_err() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many orders wait");
    }
    match told.await {
        Ok(held) => Json(json!({ "released_endpoints": held })).into_response(),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway ends"),
    }
}
