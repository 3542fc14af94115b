//! Logs in at a Nacos by user and password, and keeps its token fresh.
//!
//! Invariant: a password is sent to the configured servers only, and never logged.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tokio::time::Instant;

use super::line::Broken;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Where servers let users in: of 1.x and 2.x, and of a 3.x that has nothing older.
const DOORS: [&str; 2] = ["/nacos/v1/auth/login", "/nacos/v3/auth/user/login"];

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub name: String,
    pub password: Arc<str>,
}

/// HTTP to a guest's servers.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    pub fn new(connect: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect));
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// One call: status and body, whatever they say.
    pub async fn call(
        &self,
        method: Method,
        server: &str,
        path: &str,
        form: Option<String>,
    ) -> Result<(StatusCode, Bytes), Broken> {
        let broken = |why: String| Broken::Unreachable(format!("{server}: {why}"));
        let mut request = Request::builder().method(method).uri(format!("http://{server}{path}"));
        if form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(form.unwrap_or_default()));
        let request = request.body(body).map_err(|error| broken(error.to_string()))?;
        let answer = self.client.request(request).await.map_err(|error| broken(innermost(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok((head.status, body.map_err(|error| broken(error.to_string()))?.to_bytes()))
    }
}

/// What a server gave for user and password.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    /// When to ask for the next one.
    renew_at: Instant,
}

/// A user's token at a guest; copies share it.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    http: Http,
    user: Option<User>,
    token: Arc<Mutex<Option<Token>>>,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "accessToken")]
    access_token: String,
    #[serde(rename = "tokenTtl", default)]
    token_ttl: u64,
}

impl Login {
    pub fn new(http: Http, user: Option<User>) -> Self {
        Self { http, user, token: Arc::default() }
    }

    /// What calls show; none without a user.
    pub fn shown(&self) -> Option<String> {
        self.lock().as_ref().map(|token| token.text.clone())
    }

    /// Logs in if there is a user and its token is missing or old; `anew` asks even for one that is fresh.
    pub async fn renew(&self, server: &str, anew: bool) -> Result<(), Broken> {
        let Some(user) = &self.user else { return Ok(()) };
        let is_fresh = self.lock().as_ref().is_some_and(|token| Instant::now() < token.renew_at);
        if is_fresh && !anew {
            return Ok(());
        }
        let pairs = [("username", user.name.as_str()), ("password", &user.password)];
        let form = serde_urlencoded::to_string(pairs).map_err(|e| Broken::Refused(e.to_string()))?;
        let mut answer = (StatusCode::NOT_FOUND, Bytes::new());
        for door in DOORS {
            answer = self.http.call(Method::POST, server, door, Some(form.clone())).await?;
            if ![StatusCode::NOT_FOUND, StatusCode::GONE, StatusCode::NOT_IMPLEMENTED].contains(&answer.0) {
                break;
            }
        }
        let (status, body) = answer;
        let granted = serde_json::from_slice::<Granted>(&body).ok().filter(|_| status.is_success());
        let refused =
            || Broken::Forbidden(format!("{server} answers {status} to the login of {}", user.name));
        let granted = granted.ok_or_else(refused)?;
        // A tenth early, as Nacos's clients do.
        let lives = Duration::from_secs(granted.token_ttl) * 9 / 10;
        *self.lock() = Some(Token { text: granted.access_token, renew_at: Instant::now() + lives });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The innermost cause: "connection refused" stands below "client error".
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
