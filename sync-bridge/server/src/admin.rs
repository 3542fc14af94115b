//! The admin listener's pages: health, metrics and, behind the token, what the board shows.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use landbridge_runtime::{
    audit::Audit,
    clock::Clock,
    pages::{self, Health},
    telemetry::MetricsPage,
};
use serde::Serialize;

use crate::{
    asks::{Asks, Failed, Verb},
    board::Board,
    guest::asks as guest,
};

/// What the pages read, and whom they ask.
#[derive(Clone)]
pub(crate) struct Desk {
    board: Arc<ArcSwap<Board>>,
    asks: Asks,
    audit: Arc<Audit>,
    clock: Clock,
    token: Option<Arc<str>>,
}

impl Desk {
    pub fn new(
        board: Arc<ArcSwap<Board>>,
        asks: Asks,
        audit: Arc<Audit>,
        token: Option<String>,
        clock: Clock,
    ) -> Self {
        Self { board, asks, audit, clock, token: token.map(Arc::from) }
    }
}

/// All routes of the admin listener.
pub(crate) fn routes(desk: Desk, guest: guest::Desk, health: Health, metrics: MetricsPage) -> Router {
    let guarded = Router::new()
        .route("/landbridge/v1/status", get(async |desk: State<Desk>| shown(&desk.board.load().status)))
        .route("/landbridge/v1/regions", get(async |desk: State<Desk>| shown(&desk.board.load().regions)))
        .route("/landbridge/v1/links", get(async |desk: State<Desk>| shown(&desk.board.load().links)))
        .route("/landbridge/v1/copies", get(async |desk: State<Desk>| shown(&desk.board.load().copies)))
        .route("/landbridge/v1/guest", get(async |desk: State<Desk>| shown(&desk.board.load().guest)))
        .route("/landbridge/v1/audit", get(async |desk: State<Desk>| shown(&desk.audit.rows())))
        .route("/landbridge/v1/links/{peer}/resync", post(resync))
        .route("/landbridge/v1/links/{peer}/diff", post(diff))
        .with_state(desk.clone())
        .merge(guest::routes(guest))
        .route_layer(middleware::from_fn_with_state(desk, admit));
    pages::routes(health, metrics).merge(guarded)
}

async fn resync(State(desk): State<Desk>, Path(peer): Path<String>) -> Response {
    desk.ask(Verb::Resync, &peer).await
}

async fn diff(State(desk): State<Desk>, Path(peer): Path<String>) -> Response {
    desk.ask(Verb::Diff, &peer).await
}

impl Desk {
    /// Asks the loop, and notes who asked for what and what it came to.
    async fn ask(&self, verb: Verb, peer: &str) -> Response {
        let said = self.asks.ask(verb, peer).await;
        let outcome = said.as_ref().map_or_else(Failed::why, |_| "done");
        self.audit.note(self.clock.unix_ms(), "operator", verb.name(), peer, outcome);
        let failed = match said {
            Ok(answer) => return shown(&answer),
            Err(failed) => failed,
        };
        let status = match &failed {
            Failed::Unknown(_) => StatusCode::NOT_FOUND,
            Failed::Conflict(_) => StatusCode::CONFLICT,
            Failed::Silent(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(serde_json::json!({ "error": failed.why() }))).into_response()
    }
}

fn shown(rows: &impl Serialize) -> Response {
    Json(rows).into_response()
}

/// Lets a request pass that shows the token, where one is set.
async fn admit(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let Some(token) = &desk.token else { return next.run(request).await };
    let said = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if same(said.as_bytes(), token.as_bytes()) {
        return next.run(request).await;
    }
    let refusal = serde_json::json!({ "error": "the token is missing or wrong" });
    (StatusCode::UNAUTHORIZED, Json(refusal)).into_response()
}

/// Compares without telling by its time how much was right.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differs = left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b));
    left.len() == right.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use landbridge_runtime::telemetry::{self, BuildInfo};
    use tower::ServiceExt;

    use super::*;

    async fn asked(token: Option<&str>, path: &str, said: Option<&str>) -> StatusCode {
        let metrics = telemetry::install(BuildInfo { version: "test", role: "bridge" }).unwrap();
        let (asks, _) = Asks::new();
        let desk = Desk::new(Arc::default(), asks, Arc::default(), token.map(str::to_owned), Clock::start());
        let (guest, _) = guest::Desk::new(Arc::default(), Clock::start());
        let routes = routes(desk, guest, Health::new(Clock::start()), metrics);
        let mut request = Request::builder().uri(path);
        if let Some(said) = said {
            request = request.header(header::AUTHORIZATION, said);
        }
        routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn without_the_right_token_nothing_of_the_links_is_told() {
        let token = Some("0123456789abcdef");
        for said in [None, Some("Bearer "), Some("Bearer 0123456789abcde"), Some("0123456789abcdef")] {
            for page in ["status", "regions", "links", "copies", "audit", "guest", "guest/release"] {
                let status = asked(token, &format!("/landbridge/v1/{page}"), said).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{page} for {said:?}");
            }
        }

        assert_eq!(
            asked(token, "/landbridge/v1/links", Some("Bearer 0123456789abcdef")).await,
            StatusCode::OK
        );
        assert_eq!(asked(None, "/landbridge/v1/links", None).await, StatusCode::OK);
        assert_eq!(asked(token, "/livez", None).await, StatusCode::OK);
    }
}
