//! Spans of calls for an OpenTelemetry collector: OTLP over HTTP, in JSON.
//!
//! A caller that sends `traceparent` says whether its call is traced; of the others a share is. A call that is traced
//! goes on under a span of its own; the `traceparent` of any other is passed on as it came.
//!
//! Invariant: a call never waits for its span. When the queue is full the span is dropped and counted.

use std::{io, net::SocketAddr, time::Duration};

use axum::body::Body;
use ecow::EcoString;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use landbridge_gateway_core::Caller;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

use super::{Line, trace_of};
use crate::{local::Local, metrics::SPANS};

/// W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// Spans that are sent at once.
const BATCH_MAX: usize = 512;

/// A collector has so long for a batch; one that takes longer does not get it again.
const DELIVERY_MS: u64 = 5_000;

/// What begins in a traced call.
#[derive(Debug)]
pub(crate) struct Marks {
    trace: String,
    id: u64,
    parent: Option<String>,
}

/// A call that ended.
#[derive(Debug)]
pub(crate) struct Span {
    marks: Marks,
    line: Box<Line>,
}

/// A way to the collector.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    spans: mpsc::Sender<Span>,
    /// A throw up to this traces a call that says nothing itself.
    below: u64,
}

impl Tracer {
    /// A tracer for a share of calls, and what it sends.
    pub(crate) fn new(share: f64, queue_max: usize) -> (Self, mpsc::Receiver<Span>) {
        let (spans, sent) = mpsc::channel(queue_max);
        (Self { spans, below: (share * u64::MAX as f64) as u64 }, sent)
    }

    /// Marks a call that is to be traced; from here on it goes under a span of its own.
    pub(crate) fn mark(&self, local: &Local, headers: &mut HeaderMap) -> Option<Marks> {
        let told = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let (trace, parent) = match told.and_then(sampled) {
            Some(Sampled::Yes { trace, parent }) => (trace.to_owned(), Some(parent.to_owned())),
            Some(Sampled::No) => return None,
            None if self.below > 0 && local.throw() <= self.below => {
                (format!("{:016x}{:016x}", local.throw(), local.throw()), None)
            }
            None => return None,
        };
        let id = local.throw().max(1);
        let written = HeaderValue::try_from(format!("00-{trace}-{id:016x}-01"));
        headers.insert(TRACEPARENT, written.expect("digits and dashes are a header value"));
        Some(Marks { trace, id, parent })
    }

    pub(super) fn say(&self, marks: Marks, line: Box<Line>) {
        if self.spans.try_send(Span { marks, line }).is_err() {
            metrics::counter!(SPANS, "outcome" => "dropped").increment(1);
        }
    }
}

/// What a caller says of its trace.
enum Sampled<'a> {
    Yes { trace: &'a str, parent: &'a str },
    No,
}

/// Reads a `traceparent`; one that is none says nothing.
fn sampled(told: &str) -> Option<Sampled<'_>> {
    let trace = trace_of(told)?;
    let mut parts = told.split('-').skip(2);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex(parent, 16) || !hex(flags, 2) {
        return None;
    }
    let traced = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
    Some(if traced { Sampled::Yes { trace, parent } } else { Sampled::No })
}

/// Sends spans until every tracer is gone, or forever.
pub(crate) async fn deliver(
    collector: SocketAddr,
    name: EcoString,
    home: Caller,
    mut spans: mpsc::Receiver<Span>,
) {
    let mut batch = Vec::new();
    // While one batch is on its way the next one gathers.
    while spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let count = batch.len() as u64;
        let page = page(&name, &home, batch.drain(..)).to_string();
        let sent = timeout(Duration::from_millis(DELIVERY_MS), post(collector, page)).await;
        match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => metrics::counter!(SPANS, "outcome" => "sent").increment(count),
            Err(error) => {
                metrics::counter!(SPANS, "outcome" => "failed").increment(count);
                tracing::debug!(event = "spans_not_sent", %collector, %error);
            }
        }
    }
}

async fn post(collector: SocketAddr, page: String) -> io::Result<()> {
    let stream = TcpStream::connect(collector).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::post("/v1/traces")
        .header(header::HOST, collector.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(page))
        .map_err(io::Error::other)?;
    // Ends with the answer; what goes wrong on it is told by the request.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    match answer.status() {
        StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
        other => Err(io::Error::other(format!("the collector says {other}"))),
    }
}

/// The spans as OTLP has them.
fn page(name: &str, home: &Caller, spans: impl Iterator<Item = Span>) -> Value {
    let resource = [
        text("service.name", "landbridge-gateway"),
        text("service.instance.id", name),
        text("landbridge.region", home.region.as_str()),
        text("landbridge.zone", home.zone.as_str()),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "landbridge-gateway", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.map(|span| span.json()).collect::<Vec<_>>(),
        }],
    }] })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

impl Span {
    fn json(&self) -> Value {
        let Self { marks, line } = self;
        let begun = line.unix_ms * 1_000_000;
        let mut attributes = vec![
            text("http.request.method", line.method.as_str()),
            text("server.address", &line.host),
            text("url.path", &line.path),
            text("client.address", &line.caller.to_string()),
            json!({ "key": "http.response.status_code", "value": { "intValue": line.status.to_string() } }),
        ];
        let endpoint = line.endpoint.as_ref();
        let known = [
            ("landbridge.service", line.service.as_deref()),
            ("landbridge.rung", line.rung.map(landbridge_gateway_core::Rung::as_str)),
            ("landbridge.refusal", line.refusal),
            ("landbridge.endpoint", endpoint.map(|(address, _, _)| address.as_str())),
            ("landbridge.endpoint.region", endpoint.map(|(_, region, _)| region.as_str())),
            ("landbridge.endpoint.zone", endpoint.map(|(_, _, zone)| zone.as_str())),
        ];
        attributes.extend(known.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
        json!({
            "traceId": marks.trace,
            "spanId": format!("{:016x}", marks.id),
            "parentSpanId": marks.parent.as_deref().unwrap_or_default(),
            "name": line.method.as_str(),
            "kind": 2,
            "startTimeUnixNano": begun.to_string(),
            "endTimeUnixNano": (begun + line.total_us * 1_000).to_string(),
            "attributes": attributes,
            "status": { "code": if line.status >= 500 || !line.whole { 2 } else { 0 } },
        })
    }
}
