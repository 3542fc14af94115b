//! Runs crate nacos-sdk 0.8.0 against the registry named in `SERVER` and says of each sentence whether it held.

mod checks;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use checks::{Checks, control, listed, owned};
use landbridge_tests::wait::until_async;
use nacos_sdk::api::{
    config::{ConfigChangeListener, ConfigResponse, ConfigService, ConfigServiceBuilder},
    error::Error,
    naming::{NamingChangeEvent, NamingEventListener, NamingService, NamingServiceBuilder, ServiceInstance},
    props::ClientProps,
};

const IP: &str = "10.4.0.1";
/// How soon a push must arrive.
const PUSHED: Duration = Duration::from_secs(5);
/// How soon the SDK must have found a restarted server and said everything again.
const REDONE: Duration = Duration::from_secs(60);

/// Keeps the newest list that a subscription was told.
#[derive(Default)]
struct Watch(Mutex<Vec<ServiceInstance>>);

impl NamingEventListener for Watch {
    fn event(&self, event: Arc<NamingChangeEvent>) {
        *self.0.lock().expect("no listener panics") = event.instances.clone().unwrap_or_default();
    }
}

impl Watch {
    async fn until(&self, what: &str, deadline: Duration, ask: impl Fn(&[ServiceInstance]) -> bool) {
        until_async(what, deadline, async || ask(&self.0.lock().expect("no listener panics")).then_some(()))
            .await;
    }
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, own, port, watched] = words.as_slice() {
        return member(own, port.parse().expect("a port"), watched).await;
    }
    let mut checks =
        Checks::new(if checks::user().is_some() { "rust 0.8.0 with a user" } else { "rust 0.8.0" });
    let configs =
        checks.holds("a config that nobody keeps is not found, and is listened to", configs()).await;
    let connected = checks.holds("a client connects", connect_both()).await;
    if let Some((provider, consumer)) = connected {
        reading(&mut checks, &provider, &consumer).await;
        pushes(&mut checks, &provider, &consumer).await;
        batches(&mut checks, &provider).await;
        restarts(&mut checks, &provider, &consumer).await;
    }
    drop(configs);
    checks.close();
}

/// Hears of nothing: nobody keeps configs.
struct Deaf;

impl ConfigChangeListener for Deaf {
    fn notify(&self, config: ConfigResponse) {
        panic!("told of {config:?}");
    }
}

/// What an application does when it starts; the client listens on.
async fn configs() -> ConfigService {
    let builder = ConfigServiceBuilder::new(props(checks::server()));
    let builder = if checks::user().is_some() { builder.enable_auth_plugin_http() } else { builder };
    let client = builder.build().await.expect("a client");
    let asked = client.get_config("nobodys.yaml".to_owned(), "DEFAULT_GROUP".to_owned()).await;
    assert!(matches!(asked, Err(Error::ConfigNotFound(_))), "{asked:?}");
    let listening =
        client.add_listener("nobodys.yaml".to_owned(), "DEFAULT_GROUP".to_owned(), Arc::new(Deaf)).await;
    listening.expect("listened to");
    client
}

/// Registers one service and subscribes to another at several servers, and prints the ports of every list that it is told.
async fn member(own: &str, port: i32, watched: &str) {
    let client = connect(std::env::var("SERVERS").expect("SERVERS is set")).await;
    client.subscribe(watched.to_owned(), None, Vec::new(), Arc::new(Teller)).await.expect("subscribed");
    register(&client, own, instance(port, 1.0, "blue")).await;
    println!("registered");
    std::future::pending().await
}

/// Prints what a subscription was told.
struct Teller;

impl NamingEventListener for Teller {
    fn event(&self, event: Arc<NamingChangeEvent>) {
        let hosts = event.instances.iter().flatten();
        println!("told {}", hosts.map(|host| host.port.to_string()).collect::<Vec<_>>().join(" "));
    }
}

async fn connect_both() -> (NamingService, NamingService) {
    (connect(checks::server()).await, connect(checks::server()).await)
}

async fn connect(servers: String) -> NamingService {
    let builder = NamingServiceBuilder::new(props(servers));
    let builder = if checks::user().is_some() { builder.enable_auth_plugin_http() } else { builder };
    builder.build().await.expect("a client")
}

fn props(servers: String) -> ClientProps {
    let props = ClientProps::new()
        .server_addr(servers)
        .namespace("")
        .app_name("landbridge-checks")
        .naming_push_empty_protection(false)
        .naming_load_cache_at_start(false);
    match checks::user() {
        Some((user, password)) => props.auth_username(user).auth_password(password),
        None => props,
    }
}

fn instance(port: i32, weight: f64, colour: &str) -> ServiceInstance {
    let metadata = HashMap::from([("colour".to_owned(), colour.to_owned())]);
    ServiceInstance { ip: IP.to_owned(), port, weight, metadata, ..ServiceInstance::default() }
}

async fn register(client: &NamingService, service: &str, instance: ServiceInstance) {
    client.register_instance(service.to_owned(), None, instance).await.expect("registered");
}

async fn reading(checks: &mut Checks, provider: &NamingService, consumer: &NamingService) {
    let query = async |service: &str| {
        consumer.get_all_instances(service.to_owned(), None, Vec::new(), false).await.expect("an answer")
    };
    checks
        .holds("an instance that is registered is found with all its values", async {
            register(provider, "rust-read", instance(4001, 2.5, "blue")).await;
            let found = until_async("the instance", PUSHED, async || query("rust-read").await.pop()).await;

            assert_eq!((found.ip.as_str(), found.port, found.weight), (IP, 4001, 2.5));
            assert_eq!(found.metadata["colour"], "blue");
            assert!(found.healthy && found.enabled && found.ephemeral);
        })
        .await;
    checks
        .holds("a service without instances is an empty list and no error", async {
            assert!(query("rust-nothing").await.is_empty());
        })
        .await;
    checks
        .holds("the list of services names it", async {
            let (services, count) = provider.get_service_list(1, 100, None).await.expect("a list");

            assert!(services.iter().any(|name| name == "rust-read"), "{count}: {services:?}");
        })
        .await;
    checks
        .holds("a persistent instance is registered and deregistered", async {
            let kept = ServiceInstance { ephemeral: false, ..instance(4005, 1.0, "blue") };
            register(provider, "rust-kept", kept.clone()).await;
            let found = until_async("the instance", PUSHED, async || query("rust-kept").await.pop()).await;
            assert!(!found.ephemeral);
            provider.deregister_instance("rust-kept".to_owned(), None, kept).await.expect("deregistered");
            until_async("an empty list", PUSHED, async || query("rust-kept").await.is_empty().then_some(()))
                .await;
        })
        .await;
}

async fn pushes(checks: &mut Checks, provider: &NamingService, consumer: &NamingService) {
    let watch = Arc::new(Watch::default());
    checks
        .holds("a subscriber is told of a new instance", async {
            let listener = Arc::clone(&watch) as Arc<dyn NamingEventListener>;
            consumer.subscribe("rust-push".to_owned(), None, Vec::new(), listener).await.expect("subscribed");
            register(provider, "rust-push", instance(4002, 1.0, "blue")).await;
            watch.until("the instance", PUSHED, |hosts| hosts.len() == 1 && hosts[0].port == 4002).await;
        })
        .await;
    checks
        .holds("a subscriber is told of a changed instance", async {
            register(provider, "rust-push", instance(4002, 7.0, "red")).await;
            let changed =
                |hosts: &[ServiceInstance]| hosts[0].weight == 7.0 && hosts[0].metadata["colour"] == "red";
            watch.until("the change", PUSHED, |hosts| !hosts.is_empty() && changed(hosts)).await;
        })
        .await;
    checks
        .holds("a subscriber is told when the last instance is deregistered", async {
            let gone = instance(4002, 7.0, "red");
            provider.deregister_instance("rust-push".to_owned(), None, gone).await.expect("deregistered");
            watch.until("an empty list", PUSHED, <[ServiceInstance]>::is_empty).await;
        })
        .await;
}

async fn batches(checks: &mut Checks, provider: &NamingService) {
    let batch = async |ports: &[i32]| {
        let instances = ports.iter().map(|port| instance(*port, 1.0, "blue")).collect();
        provider.batch_register_instance("rust-batch".to_owned(), None, instances).await.expect("registered");
        until_async("the batch", PUSHED, async || {
            (listed("rust-batch").await? == ports.iter().map(|port| i64::from(*port)).collect::<Vec<_>>())
                .then_some(())
        })
        .await;
    };
    checks.holds("a batch registers all its instances at once", batch(&[1, 2, 3])).await;
    checks.holds("a batch replaces the one before", batch(&[2, 4])).await;
}

async fn restarts(checks: &mut Checks, provider: &NamingService, consumer: &NamingService) {
    let again = "after a restart without data the SDK registers again";
    let told = "after a restart without data the subscription is told of changes again";
    if !owned() {
        checks.skip(&[again, told], "the server is not ours to restart");
        return;
    }
    let watch = Arc::new(Watch::default());
    let listener = Arc::clone(&watch) as Arc<dyn NamingEventListener>;
    consumer.subscribe("rust-redo".to_owned(), None, Vec::new(), listener).await.expect("subscribed");
    register(provider, "rust-redo", instance(4003, 1.0, "blue")).await;
    checks
        .holds(again, async {
            control("empty").await;
            until_async("the instance", REDONE, async || {
                (listed("rust-redo").await? == [4003]).then_some(())
            })
            .await;
        })
        .await;
    checks
        .holds(told, async {
            let newcomer = connect(checks::server()).await;
            register(&newcomer, "rust-redo", instance(4004, 1.0, "blue")).await;
            watch.until("both instances", REDONE, |hosts| hosts.len() == 2).await;
        })
        .await;
}
