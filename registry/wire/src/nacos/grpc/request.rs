//! What clients ask over gRPC, parsed from type and JSON.

use std::collections::{BTreeMap, BTreeSet};

use ecow::EcoString;
use landbridge_model::{Group, InstanceKey, Namespace, ServiceKey};
use serde::Deserialize;

use super::{Kind, Payload};
use crate::nacos::{
    ClusterFilter, Enrolment, Refusal, ServiceListQuery, ServiceQuery, WatchPattern,
    instance::RawInstance,
    json::{self, Flag, List, Number, Pairs, Text},
};

/// The most instances in one batch; a larger one is refused.
pub const BATCH_INSTANCES_MAX: usize = 10_000;

/// The most services that one fuzzy watch may match or know; more are refused.
pub const WATCHED_MAX: usize = 500;

/// How much of an unknown type's name is kept.
const KIND_CHARS_MAX: usize = 64;

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Is there a server?
    ServerCheck,
    /// Is the connection alive?
    HealthCheck,
    /// First message of the stream.
    ConnectionSetup(ConnectionSetup),
    /// Publish an ephemeral instance, or take back whatever the connection published for the service.
    Instance {
        /// Under which service.
        service: ServiceKey,
        /// What.
        publish: Publish,
    },
    /// Publish a set of ephemeral instances in place of what the connection published before.
    BatchInstance {
        /// Under which service.
        service: ServiceKey,
        /// The whole set.
        instances: Vec<Enrolment>,
    },
    /// Put or delete a persistent instance.
    PersistentInstance {
        /// Under which service.
        service: ServiceKey,
        /// What.
        change: PersistentChange,
    },
    /// List a service once.
    ServiceQuery(ServiceQuery),
    /// List services.
    ServiceList(ServiceListQuery),
    /// List a service, and be told of changes or no longer.
    Subscribe(Subscribe),
    /// Be told which services come and go, or no longer.
    FuzzyWatch(FuzzyWatch),
    /// Read a config.
    ConfigQuery,
    /// Write or remove a config.
    ConfigWrite,
    /// Watch configs.
    ConfigListen,
    /// The answer to something that the server asked.
    Ack(Ack),
    /// A type nobody handles; the name is cut.
    Unknown(EcoString),
}

/// How a client sets its connection up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionSetup {
    /// Such as `Nacos-Java-Client:v3.1.0`.
    pub client_version: EcoString,
    /// The namespace it says it works in, empty for the default.
    pub tenant: EcoString,
    /// Free pairs: `source`, `module`, `AppName` and others.
    pub labels: BTreeMap<EcoString, EcoString>,
    /// What it can do; only a client that says so waits for a `SetupAckRequest`.
    pub abilities: Option<BTreeMap<EcoString, bool>>,
}

impl ConnectionSetup {
    /// Whether the connection may publish and subscribe: config connections may not.
    pub fn is_naming(&self) -> bool {
        self.labels.get("module").is_none_or(|module| module == "naming")
    }
}

/// What is published for a service on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Publish {
    /// This in place of what was there.
    Register(Enrolment),
    /// Nothing more; Nacos does not compare addresses.
    Deregister,
}

/// What becomes of a persistent instance.
#[derive(Clone, Debug, PartialEq)]
pub enum PersistentChange {
    /// It is put.
    Register(Enrolment),
    /// It is deleted.
    Deregister(InstanceKey),
}

/// A standing question, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Which service.
    pub service: ServiceKey,
    /// Which clusters of it.
    pub clusters: ClusterFilter,
    /// False ends it.
    pub subscribe: bool,
}

/// A standing question for services by pattern, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuzzyWatch {
    /// Which services.
    pub pattern: WatchPattern,
    /// False ends it.
    pub watch: bool,
    /// Whether the client waits for the first state as a whole.
    pub initializing: bool,
    /// What the client knows already.
    pub known: BTreeSet<ServiceKey>,
}

/// A client's answer to a message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which message, none if the client did not say.
    pub request_id: Option<u64>,
    /// Whether it was taken, judged by `resultCode`: not every client sends `success`.
    pub taken: bool,
}

impl Request {
    /// Parses a payload by its type.
    pub fn parse(payload: &Payload) -> Result<Self, Refusal> {
        let json = payload.json();
        match payload.kind() {
            Kind::ServerCheck => Ok(Self::ServerCheck),
            Kind::HealthCheck => Ok(Self::HealthCheck),
            Kind::ConnectionSetup => setup(json),
            Kind::Instance => instance(json),
            Kind::BatchInstance => batch(json),
            Kind::PersistentInstance => persistent(json),
            Kind::ServiceQuery => query(json),
            Kind::ServiceList => list(json),
            Kind::Subscribe => subscribe(json),
            Kind::FuzzyWatch => fuzzy_watch(json),
            Kind::ConfigQuery => Ok(Self::ConfigQuery),
            Kind::ConfigPublish | Kind::ConfigRemove => Ok(Self::ConfigWrite),
            Kind::ConfigListen => Ok(Self::ConfigListen),
            Kind::NotifyAck
            | Kind::FuzzySyncAck
            | Kind::FuzzyChangeAck
            | Kind::DetectionAck
            | Kind::ResetAck
            | Kind::SetupAck
            | Kind::PushAck => ack(json),
            Kind::Unknown => Ok(Self::Unknown(payload.type_name().chars().take(KIND_CHARS_MAX).collect())),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawSetup<'a> {
    #[serde(borrow)]
    client_version: Text<'a>,
    #[serde(borrow)]
    tenant: Text<'a>,
    labels: Pairs,
    ability_table: Option<Pairs>,
}

fn setup(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawSetup<'_> = json::read("ConnectionSetupRequest", json)?;
    let abilities =
        raw.ability_table.map(|table| table.0.into_iter().map(|(name, can)| (name, can == "true")).collect());
    Ok(Request::ConnectionSetup(ConnectionSetup {
        client_version: raw.client_version.as_str().into(),
        tenant: raw.tenant.as_str().into(),
        labels: raw.labels.0.into_iter().collect(),
        abilities,
    }))
}

/// Everything that naming requests have, in one struct: each uses its part.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawNaming<'a> {
    #[serde(borrow)]
    namespace: Text<'a>,
    #[serde(borrow)]
    service_name: Text<'a>,
    #[serde(borrow)]
    group_name: Text<'a>,
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    instance: Option<RawInstance<'a>>,
    #[serde(borrow)]
    instances: List<RawInstance<'a>, BATCH_INSTANCES_MAX>,
    #[serde(borrow)]
    cluster: Text<'a>,
    #[serde(borrow)]
    clusters: Text<'a>,
    healthy_only: Flag,
    subscribe: Flag,
    page_no: Number,
    page_size: Number,
}

impl RawNaming<'_> {
    fn service(&self) -> Result<ServiceKey, Refusal> {
        ServiceKey::parse(self.namespace.as_str(), self.group_name.as_str(), self.service_name.as_str())
            .map_err(Refusal::invalid)
    }

    fn unsupported(&self) -> Refusal {
        let kind: String = self.r#type.as_str().chars().take(KIND_CHARS_MAX).collect();
        Refusal::invalid(format_args!("Unsupported request type {kind}"))
    }
}

fn instance(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawNaming<'_> = json::read("InstanceRequest", json)?;
    let service = raw.service()?;
    let publish = match raw.r#type.as_str() {
        "registerInstance" => Publish::Register(raw.instance.unwrap_or_default().enrolment()?),
        "deregisterInstance" => Publish::Deregister,
        _ => return Err(raw.unsupported()),
    };
    Ok(Request::Instance { service, publish })
}

fn batch(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawNaming<'_> = json::read("BatchInstanceRequest", json)?;
    let service = raw.service()?;
    if raw.r#type.as_str() != "batchRegisterInstance" {
        return Err(raw.unsupported());
    }
    if raw.instances.0.len() > BATCH_INSTANCES_MAX {
        return Err(Refusal::invalid(format_args!("more than {BATCH_INSTANCES_MAX} instances in one batch")));
    }
    let instances = raw.instances.0.into_iter().map(RawInstance::enrolment).collect::<Result<_, _>>()?;
    Ok(Request::BatchInstance { service, instances })
}

fn persistent(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawNaming<'_> = json::read("PersistentInstanceRequest", json)?;
    let service = raw.service()?;
    let change = match raw.r#type.as_str() {
        "registerInstance" => {
            let enrolment = raw.instance.unwrap_or_default().enrolment()?;
            PersistentChange::Register(Enrolment { ephemeral: false, ..enrolment })
        }
        "deregisterInstance" => PersistentChange::Deregister(raw.instance.unwrap_or_default().key()?),
        _ => return Err(raw.unsupported()),
    };
    Ok(Request::PersistentInstance { service, change })
}

fn query(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawNaming<'_> = json::read("ServiceQueryRequest", json)?;
    Ok(Request::ServiceQuery(ServiceQuery {
        service: raw.service()?,
        clusters: ClusterFilter::parse(raw.cluster.as_str())?,
        healthy_only: raw.healthy_only.0.unwrap_or(false),
    }))
}

fn list(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawNaming<'_> = json::read("ServiceListRequest", json)?;
    let namespace = Namespace::parse(raw.namespace.as_str()).map_err(Refusal::invalid)?;
    let group = Group::parse(raw.group_name.as_str()).map_err(Refusal::invalid)?;
    let page_no = raw.page_no.whole("pageNo", 1, u64::from(u32::MAX))?;
    let page_size = raw.page_size.whole("pageSize", 10, u64::from(u32::MAX))?;
    Ok(Request::ServiceList(ServiceListQuery::new(namespace, group, page_no, page_size)))
}

fn subscribe(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawNaming<'_> = json::read("SubscribeServiceRequest", json)?;
    Ok(Request::Subscribe(Subscribe {
        service: raw.service()?,
        clusters: ClusterFilter::parse(raw.clusters.as_str())?,
        subscribe: raw.subscribe.0.unwrap_or(false),
    }))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawFuzzyWatch<'a> {
    #[serde(borrow)]
    group_key_pattern: Text<'a>,
    #[serde(borrow)]
    received_group_keys: List<Text<'a>, WATCHED_MAX>,
    #[serde(borrow)]
    watch_type: Text<'a>,
    initializing: Flag,
}

fn fuzzy_watch(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawFuzzyWatch<'_> = json::read("NamingFuzzyWatchRequest", json)?;
    let watch = match raw.watch_type.as_str() {
        "WATCH" => true,
        "CANCEL_WATCH" => false,
        _ => return Err(Refusal::invalid("watchType is WATCH or CANCEL_WATCH")),
    };
    if raw.received_group_keys.0.len() > WATCHED_MAX {
        return Err(Refusal::invalid(format_args!(
            "more than {WATCHED_MAX} services are known by one watch"
        )));
    }
    // A key that names no service is one that the client cannot have from us: it is told of all it lacks anyway.
    let known = raw.received_group_keys.0.iter().filter_map(|key| watched(key.as_str())).collect();
    Ok(Request::FuzzyWatch(FuzzyWatch {
        pattern: WatchPattern::parse(raw.group_key_pattern.as_str())?,
        watch,
        initializing: raw.initializing.0.unwrap_or(false),
        known,
    }))
}

/// `namespace@@group@@service`.
fn watched(key: &str) -> Option<ServiceKey> {
    let (namespace, rest) = key.split_once("@@")?;
    let (group, service) = rest.split_once("@@")?;
    ServiceKey::parse(namespace, group, service).ok()
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawAck<'a> {
    #[serde(borrow)]
    request_id: Text<'a>,
    result_code: Number,
}

fn ack(json: &[u8]) -> Result<Request, Refusal> {
    let raw: RawAck<'_> = json::read("an acknowledgement", json)?;
    let taken = raw.result_code.0.is_none_or(|code| code == 200.0);
    Ok(Request::Ack(Ack { request_id: raw.request_id.as_str().parse().ok(), taken }))
}
