//! Asks the admin listener of any role: JSON over HTTP with a token, for the command line.
//!
//! Invariant: every call ends within its timeout, and no answer is read beyond its bound.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};

/// The longest answer that is read, in bytes; a longer one is an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much of a refusal's text is repeated, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Why a call brought no answer, named by who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminError {
    /// Nobody answered in time: is the address right, is the process up?
    Unreachable(String),
    /// The token is missing, wrong, or may not do this; or the request is not understood.
    Refused(String),
    /// What was asked does not go with what stands there.
    Conflict(String),
    /// The process could not do it, or its answer makes no sense.
    Failed(String),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Conflict(why) => write!(f, "conflict: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl std::error::Error for AdminError {}

/// One admin listener and how to ask it.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: Option<String>,
    timeout: Duration,
}

impl Admin {
    /// Will ask `http://ADDRESS`, where `address` is `host:port`, each call within `timeout_ms`.
    pub fn new(address: &str, token: Option<String>, timeout_ms: u64) -> Self {
        let address = address.trim_end_matches('/');
        let base = address.strip_prefix("http://").unwrap_or(address);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_millis(timeout_ms)));
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            base: format!("http://{base}"),
            token,
            timeout: Duration::from_millis(timeout_ms),
        }
    }

    /// Reads; `path` starts with a slash and may carry a query.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Writes with a JSON body, by `PUT`, `POST` or `DELETE`.
    pub async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, AdminError> {
        let body = serde_json::to_vec(body).map_err(|e| AdminError::Failed(e.to_string()))?;
        self.ask(method, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, AdminError> {
        let exchange = self.exchange(method, path, body);
        let (status, text) = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer?,
            Err(_) => {
                let waited = self.timeout.as_millis();
                return Err(AdminError::Unreachable(format!("no answer from {} in {waited} ms", self.base)));
            }
        };
        if status.is_success() {
            let text: &[u8] = if text.is_empty() { b"null" } else { &text };
            return serde_json::from_slice(text)
                .map_err(|e| AdminError::Failed(format!("an answer that makes no sense: {e}")));
        }
        Err(refusal(status, &text))
    }

    /// One call as it is: the status and the body of its answer, whatever they say.
    pub(crate) async fn exchange_in_time(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), AdminError> {
        let waited = self.timeout.as_millis();
        let late = |_| AdminError::Unreachable(format!("no answer from {} in {waited} ms", self.base));
        tokio::time::timeout(self.timeout, self.exchange(method, path, Bytes::new())).await.map_err(late)?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), AdminError> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|e| AdminError::Refused(format!("{}{path} is no address: {e}", self.base)))?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|e| AdminError::Refused(e.to_string()))?;
        let answer = self.client.request(request).await.map_err(|e| AdminError::Unreachable(self.say(&e)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| AdminError::Failed(format!("the answer broke off: {e}")))?;
        Ok((head.status, body.to_bytes()))
    }

    /// An error with its innermost cause: "connection refused" stands below "client error".
    fn say(&self, error: &hyper_util::client::legacy::Error) -> String {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        format!("{}: {cause}", self.base)
    }
}

/// Turns an answer that is no success into an error, with the text of its `error` or `message` field if it has one.
fn refusal(status: StatusCode, body: &[u8]) -> AdminError {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |name| parsed.as_ref().and_then(|value| value.get(name)?.as_str().map(str::to_owned));
    let text = field("error").or_else(|| field("message"));
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text: String = text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
    let why = if text.is_empty() { status.to_string() } else { format!("{text} ({})", status.as_u16()) };
    match status {
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => AdminError::Conflict(why),
        status if status.is_client_error() => AdminError::Refused(why),
        _ => AdminError::Failed(why),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers one request with `answer` and hands back what it read.
    async fn answering(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let task = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let mut read = vec![0; 4096];
            let length = socket.read(&mut read).await.expect("a request");
            socket.write_all(answer.as_bytes()).await.expect("written");
            String::from_utf8_lossy(&read[..length]).into_owned()
        });
        (address, task)
    }

    #[tokio::test]
    async fn a_call_carries_the_token_and_reads_json() {
        let (address, server) = answering("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n[1,2,3]").await;
        let admin = Admin::new(&address, Some("s3cret".to_owned()), 5_000);

        let answer: Result<Vec<u32>, _> = admin.read("/landbridge/v1/links").await;

        assert_eq!(answer, Ok(vec![1, 2, 3]));
        let asked = server.await.expect("the server lives");
        assert!(asked.starts_with("GET /landbridge/v1/links HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Bearer s3cret\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_says_who_can_mend_it() {
        for (head, body, expected) in [
            ("403 Forbidden", r#"{"error":"wrong token"}"#, AdminError::Refused("wrong token (403)".into())),
            ("409 Conflict", r#"{"message":"is open"}"#, AdminError::Conflict("is open (409)".into())),
            ("503 Service Unavailable", "", AdminError::Failed("503 Service Unavailable".into())),
        ] {
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let (address, _server) = answering(answer.leak()).await;

            let said: Result<u32, _> = Admin::new(&address, None, 5_000).read("/x").await;

            assert_eq!(said, Err(expected));
        }
    }

    #[tokio::test]
    async fn nobody_there_and_a_silent_one_are_both_unreachable() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = silent.local_addr().expect("bound").to_string();
        let said: Result<u32, _> = Admin::new(&address, None, 50).read("/x").await;
        assert!(matches!(said, Err(AdminError::Unreachable(_))), "{said:?}");
        drop(silent);

        let said: Result<u32, _> = Admin::new(&address, None, 5_000).read("/x").await;

        assert!(matches!(&said, Err(AdminError::Unreachable(why)) if why.contains("refused")), "{said:?}");
    }
}
