//! The config page as written: every key, its unit in its name, unknown keys refused.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use landbridge_runtime::{log::LogConfig, tls::TlsFiles};
use serde::Deserialize;

/// The whole page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) region: String,
    pub(super) zone: String,
    pub(super) name: Option<String>,
    pub(super) threads: usize,
    pub(super) admin: Admin,
    pub(super) registry: Option<Registry>,
    pub(super) presence: Option<Presence>,
    pub(super) relay: Option<Relay>,
    #[serde(default)]
    pub(super) listeners: Vec<Listener>,
    #[serde(default)]
    pub(super) service_ports: Vec<ServicePort>,
    #[serde(default)]
    pub(super) statics: Vec<Static>,
    pub(super) connections: Connections,
    pub(super) upstream: Upstream,
    pub(super) endpoint_tls: Option<EndpointTls>,
    pub(super) timeouts: Timeouts,
    pub(super) retries: Retries,
    pub(super) hedging: Hedging,
    pub(super) health: Health,
    pub(super) probing: Probing,
    #[serde(default)]
    pub(super) probes: Vec<Probe>,
    pub(super) ladder: Ladder,
    pub(super) protection: Protection,
    pub(super) admission: Admission,
    pub(super) limit_sharing: LimitSharing,
    #[serde(default)]
    pub(super) limits: Vec<Limit>,
    pub(super) answers: Answers,
    pub(super) log: LogConfig,
    pub(super) access_log: AccessLog,
    pub(super) tracing: Tracing,
}

/// Spans of calls, in builds with the feature `otel`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// Takes OTLP over HTTP; `None`: no spans are sent.
    pub collector: Option<SocketAddr>,
    /// Of calls that say nothing of a trace, from 0 to 1.
    pub share: f64,
    /// Spans that wait to be sent; more are dropped and counted.
    pub queue_max: usize,
}

/// Where operators ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// What callers of `/landbridge/v1` must show, if anything.
    pub token: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessLog {
    pub(super) share: f64,
    pub(super) file: Option<PathBuf>,
    pub(super) queue_max: usize,
}

/// The registry to follow.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Members' feed addresses, any of them.
    pub addresses: Vec<String>,
    /// Where the last table is kept.
    pub keepsake: PathBuf,
    /// Who this gateway is.
    pub tls: TlsFiles,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relay {
    pub(super) listen: Option<SocketAddr>,
    pub(super) tls: Option<TlsFiles>,
    #[serde(default)]
    pub(super) peers: Vec<PeerRegion>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerRegion {
    pub(super) region: String,
    pub(super) way: String,
    #[serde(default)]
    pub(super) gateways: Vec<String>,
    pub(super) requests_per_second: Option<u32>,
    pub(super) bytes_per_second: Option<u64>,
}

/// How the gateway shows itself to its registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Its address, as callers of its region reach it.
    pub address: String,
    /// Members' HTTP addresses, any of them.
    pub registries: Vec<String>,
    /// Where the ports that the registry gives to services are opened.
    pub listen: IpAddr,
    /// A file with the token it shows to a registry that asks its callers who they are.
    pub token_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) listen: SocketAddr,
    pub(super) host_suffix: Option<String>,
    #[serde(default)]
    pub(super) by_path: bool,
    #[serde(default)]
    pub(super) by_header: bool,
    pub(super) tls: Option<ListenerTls>,
    #[serde(default)]
    pub(super) proxy_from: Vec<String>,
    #[serde(default)]
    pub(super) routes: Vec<Route>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicePort {
    pub(super) name: String,
    pub(super) listen: SocketAddr,
    pub(super) service: Option<String>,
    #[serde(rename = "static")]
    pub(super) fixed: Option<String>,
    pub(super) idle_timeout_ms: Option<u64>,
    #[serde(default)]
    pub(super) proxy_from: Vec<String>,
    #[serde(default)]
    pub(super) proxy_to_endpoints: bool,
    #[serde(default)]
    pub(super) http: bool,
}

/// The certificate a listener shows to its callers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// The certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates say who a caller is, PEM; a caller without one is served all the same.
    pub callers: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) id: String,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    pub(super) path_prefix: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) service: Option<String>,
    #[serde(rename = "static")]
    pub(super) fixed: Option<String>,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    pub(super) rewrite_prefix: Option<String>,
    pub(super) repeatable: Option<bool>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) try_timeout_ms: Option<u64>,
    pub(super) tries_max: Option<u32>,
    pub(super) criticality: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) service: Option<String>,
    #[serde(rename = "static")]
    pub(super) fixed: Option<String>,
    pub(super) weight: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Static {
    pub(super) name: String,
    pub(super) endpoints: Vec<StaticEndpoint>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaticEndpoint {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) region: String,
    pub(super) zone: Option<String>,
    pub(super) weight: Option<f64>,
    pub(super) protocol: Option<String>,
    pub(super) tls_name: Option<String>,
}

/// What client connections may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// Client connections in all; further ones wait in the kernel's backlog.
    pub open_max: usize,
    /// WebSockets and connections to service ports at once; more get 503, or are closed.
    pub tunnels_max: usize,
    /// A begun request head must be complete by then.
    pub header_timeout_ms: u64,
    /// A client connection without a request is closed.
    pub idle_timeout_ms: u64,
    /// A call that moves no byte in either direction for so long is given up.
    pub stream_idle_timeout_ms: u64,
    /// A body that trickles slower than this is cut off.
    pub body_rate_min_bytes_per_second: u64,
    /// A longer request head gets 431.
    pub header_bytes_max: usize,
    /// More headers get 431.
    pub headers_max: usize,
    /// HTTP/2 streams at once on one connection.
    pub streams_max: u32,
    /// Streams opened and reset at once; more end the connection.
    pub pending_resets_max: usize,
    /// Calls given up before their answer, if they are more than half of a connection's; more end it.
    pub early_resets_max: u64,
    /// On shutdown, calls in flight get so long to end.
    pub drain_ms: u64,
}

/// What connections to endpoints may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The longest wait for a connection.
    pub connect_timeout_ms: u64,
    /// An unused connection is closed after this.
    pub idle_timeout_ms: u64,
    /// Unused connections kept per endpoint and thread; more are closed after use.
    pub idle_per_endpoint_max: usize,
}

/// Whom endpoints that speak TLS must be, and what they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointTls {
    /// The authorities whose certificates are trusted, PEM.
    pub authority: PathBuf,
    /// A certificate for endpoints that ask for one, followed by its intermediates.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeouts {
    pub(super) overall_ms: u64,
    pub(super) try_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retries {
    pub(super) methods: Vec<String>,
    pub(super) statuses: Vec<u16>,
    pub(super) grpc_statuses: Vec<u32>,
    pub(super) tries_max: u32,
    pub(super) body_bytes_max: usize,
    pub(super) budget_percent: u32,
    pub(super) budget_per_second: u32,
    pub(super) budget_burst: u32,
    pub(super) pause_ms: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hedging {
    pub(super) delay_min_ms: u64,
    pub(super) delay_max_ms: u64,
    pub(super) budget_percent: u32,
    pub(super) budget_per_second: u32,
    pub(super) budget_burst: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    pub(super) failures_max: u32,
    pub(super) silence_min_ms: u64,
    pub(super) failure_share_max: f64,
    pub(super) share_calls_min: u32,
    pub(super) slow_start_ms: u64,
    pub(super) eject_ms: u64,
    pub(super) eject_max_ms: u64,
    pub(super) failure_penalty_ms: u32,
    pub(super) latency_decay_ms: u32,
}

/// How probes are made.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probing {
    pub(super) at_once_max: usize,
    pub(super) failures_max: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    pub(super) services: Vec<String>,
    pub(super) path: Option<String>,
    pub(super) interval_ms: u64,
    pub(super) timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ladder {
    pub(super) over_provision: f64,
    pub(super) panic_share: f64,
    pub(super) region_share_min: f64,
    pub(super) slow_ms: u32,
    pub(super) slow_factor: f32,
    pub(super) costs: BTreeMap<String, u32>,
    #[serde(default)]
    pub(super) orders: Vec<Order>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) services: Vec<String>,
    pub(super) regions: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Protection {
    pub(super) share_max: f64,
    pub(super) endpoints_floor: usize,
    pub(super) window_ms: u64,
    pub(super) hold_max_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admission {
    pub(super) in_flight_max: u32,
    pub(super) adaptive: bool,
    pub(super) queue_max: u32,
    pub(super) queue_ms: u64,
    pub(super) limiter_keys_max: usize,
    pub(super) trusted_cidrs: Vec<String>,
}

/// How the gateways of a region share limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSharing {
    /// Between two rounds in which they tell each other what is asked of them, at least 50.
    pub every_ms: u64,
    /// While one is silent the parts stay for so long, at least three rounds.
    pub kept_ms: u64,
    /// Keys told in a round, at most 1,000: those that are asked most of their limit.
    pub keys_max: usize,
}

/// What calls a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// Calls from one region.
    CallerRegion,
    /// Calls to one service.
    Service,
    /// Calls from one region to one service.
    CallerRegionAndService,
    /// Calls of one caller.
    Caller,
    /// Calls of one caller to one service.
    CallerAndService,
}

impl LimitBy {
    /// As it is written in a page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallerRegion => "caller_region",
            Self::Service => "service",
            Self::CallerRegionAndService => "caller_region_and_service",
            Self::Caller => "caller",
            Self::CallerAndService => "caller_and_service",
        }
    }

    pub(crate) fn looks_at_region(self) -> bool {
        matches!(self, Self::CallerRegion | Self::CallerRegionAndService)
    }

    pub(crate) fn looks_at_caller(self) -> bool {
        matches!(self, Self::Caller | Self::CallerAndService)
    }

    pub(crate) fn looks_at_service(self) -> bool {
        matches!(self, Self::Service | Self::CallerRegionAndService | Self::CallerAndService)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    pub(super) by: LimitBy,
    pub(super) services: Option<Vec<String>>,
    pub(super) requests_per_second: u32,
    pub(super) burst: u32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answers {
    pub(super) show_place: bool,
}
