//! Whole members and bridges, as their programs run them, on loopback.

use std::{path::Path, time::Duration};

use http::Method;
use landbridge_client::{Admin, Carrying, FollowConfig, Follower, Holding, Table};
use landbridge_model::ServiceKey;
use landbridge_runtime::{
    config::Layers,
    shutdown::Shutdown,
    telemetry::{self, BuildInfo},
    tls::TlsFiles,
};
use landbridge_tests::{authority::Authority, http::ask, process::free_port, wait::until_async};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::end::{LIMITS, region};

/// How long real seconds may take here: an origin is marked stale after ten.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The bytes a second that bridges here may send to another region.
const BUDGET: u32 = 1_000_000;

/// One running role.
pub(crate) struct Running {
    shutdown: Shutdown,
}

impl Running {
    pub(crate) fn of(shutdown: Shutdown) -> Self {
        Self { shutdown }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.finish(40_000).await.expect("everything ended in time");
    }
}

fn tls_lines(files: &TlsFiles) -> String {
    format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\nauthority = {:?}\n",
        files.certificate, files.key, files.authority
    )
}

/// A region's ports and folders; its roles come and go.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) folder: tempfile::TempDir,
    http: u16,
    members: u16,
    bridges: u16,
    pub(crate) bridge_admin: u16,
}

impl Place {
    pub(crate) fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [http, members, bridges, bridge_admin] = [(); 4].map(|()| free_port().expect("a free port"));
        Self { name, folder, http, members, bridges, bridge_admin }
    }

    fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Where plain clients ask, `host:port`.
    pub(crate) fn http(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    /// Where its members' feeds are, `host:port`.
    pub(crate) fn members(&self) -> String {
        format!("127.0.0.1:{}", self.members)
    }

    pub(crate) fn member(&self, authority: &Authority) -> Running {
        self.member_with(authority, "")
    }

    /// A member with more on its page.
    pub(crate) fn member_with(&self, authority: &Authority, more: &str) -> Running {
        let files = authority.files(&format!("demo/{}/registry/1", self.name));
        let page = format!(
            "region = {:?}\ndeployment = \"demo\"\ndata_dir = {:?}\n[listen]\nhttp_port = {}\ngrpc_port = {}\nfeeds_port = {}\n{}{more}",
            self.name,
            self.folder.path().join("member"),
            self.http,
            free_port().expect("a free port"),
            self.members,
            tls_lines(&files)
        );
        let file = self.file("registry.toml", &page);
        let layers = Layers { defaults: "", file: Some(&file), environment: &[], sets: &[] };
        let config = landbridge_registry::Config::read(&layers).expect("a good page");
        let metrics = telemetry::install(BuildInfo { version: "test", role: "test" }).expect("a recorder");
        let shutdown = Shutdown::new();
        let ending = shutdown.clone();
        shutdown.spawn(async move {
            if let Err(why) = landbridge_registry::run(config, metrics, ending).await {
                panic!("the member failed: {why}");
            }
        });
        Running { shutdown }
    }

    pub(crate) fn bridge(&self, authority: &Authority, peer: &Self) -> Running {
        let members = self.members();
        self.bridge_with(authority, peer, &[&members], "")
    }

    /// A bridge of these members, with more on its page.
    pub(crate) fn bridge_with(
        &self,
        authority: &Authority,
        peer: &Self,
        members: &[&str],
        more: &str,
    ) -> Running {
        let files = authority.files(&format!("demo/{}/bridge/1", self.name));
        let page = format!(
            "region = {:?}\nregistries = {members:?}\ndata = {:?}\n[peers]\n{} = [\"127.0.0.1:{}\"]\n[budgets]\n{} = {BUDGET}\n\
             [feeds]\nlisten = \"127.0.0.1:{}\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n{}{more}",
            self.name,
            self.folder.path().join("bridge"),
            peer.name,
            peer.bridges,
            peer.name,
            self.bridges,
            self.bridge_admin,
            tls_lines(&files)
        );
        let file = self.file("bridge.toml", &page);
        let config = landbridge_bridge::Config::load(Some(&file), &[], &[]).expect("a good page");
        let shutdown = Shutdown::new();
        let ending = shutdown.clone();
        shutdown.spawn(async move {
            if let Err(why) = landbridge_bridge::run(config, ending).await {
                panic!("the bridge failed: {why}");
            }
        });
        Running { shutdown }
    }

    pub(crate) async fn follower(
        &self,
        authority: &Authority,
        keepsake: &Path,
        shutdown: &Shutdown,
    ) -> Follower {
        let config = FollowConfig {
            region: region(self.name),
            registries: vec![format!("127.0.0.1:{}", self.members)],
            identity: authority.identity(&format!("demo/{}/gateway/1", self.name)),
            keepsake: keepsake.to_owned(),
            publish_ms: 5,
            keepsake_ms: 50,
            holding: Holding::STANDARD,
            carrying: Carrying { ..LIMITS },
        };
        Follower::start(config, shutdown).await.expect("a good identity")
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&format!("127.0.0.1:{}", self.http), None, 5_000)
    }

    pub(crate) async fn let_leave(&self, peer: &Self) {
        let admin = self.admin();
        let path = format!("/landbridge/v1/policies/export/{}", peer.name);
        until_async("the policy is taken", PATIENCE, async || {
            let page = json!({ "allow": ["*/*/*"], "deny": [] });
            admin.write::<Value>(Method::PUT, &path, &page).await.ok()
        })
        .await;
    }

    pub(crate) async fn register(&self, admin: &Admin, host: u16) {
        let ip = address(host);
        let path = format!("/nacos/v1/ns/instance?serviceName=orders&ip={ip}&port=80");
        // The answer is the word `ok`, which is no JSON: that much of an error is a success here. A member that is just
        // starting says that it is.
        let what = format!("{ip} is registered");
        until_async(&what, PATIENCE, async || {
            let said = admin.write::<Value>(Method::POST, &path, &json!({})).await;
            matches!(&said, Err(landbridge_client::AdminError::Failed(why)) if why.contains("makes no sense"))
                .then_some(())
        })
        .await;
    }

    pub(crate) async fn bridge_shows(&self, page: &str) -> Option<Value> {
        let admin = Admin::new(&format!("127.0.0.1:{}", self.bridge_admin), None, 5_000);
        admin.read(&format!("/landbridge/v1/{page}")).await.ok()
    }
}

/// The sum of a metric's rows. All processes of this test count into one page.
async fn counted(place: &Place, metric: &str) -> f64 {
    let admin = format!("127.0.0.1:{}", place.bridge_admin).parse().expect("an address");
    let (_, page) = ask(admin, "GET", "/metrics").await.expect("a page");
    let rows = page.lines().filter(|row| row.starts_with(metric));
    rows.filter_map(|row| row.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn address(host: u16) -> String {
    format!("10.0.{}.{}", host / 250, host % 250)
}

pub(crate) fn of_east(table: &Table) -> Vec<landbridge_client::Endpoint> {
    let orders = ServiceKey::parse("", "", "orders").expect("a valid service");
    let endpoints = table.endpoints(&orders).iter();
    endpoints.filter(|endpoint| endpoint.origin == region("east")).cloned().collect()
}

pub(crate) async fn until_table(what: &str, follower: &Follower, holds: impl Fn(&Table) -> bool) {
    until_async(what, PATIENCE, async || holds(&follower.table()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_gateway_sees_what_east_registers_and_keeps_it_when_east_is_gone() {
    let authority = Authority::new();
    let (east, west) = (Place::new("east"), Place::new("west"));
    let (east_member, west_member) = (east.member(&authority), west.member(&authority));
    let (east_bridge, west_bridge) = (east.bridge(&authority, &west), west.bridge(&authority, &east));
    let keepsake = west.folder.path().join("keepsake");
    let gateway = Shutdown::new();
    let follower = west.follower(&authority, &keepsake, &gateway).await;
    east.let_leave(&west).await;

    for host in 0..5 {
        east.register(&east.admin(), host).await;
    }
    until_table("west's gateway sees five", &follower, |table| of_east(table).len() == 5).await;
    assert!(of_east(&follower.table()).iter().all(|endpoint| !endpoint.stale && endpoint.healthy));
    let links = until_async("the link is live", PATIENCE, async || {
        west.bridge_shows("links").await.filter(|links| links[0]["state"] == "live")
    })
    .await;
    assert_eq!((&links[0]["peer"], &links[0]["direction"]), (&json!("east"), &json!("in")), "{links}");
    // What stays in a region is never packed.
    let bytes = counted(&west, "landbridge_carrier_bytes_total").await;
    let plain = counted(&west, "landbridge_carrier_plain_bytes_total").await;
    assert!(
        bytes > 0.0 && bytes < plain,
        "{bytes} bytes went for {plain}: nothing is packed between regions"
    );
    let budget = counted(&west, "landbridge_carrier_budget_bytes_per_second{peer=\"east\"}").await;
    assert!(
        (budget - f64::from(BUDGET)).abs() < 1.0,
        "west's bridge sends east at most {budget} bytes a second"
    );

    east_bridge.stop().await;
    east_member.stop().await;
    until_table("everything of east is stale", &follower, |table| {
        let endpoints = of_east(table);
        endpoints.len() == 5 && endpoints.iter().all(|endpoint| endpoint.stale && endpoint.unverified)
    })
    .await;

    west_bridge.stop().await;
    west_member.stop().await;
    gateway.finish(40_000).await.expect("the follower ended");
    let alone = Shutdown::new();
    let follower = west.follower(&authority, &keepsake, &alone).await;
    assert_eq!(of_east(&follower.table()).len(), 5, "the keepsake was lost with its gateway");
    alone.finish(40_000).await.expect("the follower ended");
}

/// Prints how long registrations take from the caller in east to the table of a gateway in west, two bridges away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_registration_reaches_the_far_gateway_soon() {
    const REGISTRATIONS: u16 = 200;
    let authority = Authority::new();
    let (east, west) = (Place::new("east"), Place::new("west"));
    let members = (east.member(&authority), west.member(&authority));
    let bridges = (east.bridge(&authority, &west), west.bridge(&authority, &east));
    let gateway = Shutdown::new();
    let follower = west.follower(&authority, &west.folder.path().join("keepsake"), &gateway).await;
    east.let_leave(&west).await;
    let caller = east.admin();
    east.register(&caller, 0).await;
    until_table("the path is open", &follower, |table| of_east(table).len() == 1).await;

    let mut changed = follower.changed();
    let mut took_us = hdrhistogram::Histogram::<u64>::new(3).expect("a histogram");
    for host in 1..=REGISTRATIONS {
        let asked = std::time::Instant::now();
        east.register(&caller, host).await;
        // Nothing beats for them, so the first ones go while the last ones come.
        let ip = address(host);
        while !of_east(&follower.table()).iter().any(|endpoint| endpoint.ip.as_str() == ip) {
            timeout(PATIENCE, changed.changed()).await.expect("news in time").expect("a follower");
        }
        took_us.record(u64::try_from(asked.elapsed().as_micros()).expect("a short time")).expect("in range");
    }

    let at = |quantile| took_us.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "propagation over {REGISTRATIONS} registrations: p50 {} ms, p99 {} ms, max {} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    gateway.finish(40_000).await.expect("the follower ended");
    for running in [bridges.0, bridges.1, members.0, members.1] {
        running.stop().await;
    }
}
