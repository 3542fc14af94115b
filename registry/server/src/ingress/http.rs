//! Nacos over HTTP, v1 to v3: one table of routes, one way from a request to its answer.
//!
//! Parameters come from the query and the form alike, whatever the method, as in Nacos.

pub(crate) mod routes;

mod ask;
mod client;
mod config;
mod core;
pub(in crate::ingress) mod door;
mod instance;
pub(crate) mod monitor;
mod namespace;
mod operator;
mod page;
mod reply;
mod service;
mod shown;
mod user;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use landbridge_wire::nacos::codes;

use self::{
    ask::Ask,
    reply::Answer,
    routes::{Call, Route},
};
use crate::{
    ingress::{freshness::Freshness, status::Refused},
    member::Shared,
    metrics,
};

/// Where Nacos clients expect everything.
const CONTEXT: &str = "/nacos";

/// How much of a parameter the list of deeds repeats, in characters.
const AUDIT_CHARS_MAX: usize = 128;

/// Paths under which an unknown one is told as Nacos's `DistroFilter` does; clients fall back to older paths on it.
const FILTERED: [&str; 2] = ["/v1/ns", "/v2/ns"];

/// The router that the table of routes makes.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        let shared = Arc::clone(shared);
        let serve = move |request: Request| serve(Arc::clone(&shared), route, request);
        router = router.route(route.path, on(filter(route.method), serve));
    }
    router = router.fallback(unknown).method_not_allowed_fallback(not_allowed);
    Router::new().nest(CONTEXT, router)
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "GET" => MethodFilter::GET,
        "POST" => MethodFilter::POST,
        "PUT" => MethodFilter::PUT,
        "DELETE" => MethodFilter::DELETE,
        "PATCH" => MethodFilter::PATCH,
        _ => MethodFilter::GET
            .or(MethodFilter::POST)
            .or(MethodFilter::PUT)
            .or(MethodFilter::DELETE)
            .or(MethodFilter::PATCH),
    }
}

async fn serve(shared: Arc<Shared>, route: &'static Route, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (answer, freshness) = match Ask::read(shared, route, request).await {
        Ok(ask) => judged(ask).await.unwrap_or_else(|refused| (Err(refused), None)),
        Err(refused) => {
            metrics::malformed("http");
            (Err(refused), None)
        }
    };
    let mut response = reply::write(route.shape, &path, answer);
    if let Some(freshness) = freshness {
        freshness.stamp(&mut response);
    }
    metrics::http(route.call.operation(), response.status().as_u16());
    response
}

/// Lets the caller in, answers it as fresh as it wishes, and notes what changed the region itself.
async fn judged(mut ask: Ask) -> Result<(Answer, Option<Freshness>), Refused> {
    ask.principal = door::admit(&ask).await?;
    let freshness = match ask.whole.method {
        Method::GET if ask.route.call.shows_decisions() => {
            Some(Freshness::wished(&ask.shared, &ask.headers).await?)
        }
        _ => None,
    };
    let answer = said(&ask, ask.route.call).await;
    if ask.route.is_noted() {
        audit(&ask, &answer);
    }
    Ok((answer, freshness))
}

/// Notes who did what to whom; no parameter that could be a secret.
fn audit(ask: &Ask, answer: &Answer) {
    const TELLING: [&str; 10] = [
        "username",
        "role",
        "resource",
        "action",
        "entry",
        "namespaceId",
        "customNamespaceId",
        "command",
        "ips",
        "connectionId",
    ];
    let said = TELLING.iter().filter_map(|name| Some((*name, ask.asked.value(&[name])?)));
    let short =
        |text: &str| text.chars().take(AUDIT_CHARS_MAX).flat_map(char::escape_default).collect::<String>();
    let target: Vec<String> = said.map(|(name, value)| format!("{name}={}", short(value))).collect();
    let outcome = answer.as_ref().map_or_else(|refused| refused.status.to_string(), |_| "done".to_owned());
    let who = ask.principal.to_string();
    ask.shared.audit.note(ask.shared.clock.unix_ms(), &who, ask.route.path, &target.join(" "), &outcome);
}

async fn said(ask: &Ask, call: Call) -> Answer {
    match call {
        Call::Instance(call) => instance::answer(ask, call).await,
        Call::Service(call) => Box::pin(service::answer(ask, call)).await,
        Call::Client(call) => client::answer(ask, call),
        Call::Operator(call) => Box::pin(operator::answer(ask, call)).await,
        Call::Core(call) => Box::pin(core::answer(ask, call)).await,
        Call::Namespace(call) => Box::pin(namespace::answer(ask, call)).await,
        Call::Page(call) => Box::pin(page::answer(ask, call)).await,
        Call::Config(call) => Box::pin(config::answer(ask, call)).await,
        Call::User(call) => Box::pin(user::answer(ask, call)).await,
    }
}

/// Nacos answers unknown naming paths with 501 and others with its framework's 404; logins fall back on both.
async fn unknown(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    if FILTERED.iter().any(|prefix| path.starts_with(prefix)) {
        let text = codes::no_such_api(method.as_str(), &format!("{CONTEXT}{path}"));
        return (StatusCode::NOT_IMPLEMENTED, text).into_response();
    }
    reply::framework(StatusCode::NOT_FOUND, "Not Found", &format!("{CONTEXT}{path}"))
}

/// The path is there, the method is not.
async fn not_allowed(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    if FILTERED.iter().any(|prefix| path.starts_with(prefix)) {
        return unknown(method, uri).await;
    }
    reply::framework(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", &format!("{CONTEXT}{path}"))
}

/// JSON that is encoded already.
fn json(body: impl Into<axum::body::Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json;charset=UTF-8")], body.into()).into_response()
}
