//! The Nacos that keeps the region's configs, if there is one: what clients ask of configs is passed to it, whole.
//!
//! Invariant: nothing of a config is kept, read or changed here; only who may ask for it is judged, by the rules of this region.

pub(crate) mod grpc;
mod http;
pub(crate) mod rule;

use std::time::Duration;

pub(crate) use http::Call;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{config::UpstreamConfig, metrics};

/// How far above a Nacos's HTTP port its clients find gRPC.
const GRPC_ABOVE: u16 = 1000;

/// The most idle HTTP connections to one server; more are closed.
const IDLE_MAX: usize = 32;

/// Why the upstream gave no answer, named by who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// None of its servers takes connections.
    Unreachable(String),
    /// It took the question and did not answer in time.
    Slow,
    /// Its answer is longer than is passed on.
    TooLong,
}

impl Missed {
    /// The bounded word for it in metrics.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Slow => "slow",
            Self::TooLong => "too_long",
        }
    }
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the Nacos that keeps configs cannot be reached: {why}"),
            Self::Slow => f.write_str("the Nacos that keeps configs does not answer in time"),
            Self::TooLong => f.write_str("the answer of the Nacos that keeps configs is too long"),
        }
    }
}

/// The Nacos that keeps configs.
pub(crate) struct Upstream {
    servers: Vec<(String, u16)>,
    connect: Duration,
    answer: Duration,
    answer_bytes_max: usize,
    /// Whether callers show what only this region knows, which must not leave it.
    strips: bool,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    /// As configured; `answer_ms` and `answer_bytes_max` are the bounds of a request to this member itself.
    pub(crate) fn new(
        config: &UpstreamConfig,
        answer_ms: u64,
        answer_bytes_max: usize,
        strips: bool,
    ) -> Self {
        let connect = Duration::from_millis(config.connect_ms);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect));
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_MAX).build(connector);
        let answer = Duration::from_millis(answer_ms);
        Self { servers: config.servers.clone(), connect, answer, answer_bytes_max, strips, client }
    }

    /// Its servers, from another one on for another caller.
    fn servers(&self, turn: usize) -> impl Iterator<Item = &(String, u16)> {
        let from = turn % self.servers.len().max(1);
        self.servers.iter().cycle().skip(from).take(self.servers.len())
    }
}

/// Counts what came of a question, and gives it back.
fn counted<T>(protocol: &'static str, result: Result<T, Missed>) -> Result<T, Missed> {
    metrics::passed(protocol, result.as_ref().map_or_else(Missed::outcome, |_| "answered"));
    result
}

/// What a caller shows of itself in headers.
const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "accesstoken", "username", "password"];

/// What a caller shows of itself in parameters.
const CREDENTIAL_PARAMETERS: [&str; 3] = ["accessToken", "username", "password"];
