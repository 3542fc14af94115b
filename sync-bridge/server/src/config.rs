//! Turns the config page into settings that can no longer be wrong, or tells every mistake at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use landbridge_bridge_core::Plan;
use landbridge_model::Region;
use landbridge_runtime::{
    config::{Layers, load},
    log::LogConfig,
    tls::TlsFiles,
};
use serde::Deserialize;

use crate::guest::{GuestConfig, GuestPage, page_of};

/// The page under every page: all defaults, with their reasons.
pub const DEFAULTS: &str = include_str!("../../../configs/bridge.toml");

/// The shortest token taken, in bytes: less can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    region: Option<String>,
    #[serde(default)]
    registries: Vec<String>,
    data: Option<PathBuf>,
    #[serde(default)]
    peers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    budgets: BTreeMap<String, NonZeroU32>,
    feeds: FeedsPage,
    admin: AdminPage,
    tls: Option<TlsFiles>,
    guest: GuestPage,
    limits: Limits,
    log: LogConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedsPage {
    listen: SocketAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminPage {
    listen: SocketAddr,
    token: Option<String>,
}

/// Every bound of a bridge; `configs/bridge.toml` gives the reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How far copies on disk may be behind.
    pub save_ms: u64,
    /// Connections accepted at once.
    pub connections_max: u32,
    /// Records on their way on one stream, by weight.
    pub credit_bytes: usize,
    /// HTTP/2 window.
    pub window_bytes: u32,
    /// Changes kept per feed.
    pub ring_changes_max: usize,
    /// The same by weight.
    pub ring_bytes_max: usize,
    /// The shortest wait between two attempts to reach an address.
    pub reconnect_floor_ms: u64,
    /// The longest.
    pub reconnect_cap_ms: u64,
    /// A connection silent for this long must give a sign of life.
    pub keepalive_ms: u64,
    /// Within this.
    pub keepalive_answer_ms: u64,
    /// Ticks behind without progress until a live link is called stalled.
    pub stall_ticks: u64,
}

/// Everything a bridge is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its region, the members to begin with and the other regions' bridges.
    pub plan: Plan,
    /// Bytes a second that may go to a peer region; without one there is no bound.
    pub budgets: BTreeMap<Region, NonZeroU32>,
    /// Where its copies lie.
    pub data: PathBuf,
    /// Where peers call.
    pub feeds_listen: SocketAddr,
    /// Where operators ask.
    pub admin_listen: SocketAddr,
    /// What operators must show, if anything.
    pub token: Option<String>,
    /// Its certificate and whom it trusts.
    pub tls: TlsFiles,
    /// The foreign registry that it hosts as its region, in place of members.
    pub guest: Option<GuestConfig>,
    /// Its bounds.
    pub limits: Limits,
    /// What is logged.
    pub log: LogConfig,
}

/// What is wrong with a page.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn taken<T, E: Display>(&mut self, place: impl Display, value: Result<T, E>) -> Option<T> {
        value.map_err(|why| self.0.push(format!("{place}: {why}"))).ok()
    }

    fn given<T>(&mut self, value: Option<T>, sentence: &str) -> Option<T> {
        if value.is_none() {
            self.0.push(sentence.to_owned());
        }
        value
    }

    fn require(&mut self, holds: bool, sentence: impl Display) {
        if !holds {
            self.0.push(sentence.to_string());
        }
    }
}

impl Config {
    /// Reads all layers over the defaults, or tells everything that is wrong at once.
    pub fn load(
        file: Option<&Path>,
        environment: &[(String, String)],
        sets: &[String],
    ) -> Result<Self, Vec<String>> {
        checked(load(&Layers { defaults: DEFAULTS, file, environment, sets })?)
    }
}

fn checked(page: Page) -> Result<Config, Vec<String>> {
    let mut wrong = Mistakes::default();
    let region = wrong.given(page.region, "region is missing: write region = \"…\", as in the certificate");
    let region = region.and_then(|name| wrong.taken("region", Region::parse(&name)));
    let data = wrong.given(page.data, "data is missing: name a folder for the copies, data = \"…\"");
    let tls = wrong.given(page.tls, "[tls] is missing: `landbridge certs` makes certificates to try with");
    let registries = addresses("registries", page.registries, &mut wrong);
    let servers = page.guest.servers().to_vec();
    addresses("guest.servers", servers, &mut wrong);
    let guest = page_of(page.guest, &mut wrong.0);
    wrong.require(
        guest.is_some() || !registries.is_empty(),
        "registries is empty: name the feed port of at least one member, host:9849",
    );
    wrong.require(
        guest.is_none() || registries.is_empty(),
        "registries and guest.servers are both set: a region is written by its members or by one guest's bridge",
    );
    let mut peers = BTreeMap::new();
    for (name, list) in page.peers {
        let place = format!("peers.{name}");
        let peer = wrong.taken(&place, Region::parse(&name));
        wrong.require(
            peer.is_none() || peer != region,
            format_args!("{place}: it is the own region; peers are the others"),
        );
        let list = addresses(&place, list, &mut wrong);
        peers.extend(peer.map(|peer| (peer, list)));
    }
    let budgets = budgets(page.budgets, &peers, page.limits.credit_bytes, &mut wrong);
    check_admin(&page.admin, &mut wrong);
    check_limits(&page.limits, &mut wrong);
    wrong.taken("log.level", page.log.check());
    match (region, data, tls) {
        (Some(own), Some(data), Some(tls)) if wrong.0.is_empty() => Ok(Config {
            plan: Plan { own, registries, peers },
            budgets,
            data,
            feeds_listen: page.feeds.listen,
            admin_listen: page.admin.listen,
            token: page.admin.token,
            tls,
            guest,
            limits: page.limits,
            log: page.log,
        }),
        _ => Err(wrong.0),
    }
}

/// The budgets of peers. Heartbeats wait behind at most a stream's credit: below that, for more than a second on one stream.
fn budgets(
    page: BTreeMap<String, NonZeroU32>,
    peers: &BTreeMap<Region, BTreeSet<String>>,
    credit_bytes: usize,
    wrong: &mut Mistakes,
) -> BTreeMap<Region, NonZeroU32> {
    let mut budgets = BTreeMap::new();
    for (name, budget) in page {
        let peer = peers.keys().find(|peer| peer.as_str() == name);
        wrong.require(peer.is_some(), format_args!("budgets.{name}: [peers] has no such region"));
        wrong.require(
            budget.get() as usize >= credit_bytes,
            format_args!(
                "budgets.{name} is {budget}: write at least limits.credit_bytes ({credit_bytes}), or make that smaller"
            ),
        );
        budgets.extend(peer.map(|peer| (peer.clone(), budget)));
    }
    budgets
}

fn addresses(place: &str, list: Vec<String>, wrong: &mut Mistakes) -> BTreeSet<String> {
    for address in &list {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
        wrong.require(
            port.is_some(),
            format_args!("{place}: \"{}\" is no host:port", address.escape_default()),
        );
    }
    list.into_iter().collect()
}

fn check_admin(admin: &AdminPage, wrong: &mut Mistakes) {
    match &admin.token {
        Some(token) => wrong.require(
            token.len() >= TOKEN_BYTES_MIN,
            format_args!("admin.token is shorter than {TOKEN_BYTES_MIN} bytes: it could be guessed"),
        ),
        None => wrong.require(
            admin.listen.ip().is_loopback(),
            format_args!("admin.listen is {}, which others reach: set admin.token as well", admin.listen),
        ),
    }
}

fn check_limits(limits: &Limits, wrong: &mut Mistakes) {
    let least = [
        ("save_ms", limits.save_ms, 10),
        ("connections_max", u64::from(limits.connections_max), 1),
        ("credit_bytes", limits.credit_bytes as u64, 128 << 10),
        ("window_bytes", u64::from(limits.window_bytes), 64 << 10),
        ("ring_changes_max", limits.ring_changes_max as u64, 1),
        ("ring_bytes_max", limits.ring_bytes_max as u64, 1),
        ("reconnect_floor_ms", limits.reconnect_floor_ms, 10),
        ("keepalive_ms", limits.keepalive_ms, 100),
        ("keepalive_answer_ms", limits.keepalive_answer_ms, 100),
        ("stall_ticks", limits.stall_ticks, 1),
    ];
    for (name, value, floor) in least {
        wrong.require(value >= floor, format_args!("limits.{name} is {value}: write at least {floor}"));
    }
    wrong.require(
        limits.window_bytes <= i32::MAX.unsigned_abs(),
        format_args!("limits.window_bytes is {}: HTTP/2 allows at most {}", limits.window_bytes, i32::MAX),
    );
    wrong.require(
        limits.save_ms <= 500,
        format_args!("limits.save_ms is {}: more than 500 would lose too much by a kill", limits.save_ms),
    );
    wrong.require(
        limits.reconnect_cap_ms >= limits.reconnect_floor_ms,
        format_args!(
            "limits.reconnect_cap_ms is {}, below reconnect_floor_ms ({})",
            limits.reconnect_cap_ms, limits.reconnect_floor_ms
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        region = "east"
        registries = ["127.0.0.1:9849"]
        data = "data"
        [peers]
        west = ["127.0.0.1:9947"]
        [tls]
        certificate = "b.pem"
        key = "b.key"
        authority = "ca.pem"
    "#;

    fn read(text: &str, sets: &[&str]) -> Result<Config, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bridge.toml");
        std::fs::write(&file, text).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::load(Some(&file), &[], &sets)
    }

    #[test]
    fn a_page_with_only_what_is_yours_to_set_is_complete() {
        let config = read(GOOD, &[]).unwrap();

        assert_eq!(config.plan.own.as_str(), "east");
        assert_eq!(config.feeds_listen.port(), 9947);
        assert_eq!(config.limits.save_ms, 200);
    }

    #[test]
    fn an_empty_page_is_told_everything_it_lacks_at_once() {
        let wrong = read("", &[]).unwrap_err().join("\n");

        for what in ["region is missing", "data is missing", "[tls] is missing", "registries is empty"] {
            assert!(wrong.contains(what), "{what} is not in:\n{wrong}");
        }
    }

    #[test]
    fn every_wrong_value_is_named_with_its_place() {
        let sets = [
            "admin.listen=0.0.0.0:8948",
            "limits.save_ms=5000",
            "budgets.west=1000",
            "budgets.nowhere=1000000",
            "limits.reconnect_cap_ms=1",
            "registries=[\"nowhere\"]",
            "peers.east=[\"a:1\"]",
        ];

        let wrong = read(GOOD, &sets).unwrap_err();

        let places = [
            "admin.listen",
            "limits.save_ms",
            "limits.reconnect_cap_ms",
            "registries",
            "peers.east",
            "budgets.west",
            "budgets.nowhere",
        ];
        for place in places {
            assert!(wrong.iter().any(|mistake| mistake.starts_with(place)), "{place} is not in {wrong:?}");
        }
        assert_eq!(wrong.len(), places.len(), "{wrong:?}");
    }
}
