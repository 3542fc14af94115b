//! A foreign registry in the federation: what it shows reaches a region, what the region shows reaches it, and neither its
//! restart nor its silence, its refusals or ours delete anything.
//!
//! The foreign registry is a member of ours behind its Nacos doors, memoryless: each start begins with an empty disk. With
//! `FOREIGN_NACOS` it is the program that this names, called with `PORT` in its environment (tests/federation/foreign has some).

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

use http::Method;
use landbridge_client::{Admin, Table};
use landbridge_model::ServiceKey;
use landbridge_runtime::{
    config::Layers,
    shutdown::Shutdown,
    telemetry::{self, BuildInfo},
};
use landbridge_tests::{
    authority::Authority,
    http::{ask, send},
    process::{Process, free_base, free_port},
    wait::until_async,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    end::region,
    processes::{Place, Running, until_table},
};

/// A foreign server may take its time to start: a Java one does.
const PATIENCE: Duration = Duration::from_secs(120);

/// The guest's clients beat so often.
const BEAT: Duration = Duration::from_millis(500);

/// Nothing is deleted for so long after a connection.
const SETTLE_MS: u64 = 1_500;

/// A foreign registry.
struct Foreign {
    base: u16,
    running: Option<Runs>,
    sets: Vec<String>,
    /// As long as it runs.
    data: Option<TempDir>,
}

enum Runs {
    Ours(Running),
    Other(Process),
}

impl Foreign {
    fn new() -> Self {
        Self { base: free_base().expect("free ports"), running: None, sets: Vec::new(), data: None }
    }

    fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base))
    }

    /// Starts it with an empty disk and waits until it answers.
    async fn start(&mut self) {
        let data = tempfile::tempdir().expect("a folder");
        let running = match std::env::var_os("FOREIGN_NACOS").filter(|_| self.sets.is_empty()) {
            Some(program) => {
                let mut command = Command::new(program);
                command.env("PORT", self.base.to_string()).current_dir(data.path());
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                Runs::Other(Process::of(&mut command).expect("FOREIGN_NACOS names a program"))
            }
            None => Runs::Ours(self.ours(&data)),
        };
        (self.running, self.data) = (Some(running), Some(data));
        until_async("the foreign registry answers", PATIENCE, async || {
            let said = ask(self.http(), "GET", "/nacos/v1/ns/service/list?pageNo=1&pageSize=10").await;
            said.filter(|(status, _)| [200, 403].contains(status))
        })
        .await;
    }

    fn ours(&self, data: &TempDir) -> Running {
        let mut sets = vec![
            format!("data_dir={}", data.path().display()),
            format!("listen.http_port={}", self.base),
            format!("listen.feeds_port={}", free_port().expect("a free port")),
        ];
        sets.extend(self.sets.iter().cloned());
        let layers = Layers { defaults: "", file: None, environment: &[], sets: &sets };
        let config = landbridge_registry::Config::read(&layers).expect("good settings");
        let metrics = telemetry::install(BuildInfo { version: "test", role: "test" }).expect("a recorder");
        let shutdown = Shutdown::new();
        let ending = shutdown.clone();
        shutdown.spawn(async move {
            if let Err(why) = landbridge_registry::run(config, metrics, ending).await {
                panic!("the foreign member failed: {why}");
            }
        });
        Running::of(shutdown)
    }

    async fn stop(&mut self) {
        match self.running.take() {
            Some(Runs::Ours(running)) => running.stop().await,
            Some(Runs::Other(mut process)) => process.kill().expect("it ran"),
            None => {}
        }
    }

    /// The instances of a service that it shows.
    async fn shows(&self, service: &str) -> Option<Vec<Value>> {
        let path = format!("/nacos/v1/ns/instance/list?serviceName={service}");
        let (status, text) = ask(self.http(), "GET", &path).await?;
        let said: Value = (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()?;
        said["hosts"].as_array().cloned()
    }
}

/// A client of the guest as 1.x SDKs are: it beats, and a beat registers again what the guest has forgotten.
struct Client {
    beats: watch::Sender<Vec<(&'static str, u16)>>,
    task: JoinHandle<()>,
}

impl Client {
    /// A client that shows this token, if there is one.
    fn of(server: SocketAddr, token: String) -> Self {
        let beats = watch::Sender::new(Vec::<(&'static str, u16)>::new());
        let wanted = beats.subscribe();
        let task = tokio::spawn(async move {
            let headers = [("accessToken", token.as_str())];
            let headers = if token.is_empty() { &[][..] } else { &headers };
            let mut pace = interval(BEAT);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                let now = wanted.borrow().clone();
                for (service, host) in now {
                    let beat = json!({
                        "serviceName": format!("DEFAULT_GROUP@@{service}"), "ip": ip(host), "port": 80, "weight": 1.0,
                        "cluster": "DEFAULT", "metadata": { "version": "1" }, "scheduled": false,
                    });
                    let form =
                        [("serviceName", format!("DEFAULT_GROUP@@{service}")), ("beat", beat.to_string())];
                    let form = form.map(|(key, value)| format!("{key}={}", escaped(&value))).join("&");
                    let path = format!("/nacos/v1/ns/instance/beat?{form}");
                    send(server, "PUT", &path, headers, "").await;
                }
            }
        });
        Self { beats, task }
    }

    fn keeps(&self, instances: &[(&'static str, u16)]) {
        self.beats.send_replace(instances.to_vec());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn ip(host: u16) -> String {
    format!("10.7.0.{host}")
}

fn instance(service: &str, host: u16) -> String {
    let ip = ip(host);
    format!("/nacos/v1/ns/instance?serviceName={service}&ip={ip}&port=80&clusterName=DEFAULT&ephemeral=true")
}

/// The bridge that hosts the guest as region `shop`, and west, which imports it.
struct Scene {
    authority: Authority,
    guest: Foreign,
    client: Client,
    shop: Place,
    west: Place,
    hosts: Option<Running>,
    roles: Vec<Running>,
    more: String,
}

impl Scene {
    /// All but the host of the guest runs, and the guest's clients hold three and one instance.
    async fn set(sets: &[String]) -> Self {
        let mut guest = Foreign { sets: sets.to_vec(), ..Foreign::new() };
        guest.start().await;
        let (shop, west) = (Place::new("shop"), Place::new("west"));
        let authority = Authority::new();
        let roles = vec![west.member(&authority), west.bridge(&authority, &shop)];
        let client = Client::of(guest.http(), String::new());
        Self { authority, guest, client, shop, west, hosts: None, roles, more: String::new() }
    }

    fn host(&mut self) {
        let page = format!(
            "[guest]\nservers = [\"127.0.0.1:{}\"]\nlist_ms = 300\ncall_ms = 2000\nsettle_ms = {SETTLE_MS}\n\
             nacos_sync_stamps = true\nexports.west = [\"public/*/*\"]\n\
             tasks = [{{ name = \"in\", services = \"public/DEFAULT_GROUP/ALL\" }},\
             {{ name = \"out\", services = \"public/DEFAULT_GROUP/*\", from = \"west\" }}]\n{}",
            self.guest.base, self.more
        );
        self.hosts = Some(self.shop.bridge_with(&self.authority, &self.west, &[], &page));
    }

    async fn unhost(&mut self) {
        self.hosts.take().expect("it is hosted").stop().await;
    }

    /// What the host says of the guest, once it says this.
    async fn says(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until_async(what, PATIENCE, async || self.shop.bridge_shows("guest").await.filter(|row| holds(row)))
            .await
    }

    async fn end(mut self) {
        if let Some(hosts) = self.hosts.take() {
            hosts.stop().await;
        }
        for role in self.roles {
            role.stop().await;
        }
        self.guest.stop().await;
    }
}

/// The instances that a region's gateway sees of a service of the guest, by host.
fn of_guest(table: &Table, service: &str) -> Vec<String> {
    let service = ServiceKey::parse("", "", service).expect("valid");
    let endpoints = table.endpoints(&service).iter().filter(|endpoint| endpoint.origin == region("shop"));
    endpoints.map(|endpoint| endpoint.ip.to_string()).collect()
}

fn hosts(list: &[u16]) -> Vec<String> {
    list.iter().map(|host| ip(*host)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_restarts_empty_loses_nothing_in_the_region_that_imports_it() {
    a_guest_restarts_empty("grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_of_1_x_that_restarts_empty_loses_nothing_either() {
    a_guest_restarts_empty("http").await;
}

async fn a_guest_restarts_empty(protocol: &str) {
    let mut scene = Scene::set(&[]).await;
    scene.more = format!("protocol = {protocol:?}\n");
    let all = [("greeter", 1), ("greeter", 2), ("greeter", 3), ("payer", 4)];
    scene.client.keeps(&all);
    scene.host();
    let gateway = Shutdown::new();
    let keepsake = scene.west.folder.path().join("keepsake");
    let follower = scene.west.follower(&scene.authority, &keepsake, &gateway).await;

    until_table("west sees the guest's instances", &follower, |table| {
        of_guest(table, "greeter") == hosts(&[1, 2, 3]) && of_guest(table, "payer") == hosts(&[4])
    })
    .await;

    // One goes of its own will: gone when the guest has settled.
    scene.client.keeps(&[all[0], all[1], all[3]]);
    until_async("the guest takes a deregistration", PATIENCE, async || {
        ask(scene.guest.http(), "DELETE", &instance("greeter", 3)).await.filter(|(status, _)| *status == 200)
    })
    .await;
    until_table("west sees one go", &follower, |table| of_guest(table, "greeter") == hosts(&[1, 2])).await;

    // The guest restarts without its clients and without its memory.
    scene.client.keeps(&[]);
    scene.guest.stop().await;
    scene.says("the guest is silent", |row| row["state"] == "silent").await;
    assert_eq!(of_guest(&follower.table(), "greeter"), hosts(&[1, 2]));
    scene.guest.start().await;
    let row = scene.says("the empty guest is heard whole", |row| row["state"] == "open").await;
    assert_eq!(row["instances"], 3, "{row}");
    let row = scene.says("the loss is held", |row| row["settling"] == false && row["held"] == 3).await;
    assert_eq!(row["instances"], 3, "{row}");
    assert_eq!(of_guest(&follower.table(), "greeter"), hosts(&[1, 2]));
    assert_eq!(of_guest(&follower.table(), "payer"), hosts(&[4]));

    // Its clients come back, and then one goes.
    scene.client.keeps(&[all[0], all[1], all[3]]);
    scene.says("nothing is held", |row| row["held"] == 0).await;

    // The host restarts: what it knew stands, and goes on under a new feed.
    scene.unhost().await;
    assert_eq!(of_guest(&follower.table(), "greeter"), hosts(&[1, 2]));
    scene.host();
    let row = scene.says("the guest is heard again", |row| row["state"] == "open").await;
    assert_eq!(row["instances"], 3, "{row}");
    scene.client.keeps(&[all[0], all[3]]);
    ask(scene.guest.http(), "DELETE", &instance("greeter", 2)).await;
    until_table("west sees another one go", &follower, |table| of_guest(table, "greeter") == hosts(&[1]))
        .await;
    assert_eq!(of_guest(&follower.table(), "payer"), hosts(&[4]));

    gateway.finish(40_000).await.expect("the gateway ends");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_registered_in_the_guest_with_stamps_again_after_its_restart_and_never_comes_back() {
    a_region_is_registered("grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_registered_in_a_guest_of_1_x_and_kept_there_by_beats() {
    a_region_is_registered("http").await;
}

async fn a_region_is_registered(protocol: &str) {
    let mut scene = Scene::set(&[]).await;
    scene.more = format!("protocol = {protocol:?}\n");
    scene.west.let_leave(&scene.shop).await;
    let west: SocketAddr = scene.west.http().parse().expect("an address");
    let home = Client::of(west, String::new());
    home.keeps(&[("orders", 5), ("orders", 6)]);
    scene.client.keeps(&[("greeter", 1)]);
    scene.host();

    let shown = async |scene: &Scene, count: usize| {
        let what = format!("the guest shows {count} of west");
        until_async(&what, PATIENCE, async || {
            scene.guest.shows("orders").await.filter(|hosts| hosts.len() == count)
        })
        .await
    };
    let orders = shown(&scene, 2).await;
    for host in &orders {
        let stamps = &host["metadata"];
        assert_eq!(
            (&stamps["landbridge.source"], &stamps["sourceClusterId"]),
            (&json!("west"), &json!("west"))
        );
        assert_eq!(stamps["syncSource"], "LANDBRIDGE", "{host}");
    }
    let row =
        scene.says("what is put is not taken in", |row| row["state"] == "open" && row["watched"] == 2).await;
    assert_eq!((&row["instances"], &row["put"]), (&json!(1), &json!(2)), "{row}");

    scene.guest.stop().await;
    scene.guest.start().await;
    shown(&scene, 2).await;

    home.keeps(&[("orders", 6)]);
    ask(west, "DELETE", &instance("orders", 5)).await;
    let left = shown(&scene, 1).await;
    assert_eq!(left[0]["ip"], ip(6));
    home.keeps(&[]);
    ask(west, "DELETE", &instance("orders", 6)).await;
    shown(&scene, 0).await;
    scene.end().await;
}

/// Makes the admin of a guest that has just been started with users, and gives a token.
async fn admin(guest: &Foreign, password: &str) -> String {
    let data = guest.data.as_ref().expect("it runs").path();
    let secret = std::fs::read_to_string(data.join("admin-bootstrap")).expect("a secret");
    let form = format!("password={password}&secret={secret}");
    let made = send(guest.http(), "POST", "/nacos/v1/auth/users/admin", &[], &form).await.expect("answered");
    assert_eq!(made.0, 200, "{}", made.1);
    let form = format!("username=nacos&password={password}");
    let said = send(guest.http(), "POST", "/nacos/v1/auth/login", &[], &form).await.expect("answered");
    let said: Value = serde_json::from_str(&said.1).expect("a token");
    said["accessToken"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_lets_the_bridge_in_no_more_loses_nothing() {
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), "a key of tests that nobody else has to know").expect("written");
    let key = format!("auth.token_key_file={}", key.path().display());
    let mut scene =
        Scene::set(&["auth.enabled=true".to_owned(), "auth.password_cost=4".to_owned(), key]).await;
    let password = scene.shop.folder.path().join("password");
    std::fs::write(&password, "password-one\n").expect("written");
    scene.more = format!("username = \"nacos\"\npassword_file = {password:?}\n");

    let token = admin(&scene.guest, "password-one").await;
    scene.client = Client::of(scene.guest.http(), token);
    scene.client.keeps(&[("greeter", 1), ("greeter", 2)]);
    scene.host();
    scene.says("the bridge is let in", |row| row["state"] == "open" && row["instances"] == 2).await;

    // The guest restarts with other passwords: what it says to strangers is nothing.
    scene.client.keeps(&[]);
    scene.guest.stop().await;
    scene.guest.start().await;
    let token = admin(&scene.guest, "password-two").await;
    let forbidden = |row: &Value| row["why"].as_str().is_some_and(|why| why.contains("forbidden"));
    let row = scene.says("the bridge is kept out", forbidden).await;
    assert_eq!((&row["state"], &row["instances"]), (&json!("silent"), &json!(2)), "{row}");

    // It learns the password, hears an empty guest, and then the clients that come back.
    scene.unhost().await;
    std::fs::write(&password, "password-two\n").expect("written");
    scene.host();
    let row = scene.says("the bridge is let in again", |row| row["state"] == "open").await;
    assert_eq!(row["instances"], 2, "{row}");
    let row = scene.says("the loss is held", |row| row["held"] == 2).await;
    assert_eq!(row["instances"], 2, "{row}");
    scene.client = Client::of(scene.guest.http(), token);
    scene.client.keeps(&[("greeter", 1), ("greeter", 2)]);
    scene.says("nothing is held", |row| row["held"] == 0 && row["instances"] == 2).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_add_pause_and_delete_what_crosses_and_it_outlives_the_process() {
    let mut scene = Scene::set(&[]).await;
    scene.client.keeps(&[("greeter", 1), ("payer", 2)]);
    scene.host();
    scene.says("both are in", |row| row["instances"] == 2).await;
    let desk = Admin::new(&format!("127.0.0.1:{}", scene.shop.bridge_admin), None, 5_000);
    let path = |rest: &str| format!("/landbridge/v1/guest/tasks/{rest}");
    let ask = async |method: Method, rest: &str, page: Value| {
        desk.write::<Value>(method, &path(rest), &page).await.expect("taken")
    };

    let page = json!({ "services": "public/DEFAULT_GROUP/gre*" });
    ask(Method::PUT, "greeters", page).await;
    ask(Method::DELETE, "in", json!({})).await;
    scene.says("what no task names is gone", |row| row["instances"] == 1).await;
    ask(Method::POST, "greeters/pause", json!({})).await;
    scene.client.keeps(&[("greeter", 1), ("greeter", 3)]);
    scene.unhost().await;
    scene.host();
    let row = scene.says("the guest answers", |row| row["state"] == "open").await;
    let names: Vec<_> =
        row["tasks"].as_array().expect("tasks").iter().map(|task| task["name"].as_str()).collect();
    assert_eq!((&row["instances"], names), (&json!(1), vec![Some("out"), Some("greeters")]), "{row}");
    ask(Method::POST, "greeters/resume", json!({})).await;
    scene.says("the task goes on", |row| row["instances"] == 2).await;

    let unknown = desk.write::<Value>(Method::DELETE, &path("nobody"), &json!({})).await;
    assert!(unknown.is_err_and(|why| why.to_string().contains("there is no task nobody")));
    let audit = scene.shop.bridge_shows("audit").await.expect("a page");
    let last = audit.as_array().expect("rows").last().expect("a row").clone();
    assert_eq!((&last["verb"], &last["target"]), (&json!("guest task delete"), &json!("nobody")), "{last}");
    scene.end().await;
}
