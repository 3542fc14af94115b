//! Nacos over HTTP: the v1 naming calls of SDKs and people, and the pages SDKs ask at start.
//!
//! Parameters come from the query and the form alike, whatever the method, as in Nacos.

mod instance;
mod pages;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequest, Request},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use bytes::Bytes;
use landbridge_wire::nacos::{codes, http::Parameters};

use crate::{ingress::status, member::Shared, metrics};

/// Where Nacos clients expect everything.
const CONTEXT: &str = "/nacos";

/// The content type of forms; another body is no parameters.
const FORM: &str = "application/x-www-form-urlencoded";

/// The routes.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let v1 = Router::new()
        .route(
            "/v1/ns/instance",
            get(instance::look)
                .post(instance::register)
                .delete(instance::deregister)
                .put(instance::replace)
                .patch(instance::edit),
        )
        .route("/v1/ns/instance/beat", put(instance::beat))
        .route("/v1/ns/instance/list", get(instance::list))
        .route("/v1/ns/service/list", get(instance::services))
        .route("/v1/ns/operator/metrics", get(pages::metrics))
        .route("/v1/ns/ops/metrics", get(pages::metrics))
        .route("/v1/console/health/liveness", get(pages::liveness))
        .route("/v1/console/health/readiness", get(pages::readiness))
        .route("/v1/console/server/state", get(pages::server_state))
        .route("/v1/cs/health", get(pages::config_health))
        .route("/v1/cs/configs", get(pages::config))
        .fallback(unknown);
    Router::new().nest(CONTEXT, v1).with_state(shared)
}

/// Nacos answers paths it does not know with 501, and clients fall back to older ones on it.
async fn unknown(method: Method, uri: Uri) -> Response {
    let text = codes::no_such_api(method.as_str(), &format!("{CONTEXT}{}", uri.path()));
    (StatusCode::NOT_IMPLEMENTED, text).into_response()
}

/// The parameters of a call, wherever they stand.
pub(crate) struct Asked(pub(crate) Parameters);

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with(FORM));
        let form = if is_form {
            Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?
        } else {
            Bytes::new()
        };
        Parameters::read(&query, &form).map(Self).map_err(|refusal| {
            metrics::malformed("http");
            status::http_unread(&refusal)
        })
    }
}

/// Counts an answer under its operation.
fn counted(operation: &'static str, answer: Response) -> Response {
    metrics::http(operation, answer.status().as_u16());
    answer
}

/// JSON that is encoded already.
fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json;charset=UTF-8")], body).into_response()
}
