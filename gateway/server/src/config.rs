//! Turns the config page into settings that can no longer be wrong, or tells every mistake at once.

mod cidr;
mod page;
mod ports;
mod read;
mod relay;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ecow::EcoString;
use http::{Method, StatusCode};
use landbridge_gateway_core::{
    BudgetRules, Caller, Costs, EndpointSpec, GuardRules, HedgeRules, Name, Orders, PickRules, RouteTable,
};
use landbridge_model::{Address, Region};
use landbridge_runtime::{log::LogConfig, tls::TlsFiles};

pub use crate::access::Destination;

pub use cidr::Cidr;
pub use page::{
    Admin, Connections, EndpointTls, LimitBy, LimitSharing, ListenerTls, Presence, Registry, Tracing,
    Upstream,
};
pub(crate) use read::any_name;

/// The page under every page: all defaults, with their reasons.
pub const DEFAULTS: &str = include_str!("../../../configs/gateway.toml");

/// Everything a gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it stands.
    pub home: Caller,
    /// What it calls itself in `via`.
    pub name: EcoString,
    /// Runtimes, at least 1.
    pub threads: usize,
    /// Where operators ask.
    pub admin: Admin,
    /// The registry to follow.
    pub registry: Option<Registry>,
    /// How other regions' gateways know it, and where they call.
    pub relay: Option<Relay>,
    /// How it shows itself to its registry, if it does.
    pub presence: Option<Presence>,
    /// Where calls come in.
    pub listeners: Vec<Listener>,
    /// Where connections to one service come in.
    pub service_ports: Vec<ServicePort>,
    /// What client connections may cost.
    pub connections: Connections,
    /// What can be changed while it runs.
    pub live: Live,
    /// What is logged.
    pub log: LogConfig,
    /// Where calls are logged.
    pub access_log: Destination,
    /// Where spans of calls go.
    pub tracing: Tracing,
    /// Where this came from, to be read again.
    pub source: Option<Source>,
}

/// The layers a config was read from.
#[derive(Clone, Debug)]
pub struct Source {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    sets: Vec<String>,
}

/// One port for calls.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: EcoString,
    /// Its address.
    pub listen: SocketAddr,
    /// The certificate it shows; without one it speaks plain HTTP.
    pub tls: Option<ListenerTls>,
    /// Whose connections begin with an introduction (PROXY protocol, either version).
    pub proxy_from: Vec<Cidr>,
}

/// One port whose connections all go to one service, whatever they speak.
#[derive(Clone, Debug)]
pub struct ServicePort {
    /// Its name in logs.
    pub name: EcoString,
    /// Its address.
    pub listen: SocketAddr,
    /// The service.
    pub target: Name,
    /// A connection on which nothing moves is cut after this; `None` for `connections.stream_idle_timeout_ms`.
    pub idle_timeout_ms: Option<u64>,
    /// Whose connections begin with an introduction (PROXY protocol, either version).
    pub proxy_from: Vec<Cidr>,
    /// Connections to endpoints begin with an introduction (PROXY protocol, version 2).
    pub proxy_to_endpoints: bool,
    /// What begins like HTTP is served call by call; everything else passes unread.
    pub http: bool,
}

/// How gateways of different regions speak with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Where other regions' gateways call; `None`: they do not.
    pub listen: Option<SocketAddr>,
    /// Who this gateway is.
    pub tls: TlsFiles,
}

/// How one other region is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRegion {
    /// Which one.
    pub region: Region,
    /// By its gateways instead of directly.
    pub relayed: bool,
    /// These; empty: those that it registers.
    pub gateways: Vec<(Address, u16)>,
    /// Calls that may leave for it, at least 1.
    pub requests_per_second: Option<u32>,
    /// Bytes that may go and come, at least 1.
    pub bytes_per_second: Option<u64>,
}

/// What a reload may change besides ports: everything that is not a thread or a registry.
#[derive(Clone, Debug)]
pub struct Live {
    /// The routes of each listener, in the listeners' order.
    pub routes: Vec<RouteTable>,
    /// The configured services.
    pub statics: Vec<(Name, Vec<EndpointSpec>)>,
    /// The price of regions.
    pub costs: Costs,
    /// Services with an order of regions of their own.
    pub orders: Orders,
    /// By which way, and how often, other regions are reached; unlisted ones directly and without a quota.
    pub peers: Vec<PeerRegion>,
    /// What a shrinking table does.
    pub guard: GuardRules,
    /// What each call is treated by.
    pub settings: Settings,
}

/// What each call is treated by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How endpoints are chosen.
    pub pick: PickRules,
    /// What connections to endpoints may cost.
    pub upstream: Upstream,
    /// Whom endpoints that speak TLS must be; without it they cannot be reached.
    pub endpoint_tls: Option<EndpointTls>,
    /// To the first byte of the answer, all tries together.
    pub overall_ms: u64,
    /// The same for one try.
    pub try_ms: u64,
    /// How failures are tried again.
    pub retries: Retries,
    /// How calls that wait are tried beside.
    pub hedging: Hedging,
    /// Endpoints that are asked how they are.
    pub probing: Probing,
    /// Calls in flight in all.
    pub in_flight_max: u32,
    /// What crowds of calls at endpoints do; `None`: they are let in.
    pub crowding: Option<Crowding>,
    /// Keys one limit keeps apart.
    pub limiter_keys_max: usize,
    /// How limits are shared with the other gateways of the region.
    pub sharing: LimitSharing,
    /// Who may say for whom a call is.
    pub trusted: Vec<Cidr>,
    /// Rates.
    pub limits: Vec<Limit>,
    /// The share of calls that are logged, from 0 to 1.
    pub access_share: f64,
    /// Adds the endpoint's place to answers.
    pub show_place: bool,
}

/// What becomes of calls when a service has more than its endpoints can work on.
#[derive(Clone, Copy, Debug)]
pub struct Crowding {
    /// Calls of a service that wait on one core.
    pub queue_max: u32,
    /// How long one waits, at least 1.
    pub queue_ms: u64,
}

/// How failures are tried again.
#[derive(Clone, Debug)]
pub struct Retries {
    /// Calls that may be repeated after bytes were sent.
    pub methods: Vec<Method>,
    /// Answers that count as a failure.
    pub statuses: Vec<StatusCode>,
    /// The same for gRPC, where the answer is over with its head; 1 to 16.
    pub grpc_statuses: Vec<u32>,
    /// The most tries.
    pub tries_max: u32,
    /// The longest body that can be repeated.
    pub body_bytes_max: usize,
    /// How repeats are earned.
    pub budget: BudgetRules,
    /// Before the same endpoint is tried again.
    pub pause_ms: u64,
}

/// How calls that wait are tried beside.
#[derive(Clone, Copy, Debug)]
pub struct Hedging {
    /// After what time.
    pub rules: HedgeRules,
    /// How such tries are earned where the endpoint answers others.
    pub budget: BudgetRules,
}

/// Endpoints that are asked how they are, whether or not calls go there.
#[derive(Clone, Debug)]
pub struct Probing {
    /// Probes that run at once, at least 1; further ones come later.
    pub at_once_max: usize,
    /// Services and how each of their endpoints is asked.
    pub probes: Vec<(Name, Probe)>,
}

/// How an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `GET` for this path over HTTP/1.1, which passes by a 2xx or 3xx; `None`: a connection alone passes.
    pub path: Option<EcoString>,
    /// Between two probes of one endpoint, at least 100.
    pub interval_ms: u64,
    /// A probe that takes longer has failed.
    pub timeout_ms: u64,
}

/// A rate that calls may not exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted together.
    pub by: LimitBy,
    /// Only these; `None` for all.
    pub services: Option<BTreeSet<Name>>,
    /// The rate, at least 1.
    pub requests_per_second: u32,
    /// What may come at once, at least 1.
    pub burst: u32,
}

impl Config {
    /// Reads a page over the defaults, or tells everything that is wrong with it at once.
    pub fn read(text: &str) -> Result<Self, Vec<String>> {
        read::from_text(text)
    }

    /// Reads a file under the environment and the command line's `key=value` pairs, all over the defaults.
    pub fn load(
        file: Option<&Path>,
        environment: &[(String, String)],
        sets: &[String],
    ) -> Result<Self, Vec<String>> {
        let config = read::from_layers(DEFAULTS, file, environment, sets)?;
        let (environment, sets) = (environment.to_vec(), sets.to_vec());
        let source = Source { file: file.map(Path::to_owned), environment, sets };
        Ok(Self { source: Some(source), ..config })
    }

    /// Reads the same layers again, as they are by now.
    pub fn again(&self) -> Result<Self, Vec<String>> {
        match &self.source {
            Some(source) => Self::load(source.file.as_deref(), &source.environment, &source.sets),
            None => Ok(self.clone()),
        }
    }

    /// The keys that differ from `other` and need a restart.
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let registry = |config: &Self| {
            let one = |registry: &Registry| {
                (registry.addresses.clone(), registry.keepsake.clone(), registry.tls.clone())
            };
            config.registry.as_ref().map(one)
        };
        let differs = [
            ("region, zone", self.home != other.home),
            ("name", self.name != other.name),
            ("threads", self.threads != other.threads),
            ("admin", (self.admin.listen, &self.admin.token) != (other.admin.listen, &other.admin.token)),
            ("registry", registry(self) != registry(other)),
            ("presence", self.presence != other.presence),
            ("relay.listen, relay.tls", self.relay != other.relay),
            ("connections", self.connections != other.connections),
            ("log", self.log != other.log),
            ("access_log.file, access_log.queue_max", self.access_log != other.access_log),
            ("tracing", self.tracing != other.tracing),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}
