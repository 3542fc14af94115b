//! What the demo sees of the federation through the same pages that operators read.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use landbridge_client::Admin;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::call::Caller;

use super::layout::Layout;

/// A page must answer within this.
const ANSWER_MS: u64 = 2_000;

/// What each region lets out: everything, as `configs/policies/export-all.toml` says.
const EXPORT_ALL: [&str; 1] = ["*/*/*"];

/// How often a guard counts.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// The standing of an origin whose instances are marked stale.
const FROZEN: &str = "frozen";

/// The standing of an origin that is heard.
const LIVE: &str = "live";

/// One instance as a registry lists it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) origin: String,
    pub(super) stale: bool,
}

#[derive(Debug, Deserialize)]
struct Origin {
    region: String,
    standing: String,
    feeds: usize,
}

/// The endpoints of a service as a gateway lists them.
#[derive(Debug, Deserialize)]
struct Routed {
    endpoints: Vec<RoutedEndpoint>,
}

#[derive(Debug, Deserialize)]
struct RoutedEndpoint {
    healthy: bool,
    unverified: bool,
    stale: bool,
}

/// One region's registry and gateway, asked as an operator would.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) region: &'static str,
    admin: Admin,
    gateway: Admin,
}

impl Window {
    /// The instances of a service, those of other regions included; none without an answer.
    pub(super) async fn instances(&self, service: &str) -> Option<Vec<Listed>> {
        self.admin.read(&format!("/landbridge/v1/instances?service={service}")).await.ok()
    }

    /// How many endpoints of a service the gateway holds for well and fresh; none without an answer.
    pub(super) async fn routed(&self, service: &str) -> Option<usize> {
        let path = format!("/landbridge/v1/endpoints?service={service}");
        let routed: Routed = self.gateway.read(&path).await.ok()?;
        let is_fine = |one: &&RoutedEndpoint| one.healthy && !one.unverified && !one.stale;
        Some(routed.endpoints.iter().filter(is_fine).count())
    }

    /// How many instances of a service were born in a region.
    pub(super) async fn count(&self, service: &str, origin: &str) -> Option<usize> {
        let listed = self.instances(service).await?;
        Some(listed.iter().filter(|instance| instance.origin == origin).count())
    }

    /// Whether an origin is marked stale, with its instances; none if it is not known or nobody answers.
    pub(super) async fn is_stale(&self, origin: &str, service: &str) -> Option<bool> {
        let standing = self.origin(origin).await?.standing;
        let listed = self.instances(service).await?;
        let marked =
            listed.iter().filter(|instance| instance.origin == origin).all(|instance| instance.stale);
        Some(standing == FROZEN && marked)
    }

    /// Whether an origin is heard and none of its instances is marked.
    pub(super) async fn is_live(&self, origin: &str, service: &str) -> bool {
        let live = self.origin(origin).await.is_some_and(|found| found.standing == LIVE);
        let listed = self.instances(service).await.unwrap_or_default();
        live && listed.iter().all(|instance| !instance.stale)
    }

    /// How many feeds of an origin are held here.
    pub(super) async fn feeds(&self, origin: &str) -> Option<usize> {
        self.origin(origin).await.map(|found| found.feeds)
    }

    async fn origin(&self, origin: &str) -> Option<Origin> {
        let origins: Vec<Origin> = self.admin.read("/landbridge/v1/regions").await.ok()?;
        origins.into_iter().find(|found| found.region == origin)
    }

    /// The answer of Nacos's own instance list, as an SDK gets it.
    pub(super) async fn nacos_list(&self, service: &str) -> Option<Value> {
        self.admin.read(&format!("/nacos/v1/ns/instance/list?serviceName={service}")).await.ok()
    }

    /// The services that have instances and whose names begin so.
    pub(super) async fn services(&self, prefix: &str) -> Option<usize> {
        let rows: Vec<Value> = self.admin.read("/landbridge/v1/services").await.ok()?;
        let begins = |row: &&Value| row["service"].as_str().is_some_and(|name| name.starts_with(prefix));
        Some(rows.iter().filter(begins).filter(|row| row["instances"].as_u64() != Some(0)).count())
    }

    /// Lets another region see everything.
    pub(super) async fn export_to(&self, peer: &str) -> Result<(), String> {
        let path = format!("/landbridge/v1/policies/export/{peer}");
        let done = self.admin.write::<Value>(Method::PUT, &path, &json!({ "allow": EXPORT_ALL })).await;
        done.map(drop).map_err(|error| format!("{} cannot export to {peer}: {error}", self.region))
    }
}

/// Every region's registry, and every process's health.
#[derive(Clone, Debug)]
pub(super) struct Lookout {
    pub(super) windows: Vec<Window>,
    health: Vec<(String, Caller)>,
}

impl Lookout {
    /// Looks at the federation that lies so.
    pub(super) fn new(layout: &Layout) -> Self {
        let admin = |address: SocketAddr| Admin::new(&address.to_string(), None, ANSWER_MS);
        let window = |name: &'static str, registry: SocketAddr, gateway: SocketAddr| Window {
            region: name,
            admin: admin(registry),
            gateway: admin(gateway),
        };
        let regions = || layout.regions.iter();
        let health = regions().flat_map(|region| {
            let doors = [
                ("registry", region.registry()),
                ("bridge", region.bridge_admin()),
                ("gateway", region.gateway_admin()),
            ];
            doors.map(|(role, address)| {
                (format!("{}'s {role}", region.name), Caller::new(&address.to_string(), None, ANSWER_MS))
            })
        });
        Self {
            windows: regions()
                .map(|region| window(region.name, region.registry(), region.gateway_admin()))
                .collect(),
            health: health.collect(),
        }
    }

    /// Who is not ready yet.
    pub(super) async fn unready(&self) -> Vec<String> {
        let mut unready = Vec::new();
        for (who, caller) in &self.health {
            let answer = caller.text(Method::GET, "/readyz").await;
            if !answer.is_ok_and(|(status, _)| status == StatusCode::OK) {
                unready.push(who.clone());
            }
        }
        unready
    }

    /// The windows of all regions but one.
    pub(super) fn far(&self, place: usize) -> Vec<Window> {
        let others = self.windows.iter().enumerate().filter(|(other, _)| *other != place);
        others.map(|(_, window)| window.clone()).collect()
    }
}

/// Counts a region's instances in the others all the time, so that no blink goes unseen.
pub(super) struct Guard {
    least: Arc<Mutex<Vec<(String, usize)>>>,
    whole: usize,
    task: JoinHandle<()>,
}

impl Guard {
    /// Counts the instances of these services that were born in `origin`; `whole` is how many a registry should list.
    pub(super) fn start(
        windows: Vec<Window>,
        origin: &'static str,
        services: &[(&'static str, usize)],
    ) -> Self {
        let whole: usize = services.iter().map(|(_, count)| count).sum();
        let least: Vec<_> = windows.iter().map(|window| (window.region.to_owned(), whole)).collect();
        let least = Arc::new(Mutex::new(least));
        let (kept, services) = (Arc::clone(&least), services.to_vec());
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(COUNT_EVERY);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                for (place, window) in windows.iter().enumerate() {
                    let mut seen = 0;
                    let mut answered = true;
                    for (service, _) in &services {
                        let count = window.count(service, origin).await;
                        answered &= count.is_some();
                        seen += count.unwrap_or_default();
                    }
                    if answered {
                        let mut least = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        least[place].1 = least[place].1.min(seen);
                    }
                }
            }
        });
        Self { least, whole, task }
    }

    /// The most instances that were missing anywhere at any time, and where.
    pub(super) fn missed(&self) -> Option<(usize, String)> {
        let least = self.least.lock().unwrap_or_else(PoisonError::into_inner);
        let worst = least.iter().min_by_key(|(_, count)| *count)?;
        let missed = self.whole.saturating_sub(worst.1);
        (missed > 0).then(|| (missed, worst.0.clone()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When each of several things was first so.
pub(super) struct Firsts(Vec<Option<Instant>>);

impl Firsts {
    /// None of so many was so yet.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![None; count])
    }

    /// Notes that one is so; the first time counts.
    pub(super) fn note(&mut self, place: usize) {
        self.0[place].get_or_insert_with(Instant::now);
    }

    /// When the last of all was so; none if one never was.
    pub(super) fn last(&self) -> Option<Instant> {
        self.0.iter().copied().collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}
