//! The admin listener's pages: health, metrics and, behind the token, what the board shows.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use landbridge_runtime::{
    pages::{self, Health},
    telemetry::MetricsPage,
};
use serde::Serialize;

use crate::board::Board;

/// What the pages read.
#[derive(Clone)]
struct Desk {
    board: Arc<ArcSwap<Board>>,
    token: Option<Arc<str>>,
}

/// All routes of the admin listener.
pub(crate) fn routes(
    board: Arc<ArcSwap<Board>>,
    token: Option<String>,
    health: Health,
    metrics: MetricsPage,
) -> Router {
    let desk = Desk { board, token: token.map(Arc::from) };
    let guarded = Router::new()
        .route("/landbridge/v1/status", get(async |desk: State<Desk>| shown(&desk.board.load().status)))
        .route("/landbridge/v1/regions", get(async |desk: State<Desk>| shown(&desk.board.load().regions)))
        .route("/landbridge/v1/links", get(async |desk: State<Desk>| shown(&desk.board.load().links)))
        .route("/landbridge/v1/copies", get(async |desk: State<Desk>| shown(&desk.board.load().copies)))
        .route_layer(middleware::from_fn_with_state(desk.clone(), admit))
        .with_state(desk);
    pages::routes(health, metrics).merge(guarded)
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
    use landbridge_runtime::{
        clock::Clock,
        telemetry::{self, BuildInfo},
    };
    use tower::ServiceExt;

    use super::*;

    async fn asked(token: Option<&str>, path: &str, said: Option<&str>) -> StatusCode {
        let metrics = telemetry::install(BuildInfo { version: "test", role: "bridge" }).unwrap();
        let routes = routes(Arc::default(), token.map(str::to_owned), Health::new(Clock::start()), metrics);
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
            for page in ["status", "regions", "links", "copies"] {
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
