//! A member's settings: the page as written, and the settings that can no longer be wrong.

mod auth;
mod cluster;
mod upstream;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use landbridge_model::{MemberId, Region};
use landbridge_registry_core::Visibility;
use landbridge_runtime::{
    config::Layers,
    http::HttpLimits,
    log::LogConfig,
    tls::{CallerFiles, TlsFiles},
};
use landbridge_store::Timing;
use serde::Deserialize;

pub use self::{
    auth::AuthConfig,
    cluster::{CompanyConfig, ListedIn},
    upstream::UpstreamConfig,
};
use crate::peers::{FEEDS_ABOVE, RAFT_BELOW};

/// The defaults, with the reason beside each.
pub const DEFAULTS: &str = include_str!("../../../configs/registry.toml");

/// Room in metadata for the name of who registered the instance, in bytes.
const OWNER_BYTES_MAX: usize = 128;

/// How far above the HTTP port Nacos SDKs look for gRPC.
const GRPC_OFFSET: u16 = 1000;

/// The page as written; unknown keys are refused: a typo must not be silence.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    region: String,
    deployment: String,
    member: u16,
    data_dir: PathBuf,
    listen: ListenPage,
    tls: Option<TlsFiles>,
    admin: AdminPage,
    auth: auth::AuthPage,
    config: upstream::ConfigPage,
    cluster: cluster::ClusterPage,
    raft: RaftPage,
    naming: NamingPage,
    probes: Probes,
    limits: Limits,
    log: LogConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenPage {
    host: String,
    http_port: u16,
    grpc_port: Option<u16>,
    feeds_port: Option<u16>,
    raft_port: Option<u16>,
    tls: Option<CallerFiles>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RaftPage {
    heartbeat_ms: u64,
    election_min_ms: u64,
    election_max_ms: u64,
    answer_ms: u64,
    reserve_bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminPage {
    token_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamingPage {
    push_merge_ms: u64,
    visibility: String,
    service_ports: String,
    failover_min: usize,
    failover_after_ms: u64,
    failback_after_ms: u64,
    metadata_bytes_max: usize,
}

/// The bounds of a member; the default page says beside each what happens when it is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open SDK connections, and open HTTP connections.
    pub connections_max: u32,
    /// Of them from one address; 0: as many as there are.
    pub connections_per_address: u32,
    /// Bytes of one HTTP request.
    pub body_bytes_max: usize,
    /// Writes that wait for the core.
    pub core_queue_max: usize,
    /// Time for a request's head.
    pub header_read_timeout_ms: u64,
    /// Time for a whole request.
    pub request_timeout_ms: u64,
    /// Time an HTTP connection may idle.
    pub connection_idle_timeout_ms: u64,
}

/// How persistent instances are probed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Whether this member probes at all.
    pub enabled: bool,
    /// Time for a connection.
    pub connect_ms: u64,
    /// Time for an answer on it.
    pub answer_ms: u64,
    /// The most probes that run at once; others wait in the order of their time.
    pub at_once_max: usize,
    /// So many hard failures in a row make an instance unhealthy.
    pub hard_times: u32,
    /// Whether this machine and its link may be probed.
    pub allow_local: bool,
}

/// How plain clients are served.
#[derive(Clone, Debug)]
pub struct Naming {
    /// At most one push per service in this time.
    pub push_merge_ms: u64,
    /// How instances of other regions appear.
    pub visibility: Visibility,
    /// Fewer healthy local instances than this let remote ones appear.
    pub failover_min: usize,
    /// After so many seconds.
    pub failover_ticks: u32,
    /// And so many seconds after enough are back they vanish.
    pub failback_ticks: u32,
    /// Keys and values of one instance together.
    pub metadata_bytes_max: usize,
}

/// Settings that can no longer be wrong.
#[derive(Clone, Debug)]
pub struct Config {
    /// The region.
    pub region: Region,
    /// What the regions that federate share.
    pub deployment: String,
    /// This member's number.
    pub member: MemberId,
    /// Where everything durable lies.
    pub data_dir: PathBuf,
    /// Nacos HTTP, admin, metrics and health.
    pub http: SocketAddr,
    /// Nacos gRPC.
    pub grpc: SocketAddr,
    /// Feeds, opened only with `tls`.
    pub feeds: SocketAddr,
    /// Where other members call, opened only in a region of several.
    pub raft: SocketAddr,
    /// The region's members.
    pub company: CompanyConfig,
    /// How long a member that leaves waits for its clients to move, in seconds.
    pub drain_ticks: u32,
    /// The paces of the Raft group.
    pub timing: Timing,
    /// Free bytes on the disk below which what grows the region's state is refused.
    pub reserve_bytes: u64,
    /// What SDKs and HTTP callers are shown, if they speak TLS.
    pub callers: Option<CallerFiles>,
    /// Who this member is to bridges and gateways.
    pub tls: Option<TlsFiles>,
    /// The secret that `/landbridge/v1` asks for.
    pub admin_token: Option<String>,
    /// Who may ask.
    pub auth: AuthConfig,
    /// The Nacos that keeps configs, if one does.
    pub upstream: Option<UpstreamConfig>,
    /// How plain clients are served.
    pub naming: Naming,
    /// How persistent instances are probed.
    pub probes: Probes,
    /// The bounds.
    pub limits: Limits,
    /// What is logged.
    pub log: LogConfig,
}

impl Config {
    /// Reads the layers over [`DEFAULTS`], or tells everything that is wrong with them at once.
    pub fn read(layers: &Layers<'_>) -> Result<Self, Vec<String>> {
        let page: Page = landbridge_runtime::config::load(&Layers { defaults: DEFAULTS, ..*layers })?;
        let mut wrong = Vec::new();
        let region = note(Region::parse(&page.region), "region", &mut wrong);
        let ip = note(page.listen.host.parse::<IpAddr>(), "listen.host", &mut wrong);
        let visibility = note(visibility(&page.naming), "naming", &mut wrong);
        let admin_token = note(token(&page.admin.token_file), "admin.token_file", &mut wrong);
        let auth = note(page.auth.read(), "auth", &mut wrong);
        let ports = [page.listen.http_port, page.listen.raft(), page.listen.feeds()];
        let (member, has_tls) = (MemberId(page.member), page.tls.is_some());
        let company = page.cluster.read(&cluster::Around { member, has_tls, ip, ports });
        let company = company.map_err(|mistakes| wrong.extend(mistakes)).ok();
        let upstream = note(page.config.read(), "config", &mut wrong);
        wrong.extend(page.log.check().err().map(|error| format!("log.level: {error}")));
        wrong.extend(page.mistakes());
        if let (Some(ip), Some(None)) = (ip, &admin_token)
            && !ip.is_loopback()
        {
            wrong.push(format!(
                "listen.host = \"{ip}\" can be reached from other machines, so admin.token_file must name a file with a secret"
            ));
        }
        let (Some(company), Some(upstream)) = (company, upstream) else { return Err(wrong) };
        let (Some(region), Some(ip), Some(visibility), Some(admin_token), Some(auth), true) =
            (region, ip, visibility, admin_token, auth, wrong.is_empty())
        else {
            return Err(wrong);
        };
        Ok(Self {
            region,
            deployment: page.deployment,
            member: MemberId(page.member),
            data_dir: page.data_dir,
            http: SocketAddr::new(ip, page.listen.http_port),
            grpc: SocketAddr::new(ip, page.listen.grpc()),
            feeds: SocketAddr::new(ip, page.listen.feeds()),
            raft: SocketAddr::new(ip, page.listen.raft()),
            company,
            drain_ticks: ticks(page.cluster.drain_ms),
            timing: page.raft.timing(),
            reserve_bytes: page.raft.reserve_bytes,
            callers: page.listen.tls,
            tls: page.tls,
            admin_token,
            auth,
            upstream,
            naming: Naming {
                push_merge_ms: page.naming.push_merge_ms,
                visibility,
                failover_min: page.naming.failover_min,
                failover_ticks: ticks(page.naming.failover_after_ms),
                failback_ticks: ticks(page.naming.failback_after_ms),
                metadata_bytes_max: page.naming.metadata_bytes_max,
            },
            probes: page.probes,
            limits: page.limits,
            log: page.log,
        })
    }
}

impl ListenPage {
    /// The port so far above the HTTP port; any free one if that is any free one.
    fn beside(&self, offset: u16) -> u16 {
        if self.http_port == 0 { 0 } else { self.http_port.saturating_add(offset) }
    }

    fn grpc(&self) -> u16 {
        self.grpc_port.unwrap_or_else(|| self.beside(GRPC_OFFSET))
    }

    fn feeds(&self) -> u16 {
        self.feeds_port.unwrap_or_else(|| self.beside(FEEDS_ABOVE))
    }

    /// The Raft port: as given, or below the HTTP port; any free one if that leaves none.
    fn raft(&self) -> u16 {
        self.raft_port.unwrap_or_else(|| self.http_port.saturating_sub(RAFT_BELOW))
    }
}

impl RaftPage {
    fn timing(self) -> Timing {
        let Self { heartbeat_ms, election_min_ms, election_max_ms, answer_ms, .. } = self;
        Timing { heartbeat_ms, election_min_ms, election_max_ms, answer_ms }
    }

    fn mistakes(self) -> Option<String> {
        let Self { heartbeat_ms, election_min_ms, election_max_ms, answer_ms, .. } = self;
        let rising =
            0 < heartbeat_ms && heartbeat_ms * 2 <= election_min_ms && election_min_ms < election_max_ms;
        (!rising || answer_ms < election_max_ms).then(|| {
            "raft: 0 < 2 x heartbeat_ms <= election_min_ms < election_max_ms <= answer_ms must hold"
                .to_owned()
        })
    }
}

impl Page {
    fn mistakes(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        wrong.extend(self.raft.mistakes());
        if self.deployment.is_empty() || self.deployment.len() > 64 {
            wrong.push("deployment: must be 1 to 64 characters".to_owned());
        }
        if self.listen.http_port > u16::MAX - FEEDS_ABOVE {
            let most = u16::MAX - FEEDS_ABOVE;
            wrong.push(format!("listen.http_port: must be at most {most}, for SDKs add {GRPC_OFFSET} to it"));
        }
        let metadata_max = landbridge_model::instance::METADATA_CHARS_MAX - OWNER_BYTES_MAX;
        if self.naming.metadata_bytes_max > metadata_max {
            wrong.push(format!("naming.metadata_bytes_max: must be at most {metadata_max}"));
        }
        let positive = [
            ("probes.connect_ms", self.probes.connect_ms),
            ("probes.answer_ms", self.probes.answer_ms),
            ("probes.at_once_max", self.probes.at_once_max as u64),
            ("probes.hard_times", u64::from(self.probes.hard_times)),
            ("limits.connections_max", u64::from(self.limits.connections_max)),
            ("limits.body_bytes_max", self.limits.body_bytes_max as u64),
            ("limits.core_queue_max", self.limits.core_queue_max as u64),
            ("limits.header_read_timeout_ms", self.limits.header_read_timeout_ms),
            ("limits.request_timeout_ms", self.limits.request_timeout_ms),
            ("limits.connection_idle_timeout_ms", self.limits.connection_idle_timeout_ms),
        ];
        let zero = positive.into_iter().filter(|(_, value)| *value == 0);
        wrong.extend(zero.map(|(key, _)| format!("{key}: must be at least 1")));
        wrong
    }
}

impl Limits {
    /// The most connections of one address at one port.
    pub(crate) fn of_one_address(&self) -> u32 {
        if self.connections_per_address == 0 { self.connections_max } else { self.connections_per_address }
    }

    /// The same bounds for the HTTP port.
    pub(crate) fn http(&self) -> HttpLimits {
        HttpLimits {
            connections_max: self.connections_max,
            connections_per_address_max: self.of_one_address(),
            header_read_timeout_ms: self.header_read_timeout_ms,
            body_bytes_max: Some(self.body_bytes_max),
            request_timeout_ms: Some(self.request_timeout_ms),
            idle_timeout_ms: self.connection_idle_timeout_ms,
            ..HttpLimits::recommended()
        }
    }
}

fn note<T, E: std::fmt::Display>(result: Result<T, E>, key: &str, wrong: &mut Vec<String>) -> Option<T> {
    result.map_err(|error| wrong.push(format!("{key}: {error}"))).ok()
}

fn visibility(page: &NamingPage) -> Result<Visibility, String> {
    let ports = service_ports(&page.service_ports)?;
    match page.visibility.as_str() {
        "failover" => Ok(Visibility::Failover),
        "merge" => Ok(Visibility::Merge),
        "hidden" => Ok(Visibility::Hidden),
        "gateway" => Ok(Visibility::Gateway { ports }),
        other => Err(format!("visibility: \"{other}\" is unknown: write failover, merge, gateway or hidden")),
    }
}

/// The first and the last port of a range such as `20000-20999`.
fn service_ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = text.split_once('-').unwrap_or_default();
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last && last - first < SERVICE_PORTS_MAX => Ok((first, last)),
        _ => Err(format!(
            "service_ports: {text:?} is no range such as 20000-20999, of {SERVICE_PORTS_MAX} ports at most"
        )),
    }
}

/// The secret in a file; an empty path means none.
fn token(path: &Path) -> Result<Option<String>, String> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match text.trim() {
        short if short.len() < 16 => Err(format!("{}: a secret has at least 16 characters", path.display())),
        secret => Ok(Some(secret.to_owned())),
    }
}

/// Whole seconds, rounded up.
fn ticks(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX)
}

/// The most ports that services may be given; every gateway opens all that are.
const SERVICE_PORTS_MAX: u16 = 4_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sets: &[&str]) -> Result<Config, Vec<String>> {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        Config::read(&Layers { defaults: "", file: None, environment: &[], sets: &sets })
    }

    #[test]
    fn the_defaults_are_a_member_for_this_machine_only() {
        let config = read(&[]).expect("the default page is right");

        assert!(config.http.ip().is_loopback() && config.admin_token.is_none());
        assert_eq!((config.http.port(), config.grpc.port(), config.feeds.port()), (8848, 9848, 9849));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let wrong = read(&[
            "region=East",
            "listen.host=nowhere",
            "naming.visibility=some",
            "limits.body_bytes_max=0",
        ]);

        assert_eq!(wrong.map_err(|wrong| wrong.len()).err(), Some(4));
    }

    #[test]
    fn a_member_that_others_can_reach_needs_a_secret() {
        let wrong = read(&["listen.host=0.0.0.0"]).expect_err("there is no secret");

        assert!(wrong[0].contains("admin.token_file"), "{wrong:?}");
    }

    #[test]
    fn a_members_file_that_names_nobody_is_no_leave_to_stand_alone() {
        let file = tempfile::NamedTempFile::new().expect("a file");

        let wrong = read(&[&format!("cluster.members_file={}", file.path().display())]).expect_err("empty");

        assert!(wrong[0].contains("nobody is listed"), "{wrong:?}");
    }

    /// A page of a member that is found by name, but for what `more` says.
    fn by_name(more: &[&str]) -> Result<Config, Vec<String>> {
        let tls = ["tls.certificate=c", "tls.key=k", "tls.authority=a", "cluster.members_dns=registry:8848"];
        read(&tls.iter().chain(more).copied().collect::<Vec<_>>())
    }

    #[test]
    fn behind_a_name_the_founders_are_counted_and_only_this_member_has_a_place() {
        let config = by_name(&["cluster.founders=3", "member=2", "listen.http_port=8850"]).expect("right");

        let numbers: Vec<_> = config.company.numbers.iter().map(|member| member.0).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let places: Vec<_> =
            config.company.places.iter().map(|(member, at)| (member.0, at.feeds())).collect();
        assert_eq!(places, [(2, "127.0.0.1:9851".to_owned())]);
    }

    #[test]
    fn a_member_that_joins_later_is_no_founder_but_one_of_them_all() {
        let config = by_name(&["cluster.founders=3", "member=5"]).expect("right");

        assert_eq!(config.company.numbers.len(), 4);
    }

    #[test]
    fn a_name_needs_the_number_of_founders_and_an_address_to_be_found_at() {
        let one = by_name(&["cluster.founders=1"]).expect_err("one is no company");
        assert!(one[0].contains("cluster.founders"), "{one:?}");
        let unsaid = by_name(&["cluster.founders=3", "listen.host=0.0.0.0"]).expect_err("found nowhere");
        assert!(unsaid.iter().any(|why| why.contains("listen.host must be the address")), "{unsaid:?}");
        let both = by_name(&["cluster.founders=3", "cluster.members=1@a:8848"]).expect_err("two ways");
        assert!(both[0].contains("exclude each other"), "{both:?}");
        let list = read(&["cluster.founders=3"]).expect_err("for nothing");
        assert!(list[0].contains("only members_dns"), "{list:?}");
    }

    #[test]
    fn any_free_port_means_any_free_port_for_all() {
        let config = read(&["listen.http_port=0"]).expect("port 0 is allowed");

        assert_eq!((config.grpc.port(), config.feeds.port()), (0, 0));
    }
}
