//! Asks for what is not one JSON answer: plain text of Nacos and of the pages, and streams of lines.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use landbridge_client::AdminError;

/// The longest text read, in bytes.
const TEXT_BYTES_MAX: usize = 1_048_576;

/// The longest line of a stream, in bytes; a longer one ends the stream.
const LINE_BYTES_MAX: usize = 1_048_576;

/// One process and how to ask it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: Option<String>,
    timeout: Duration,
}

impl Caller {
    /// Will ask `http://ADDRESS`; each answer must begin within `timeout_ms`.
    pub(crate) fn new(address: &str, token: Option<String>, timeout_ms: u64) -> Self {
        let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base: format!("http://{address}"),
            token,
            timeout: Duration::from_millis(timeout_ms),
        }
    }

    /// Gives status and text of an answer.
    pub(crate) async fn text(&self, method: Method, path: &str) -> Result<(StatusCode, String), AdminError> {
        let answer = self.send(method, path).await?;
        let status = answer.status();
        let read =
            tokio::time::timeout(self.timeout, Limited::new(answer.into_body(), TEXT_BYTES_MAX).collect());
        let body =
            read.await.map_err(|_| self.silent())?.map_err(|error| AdminError::Failed(error.to_string()))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    /// Hands over line after line of an answer until it ends, or `take` is no longer interested.
    pub(crate) async fn lines<E>(
        &self,
        path: &str,
        mut take: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<Result<(), E>, AdminError> {
        let answer = self.send(Method::GET, path).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer.status(), ""));
        }
        let mut body = answer.into_body();
        let mut unread = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| AdminError::Unreachable(format!("the stream broke off: {error}")))?;
            unread.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = unread.drain(..=end).collect();
                if let Err(done) = take(String::from_utf8_lossy(&line).trim_end()) {
                    return Ok(Err(done));
                }
            }
            if unread.len() > LINE_BYTES_MAX {
                return Err(AdminError::Failed("a line of the stream has no end".to_owned()));
            }
        }
        Ok(Ok(()))
    }

    /// Hands over an answer as it comes, until `take` fails or it ends; each part must come within the time.
    pub(crate) async fn bytes<E>(
        &self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, AdminError> {
        let answer = self.send(Method::GET, path).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        if !status.is_success() {
            let text = Limited::new(body, TEXT_BYTES_MAX).collect().await.map(|text| text.to_bytes());
            return Err(refusal(status, &String::from_utf8_lossy(&text.unwrap_or_default())));
        }
        loop {
            let frame = tokio::time::timeout(self.timeout, body.frame()).await.map_err(|_| self.silent())?;
            let Some(frame) = frame else { return Ok(Ok(())) };
            let frame =
                frame.map_err(|error| AdminError::Unreachable(format!("the answer broke off: {error}")))?;
            if let Err(failed) = take(frame.data_ref().map(Bytes::as_ref).unwrap_or_default()) {
                return Ok(Err(failed));
            }
        }
    }

    async fn send(&self, method: Method, path: &str) -> Result<Response<hyper::body::Incoming>, AdminError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|error| {
            AdminError::Refused(format!("{}{path} cannot be asked for: {error}", self.base))
        })?;
        let asked = tokio::time::timeout(self.timeout, self.client.request(request)).await;
        asked.map_err(|_| self.silent())?.map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            AdminError::Unreachable(format!("{}: {cause}", self.base))
        })
    }

    fn silent(&self) -> AdminError {
        AdminError::Unreachable(format!("no answer from {} in {} ms", self.base, self.timeout.as_millis()))
    }
}

/// What a status that is no success means.
pub(crate) fn refusal(status: StatusCode, text: &str) -> AdminError {
    let why = format!("{} ({})", crate::output::escaped(text.trim()), status.as_u16());
    match status {
        StatusCode::CONFLICT => AdminError::Conflict(why),
        status if status.is_client_error() => AdminError::Refused(why),
        _ => AdminError::Failed(why),
    }
}
