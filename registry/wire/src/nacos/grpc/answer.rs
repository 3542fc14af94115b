//! What the server says over gRPC, with the members and in the order of Nacos 3.1.

use bytes::Bytes;
use landbridge_model::ServiceKey;

use super::{Kind, Payload};
use crate::nacos::{
    EncodedService, codes,
    json::{flag, quote, texts, whole},
};

const PLAIN_OK: &[u8] = br#"{"resultCode":200,"errorCode":0,"success":true}"#;
const REGISTERED: &[u8] = br#"{"resultCode":200,"errorCode":0,"type":"registerInstance","success":true}"#;
const DEREGISTERED: &[u8] = br#"{"resultCode":200,"errorCode":0,"type":"deregisterInstance","success":true}"#;
const BATCHED: &[u8] = br#"{"resultCode":200,"errorCode":0,"type":"batchRegisterInstance","success":true}"#;
const UNCHANGED: &[u8] = br#"{"resultCode":200,"errorCode":0,"changedConfigs":[],"success":true}"#;

/// Answers `ServerCheckRequest`.
pub fn server_check(connection_id: &str) -> Payload {
    let mut json = br#"{"resultCode":200,"errorCode":0,"connectionId":"#.to_vec();
    quote(&mut json, connection_id);
    json.extend_from_slice(br#","supportAbilityNegotiation":true,"success":true}"#);
    Payload::new("ServerCheckResponse", json)
}

/// Answers `HealthCheckRequest`.
pub fn health_check() -> Payload {
    Payload::new("HealthCheckResponse", Bytes::from_static(PLAIN_OK))
}

/// Answers a registration of `InstanceRequest` or `PersistentInstanceRequest`.
pub fn registered() -> Payload {
    Payload::new("InstanceResponse", Bytes::from_static(REGISTERED))
}

/// Answers a deregistration of `InstanceRequest` or `PersistentInstanceRequest`.
pub fn deregistered() -> Payload {
    Payload::new("InstanceResponse", Bytes::from_static(DEREGISTERED))
}

/// Answers `BatchInstanceRequest`.
pub fn batch_registered() -> Payload {
    Payload::new("BatchInstanceResponse", Bytes::from_static(BATCHED))
}

/// Answers `ServiceQueryRequest`.
pub fn queried(service: &EncodedService, last_ref_ms: u64) -> Payload {
    let head = br#"{"resultCode":200,"errorCode":0,"serviceInfo":"#;
    Payload::new("QueryServiceResponse", around(head, service, last_ref_ms))
}

/// Answers `SubscribeServiceRequest`, also one that ends a subscription.
pub fn subscribed(service: &EncodedService, last_ref_ms: u64) -> Payload {
    let head = br#"{"resultCode":200,"errorCode":0,"message":"success","serviceInfo":"#;
    Payload::new("SubscribeServiceResponse", around(head, service, last_ref_ms))
}

fn around(head: &[u8], service: &EncodedService, last_ref_ms: u64) -> Vec<u8> {
    const TAIL: &[u8] = br#","success":true}"#;
    let mut json = Vec::with_capacity(head.len() + service.length_max() + TAIL.len());
    json.extend_from_slice(head);
    service.write(&mut json, last_ref_ms);
    json.extend_from_slice(TAIL);
    json
}

/// Answers `ServiceListRequest`: how many services there are, and the names of one page.
pub fn service_list<'a>(count: usize, names: impl IntoIterator<Item = &'a str>) -> Payload {
    let mut json = br#"{"resultCode":200,"errorCode":0,"count":"#.to_vec();
    whole(&mut json, count as u64);
    json.extend_from_slice(br#","serviceNames":"#);
    texts(&mut json, names);
    json.extend_from_slice(br#","success":true}"#);
    Payload::new("ServiceListResponse", json)
}

/// Answers `ConfigBatchListenRequest`: none of the watched configs differs.
pub fn config_unchanged() -> Payload {
    Payload::new("ConfigChangeBatchListenResponse", Bytes::from_static(UNCHANGED))
}

/// Answers `ConfigQueryRequest`: there is no such config.
pub fn config_not_found() -> Payload {
    refused(Kind::ConfigQuery, codes::CONFIG_NOT_FOUND, codes::CONFIG_NOT_FOUND_TEXT)
}

/// Answers what would write a config. Clients take an `ErrorResponse` for a sick server and connect anew; this they log.
pub fn config_not_kept(kind: Kind) -> Payload {
    refused(kind, codes::NOT_IMPLEMENTED, codes::CONFIG_NOT_KEPT_TEXT)
}

/// A refusal in the handler's own response type, for filters such as rights, parameters and limits.
pub fn refused(kind: Kind, error_code: u16, message: &str) -> Payload {
    let mut json = failure(codes::FAILED, error_code, message);
    // Java's response classes hold primitives that are always written; the Rust SDK cannot do without them.
    json.extend_from_slice(match kind {
        Kind::ServiceList => br#","count":0"#,
        Kind::ConfigQuery => br#","lastModified":0,"beta":false"#,
        Kind::ServerCheck
        | Kind::HealthCheck
        | Kind::ConnectionSetup
        | Kind::Instance
        | Kind::BatchInstance
        | Kind::PersistentInstance
        | Kind::ServiceQuery
        | Kind::Subscribe
        | Kind::FuzzyWatch
        | Kind::ConfigPublish
        | Kind::ConfigRemove
        | Kind::ConfigListen
        | Kind::NotifyAck
        | Kind::FuzzySyncAck
        | Kind::FuzzyChangeAck
        | Kind::DetectionAck
        | Kind::ResetAck
        | Kind::SetupAck
        | Kind::PushAck
        | Kind::Unknown => b"",
    });
    json.extend_from_slice(br#","success":false}"#);
    Payload::new(kind.response(), json)
}

/// A failure of dispatch (starting, unregistered, no handler, unreadable), as `ErrorResponse`.
pub fn error(error_code: u16, message: &str) -> Payload {
    let mut json = failure(codes::FAILED, error_code, message);
    json.extend_from_slice(br#","success":false}"#);
    Payload::new("ErrorResponse", json)
}

/// What Nacos answers when a handler throws: the code twice and the text wrapped, as `ErrorResponse`.
pub fn thrown(error_code: u16, text: &str) -> Payload {
    let mut json = failure(error_code, error_code, &codes::thrown(error_code, text));
    json.extend_from_slice(br#","success":false}"#);
    Payload::new("ErrorResponse", json)
}

fn failure(result_code: u16, error_code: u16, message: &str) -> Vec<u8> {
    assert!(error_code != 0, "Python clients take error code 0 for success");
    let mut json = Vec::with_capacity(96 + message.len());
    json.extend_from_slice(br#"{"resultCode":"#);
    whole(&mut json, result_code.into());
    json.extend_from_slice(br#","errorCode":"#);
    whole(&mut json, error_code.into());
    json.extend_from_slice(br#","message":"#);
    quote(&mut json, message);
    json
}

/// Tells what the server can do; only to a client that told its own abilities.
pub fn setup_ack<'a>(abilities: impl IntoIterator<Item = (&'a str, bool)>) -> Payload {
    let mut json = br#"{"headers":{},"abilityTable":{"#.to_vec();
    for (place, (name, can)) in abilities.into_iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        quote(&mut json, name);
        json.push(b':');
        flag(&mut json, can);
    }
    json.extend_from_slice(br#"},"module":"internal"}"#);
    Payload::new("SetupAckRequest", json)
}

/// Answers `NamingFuzzyWatchRequest`.
pub fn fuzzy_watched() -> Payload {
    Payload::new("NamingFuzzyWatchResponse", Bytes::from_static(PLAIN_OK))
}

/// Which part of a fuzzy watch's state a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncType {
    /// A part of the first state.
    First,
    /// A part of what a client lacks that knew something.
    Difference,
    /// The first state is complete.
    Finished,
}

/// Tells a fuzzy watch which services are there (true) or gone, as batch `current` of `total`.
pub fn fuzzy_sync<'a>(
    request_id: u64,
    sync: SyncType,
    pattern: &str,
    services: impl IntoIterator<Item = (&'a ServiceKey, bool)>,
    (current, total): (usize, usize),
) -> Payload {
    let mut json = asked(request_id);
    json.extend_from_slice(match sync {
        SyncType::First => br#","syncType":"FUZZY_WATCH_INIT_NOTIFY""#,
        SyncType::Difference => br#","syncType":"FUZZY_WATCH_DIFF_SYNC_NOTIFY""#,
        SyncType::Finished => br#","syncType":"FINISH_FUZZY_WATCH_INIT_NOTIFY""#,
    });
    json.extend_from_slice(br#","groupKeyPattern":"#);
    quote(&mut json, pattern);
    if sync != SyncType::Finished {
        json.extend_from_slice(br#","contexts":["#);
        for (place, (service, there)) in services.into_iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            json.push(b'{');
            changed(&mut json, service, there);
            json.push(b'}');
        }
        json.push(b']');
    }
    json.extend_from_slice(br#","totalBatch":"#);
    whole(&mut json, total as u64);
    json.extend_from_slice(br#","currentBatch":"#);
    whole(&mut json, current as u64);
    json.extend_from_slice(br#","module":"naming"}"#);
    Payload::new("NamingFuzzyWatchSyncRequest", json)
}

/// Tells fuzzy watches that one service came or went.
pub fn fuzzy_change(request_id: u64, service: &ServiceKey, there: bool) -> Payload {
    let mut json = asked(request_id);
    json.extend_from_slice(br#","syncType":"FUZZY_WATCH_RESOURCE_CHANGED","#);
    changed(&mut json, service, there);
    json.extend_from_slice(br#","module":"naming"}"#);
    Payload::new("NamingFuzzyWatchChangeNotifyRequest", json)
}

fn changed(json: &mut Vec<u8>, service: &ServiceKey, there: bool) {
    json.extend_from_slice(br#""serviceKey":"#);
    quote(json, &service.to_string());
    json.extend_from_slice(br#","changedType":"#);
    quote(json, if there { "ADD_SERVICE" } else { "DELETE_SERVICE" });
}

/// Asks a silent client whether it is there.
pub fn client_detection(request_id: u64) -> Payload {
    let mut json = asked(request_id);
    json.extend_from_slice(br#","module":"internal"}"#);
    Payload::new("ClientDetectionRequest", json)
}

/// Sends a client to another server, to a certain one if its address is given.
pub fn connect_reset(request_id: u64, to: Option<(&str, u16)>) -> Payload {
    let mut json = asked(request_id);
    if let Some((ip, port)) = to {
        json.extend_from_slice(br#","serverIp":"#);
        quote(&mut json, ip);
        json.extend_from_slice(br#","serverPort":"#);
        quote(&mut json, &port.to_string());
    }
    json.extend_from_slice(br#","module":"internal"}"#);
    Payload::new("ConnectResetRequest", json)
}

fn asked(request_id: u64) -> Vec<u8> {
    let mut json = br#"{"headers":{},"requestId":""#.to_vec();
    whole(&mut json, request_id);
    json.push(b'"');
    json
}
