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
mod monitor;
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
    routes::{Call, PageCall, Route, UserCall},
};
use crate::{
    auth::Principal,
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

/// Where clients with an `endpoint` ask whose context path is another one; the rule is that of the same page below ours.
const ADDRESS_LISTS: &str = "/{product}/{cluster}";

/// The router that the table of routes makes.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let (mut router, mut outside) = (Router::new(), Router::new());
    for route in routes::all() {
        let shared = Arc::clone(shared);
        let serve = move |request: Request| serve(Arc::clone(&shared), route, request);
        if route.call == Call::Page(PageCall::ServerList) {
            outside = outside.route(ADDRESS_LISTS, on(filter(route.method), serve.clone()));
        }
        router = router.route(route.path, on(filter(route.method), serve));
    }
    router = router.fallback(unknown).method_not_allowed_fallback(not_allowed);
    outside.nest(CONTEXT, router)
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
    if let Err(refused) = door::admit(&mut ask).await {
        if ask.route.is_noted() {
            audit(&ask, &Err(refused.clone()));
        }
        return Err(refused);
    }
    door::open(&ask)?;
    let freshness = match ask.whole.method {
        Method::GET if ask.route.call.shows_decisions() => {
            Some(Freshness::wished(&ask.shared, &ask.headers).await?)
        }
        _ => None,
    };
    let answer = said(&ask, ask.route.call).await;
    if ask.route.is_noted() || (ask.route.call == Call::User(UserCall::Login) && answer.is_err()) {
        audit(&ask, &answer);
    }
    Ok((answer, freshness))
}

/// Notes who did what to whom, or who was turned away from it; no parameter that could be a secret.
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
    let (who, target, now_ms) = (ask.principal.to_string(), target.join(" "), ask.shared.clock.unix_ms());
    match answer {
        Ok(_) => ask.shared.audit.note(now_ms, &who, ask.route.path, &target, "done"),
        Err(refused) if refused.status == StatusCode::FORBIDDEN => {
            ask.shared.knocks.note(now_ms, (&who, ask.caller), ask.route.path, &target);
        }
        // Too many passwords are looked at: nobody was turned away for good.
        Err(_) if ask.principal == Principal::Anyone && ask.shared.auth_enabled() => {}
        Err(refused) => {
            ask.shared.audit.note(now_ms, &who, ask.route.path, &target, &refused.status.to_string());
        }
    }
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
