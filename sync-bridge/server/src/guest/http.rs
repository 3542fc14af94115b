//! A Nacos of 1.x, or whoever speaks as one, over HTTP: it is asked again and again, and what is registered in it is kept by beats.
//!
//! Invariant: an answer counts with status 200 alone; a beat that the server does not know ends the connection, for it has
//! forgotten everything, and all is asked and registered anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use landbridge_bridge_core::guest::{Native, Place};
use landbridge_model::{InstanceKey, Metadata, ServiceKey};
use landbridge_wire::nacos::grpc::Seen;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    line::{Answer, Broken, Dialler, Line, Names, News},
    login::{Http, Login},
};

/// A registration lives for 15 s without a beat, and stands for 30 s.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// Beats under way at once; further ones wait.
const BEATS_MAX: usize = 16;

/// Names that are asked for at once.
const PAGE: u64 = 10_000;

/// Pages of names that are asked for; what is beyond is not listed, and the list is not whole.
const PAGES_MAX: u64 = 100;

/// Nacos's word for a beat of an instance that it does not know.
const UNKNOWN_BEAT: u64 = 20_404;

/// Where instances are registered.
const INSTANCE: &str = "/nacos/v1/ns/instance";

/// Where services are listed.
const SERVICES: &str = "/nacos/v1/ns/service/list";

/// Reaches one of several servers, the next one after each failure.
pub(crate) struct Polled {
    servers: Vec<String>,
    next: usize,
    http: Http,
    login: Login,
    call: Duration,
}

impl Polled {
    /// `servers` are `host:port`, at least one; a beat that takes longer than `call` has failed.
    pub fn new(servers: Vec<String>, http: Http, login: Login, call: Duration) -> Self {
        Self { servers, next: 0, http, login, call }
    }
}

impl Dialler for Polled {
    type Line = Server;

    async fn connect(&mut self, anew: bool, news: mpsc::Sender<News>) -> Result<Server, Broken> {
        let address = self.servers[self.next % self.servers.len()].clone();
        self.next += 1;
        let over = CancellationToken::new();
        let caller =
            Caller { address: Arc::from(address), http: self.http.clone(), login: self.login.clone() };
        caller.login.renew(&caller.address, anew).await?;
        caller.is_there().await?;
        let kept = Kept::default();
        let beating = beat(caller.clone(), kept.clone(), self.call);
        let ends = over.clone();
        tokio::spawn(async move {
            tokio::select! {
                why = beating => drop(news.send(News::Over(why)).await),
                () = ends.cancelled() => {}
            }
        });
        Ok(Server { caller, kept, _guard: Arc::new(over.drop_guard()) })
    }
}

/// What beats keep alive.
type Kept = Arc<Mutex<BTreeMap<(ServiceKey, InstanceKey), Native>>>;

/// One server, as long as it answers.
#[derive(Clone)]
pub(crate) struct Server {
    caller: Caller,
    kept: Kept,
    /// Ends the beats with the last copy.
    _guard: Arc<DropGuard>,
}

/// How a server is called.
#[derive(Clone)]
struct Caller {
    address: Arc<str>,
    http: Http,
    login: Login,
}

#[derive(Deserialize)]
struct NamesPage {
    count: u64,
    #[serde(default)]
    doms: Vec<String>,
}

impl Caller {
    async fn is_there(&self) -> Result<(), Broken> {
        let page = [("pageNo", "1".to_owned()), ("pageSize", "1".to_owned())];
        self.call(Method::GET, SERVICES, page.into()).await.map(drop)
    }

    /// One call; its body, if it went well.
    async fn call(&self, method: Method, path: &str, pairs: Vec<(&str, String)>) -> Result<Bytes, Broken> {
        let mut pairs = pairs;
        pairs.extend(self.login.shown().map(|token| ("accessToken", token)));
        let query = serde_urlencoded::to_string(pairs).map_err(|e| Broken::Refused(e.to_string()))?;
        let (status, body) = self.http.call(method, &self.address, &format!("{path}?{query}"), None).await?;
        let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        let why = format!("{}: {status} {said}", self.address);
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(Broken::Forbidden(why)),
            _ if status.is_client_error() => Err(Broken::Refused(why)),
            _ => Err(Broken::Unreachable(why)),
        }
    }

    fn nonsense(&self, what: impl std::fmt::Display) -> Broken {
        Broken::Refused(format!("{} answers something else: {what}", self.address))
    }

    async fn register(&self, service: &ServiceKey, native: &Native) -> Result<(), Broken> {
        let instance = &native.instance;
        let mut pairs = named(service, &native.key);
        pairs.extend([
            ("weight", instance.weight.to_string()),
            ("healthy", instance.healthy.to_string()),
            ("enabled", instance.enabled.to_string()),
            ("ephemeral", true.to_string()),
            ("metadata", object(&instance.metadata).to_string()),
        ]);
        self.call(Method::POST, INSTANCE, pairs).await.map(drop)
    }

    async fn deregister(&self, service: &ServiceKey, native: &Native) -> Result<(), Broken> {
        let mut pairs = named(service, &native.key);
        pairs.push(("ephemeral", true.to_string()));
        self.call(Method::DELETE, INSTANCE, pairs).await.map(drop)
    }

    /// A light beat; false if the server does not know the instance.
    async fn beat(&self, service: &ServiceKey, key: &InstanceKey) -> Result<bool, Broken> {
        let body = self.call(Method::PUT, &format!("{INSTANCE}/beat"), named(service, key)).await?;
        let said: Value = serde_json::from_slice(&body).map_err(|error| self.nonsense(error))?;
        Ok(said["code"].as_u64() != Some(UNKNOWN_BEAT))
    }
}

impl Line for Server {
    async fn list(&self, place: &Place) -> Result<Names, Broken> {
        let mut names = Names { services: BTreeSet::new(), whole: true };
        let mut told = 0;
        for page in 1..=PAGES_MAX {
            let pairs = vec![
                ("pageNo", page.to_string()),
                ("pageSize", PAGE.to_string()),
                ("namespaceId", place.namespace.to_string()),
                ("groupName", place.group.to_string()),
            ];
            let body = self.caller.call(Method::GET, SERVICES, pairs).await?;
            let page: NamesPage =
                serde_json::from_slice(&body).map_err(|error| self.caller.nonsense(error))?;
            let is_last = page.doms.is_empty();
            told += page.doms.len() as u64;
            let (namespace, group) = (place.namespace.as_str(), place.group.as_str());
            names
                .services
                .extend(page.doms.iter().filter_map(|name| ServiceKey::parse(namespace, group, name).ok()));
            if told >= page.count {
                return Ok(names);
            }
            if is_last {
                break;
            }
        }
        // Fewer than there are: the order of a list may change between two pages.
        names.whole = false;
        Ok(names)
    }

    async fn watch(&self, service: &ServiceKey) -> Result<Answer, Broken> {
        let pairs =
            vec![("serviceName", service.grouped()), ("namespaceId", service.namespace().to_string())];
        let body = self.caller.call(Method::GET, &format!("{INSTANCE}/list"), pairs).await?;
        let seen = Seen::parse(&body).map_err(|why| self.caller.nonsense(why))?;
        let instances = seen.hosts.into_iter().map(|host| Native {
            key: host.key,
            instance: host.instance,
            persistent: !host.ephemeral,
        });
        Ok(Answer { service: service.clone(), made_ms: seen.last_ref_ms, instances: instances.collect() })
    }

    async fn unwatch(&self, _service: &ServiceKey) -> Result<(), Broken> {
        Ok(())
    }

    async fn put(&self, service: &ServiceKey, instances: &[Native], before: &[Native]) -> Result<(), Broken> {
        for native in before.iter().filter(|old| !instances.iter().any(|new| new.key == old.key)) {
            self.caller.deregister(service, native).await?;
            self.lock().remove(&(service.clone(), native.key.clone()));
        }
        for native in instances.iter().filter(|new| !before.contains(new)) {
            self.caller.register(service, native).await?;
            self.lock().insert((service.clone(), native.key.clone()), native.clone());
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), Broken> {
        self.caller.login.renew(&self.caller.address, false).await?;
        self.caller.is_there().await
    }
}

impl Server {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(ServiceKey, InstanceKey), Native>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beats for everything that is kept, until one fails; tells why.
async fn beat(caller: Caller, kept: Kept, call: Duration) -> String {
    let mut pace = interval(BEAT_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let all: Vec<_> = kept.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let mut waiting = all.into_iter();
        let mut calls = JoinSet::new();
        loop {
            while let (true, Some((service, key))) = (calls.len() < BEATS_MAX, waiting.next()) {
                let caller = caller.clone();
                calls.spawn(async move { timeout(call, caller.beat(&service, &key)).await });
            }
            match calls.join_next().await {
                None => break,
                Some(Ok(Ok(Ok(true)))) => {}
                Some(Ok(Ok(Ok(false)))) => return "it has forgotten what was registered".to_owned(),
                Some(Ok(Ok(Err(why)))) => return format!("a beat failed: {why}"),
                Some(Ok(Err(_))) => return format!("a beat took longer than {} ms", call.as_millis()),
                Some(Err(panic)) => return panic.to_string(),
            }
        }
    }
}

fn named(service: &ServiceKey, key: &InstanceKey) -> Vec<(&'static str, String)> {
    vec![
        ("serviceName", service.grouped()),
        ("namespaceId", service.namespace().to_string()),
        ("ip", key.ip.to_string()),
        ("port", key.port.to_string()),
        ("clusterName", key.cluster.to_string()),
    ]
}

fn object(metadata: &Metadata) -> Value {
    let pairs = metadata.pairs().iter().map(|(key, value)| (key.to_string(), json!(value.as_str())));
    Value::Object(pairs.collect::<Map<_, _>>())
}
