//! What a client says over gRPC, as Nacos 3.1's Java client writes it: for connectors, benches and tests.

use landbridge_model::{Namespace, ServiceKey};

use super::Payload;
use crate::nacos::{
    ClusterFilter, Enrolment, ServiceListQuery,
    instance::{derived, pairs},
    json::{flag, quote, real, whole},
};

/// Is there a server?
pub fn server_check() -> Payload {
    Payload::new("ServerCheckRequest", &br#"{"headers":{},"module":"internal"}"#[..])
}

/// Is the connection alive?
pub fn health_check() -> Payload {
    Payload::new("HealthCheckRequest", &br#"{"headers":{},"module":"internal"}"#[..])
}

/// Sets a naming connection up; with an ability table the server answers by a `SetupAckRequest`.
pub fn setup(client_version: &str, namespace: &Namespace, negotiates: bool) -> Payload {
    let mut json = br#"{"headers":{},"clientVersion":"#.to_vec();
    quote(&mut json, client_version);
    json.extend_from_slice(br#","tenant":"#);
    quote(&mut json, namespace.as_str());
    json.extend_from_slice(br#","labels":{"module":"naming","source":"sdk"}"#);
    if negotiates {
        json.extend_from_slice(br#","abilityTable":{}"#);
    }
    json.extend_from_slice(br#","module":"internal"}"#);
    Payload::new("ConnectionSetupRequest", json)
}

/// Publishes an ephemeral instance, or puts a persistent one.
pub fn register(service: &ServiceKey, enrolment: &Enrolment) -> Payload {
    one(service, "registerInstance", enrolment)
}

/// Takes it back.
pub fn deregister(service: &ServiceKey, enrolment: &Enrolment) -> Payload {
    one(service, "deregisterInstance", enrolment)
}

fn one(service: &ServiceKey, verb: &str, enrolment: &Enrolment) -> Payload {
    let mut json = about(service);
    json.extend_from_slice(br#","type":"#);
    quote(&mut json, verb);
    json.extend_from_slice(br#","instance":"#);
    instance(&mut json, enrolment);
    json.extend_from_slice(NAMING);
    Payload::new(if enrolment.ephemeral { "InstanceRequest" } else { "PersistentInstanceRequest" }, json)
}

/// Publishes a whole set of ephemeral instances.
pub fn register_batch(service: &ServiceKey, enrolments: &[Enrolment]) -> Payload {
    let mut json = about(service);
    json.extend_from_slice(br#","type":"batchRegisterInstance","instances":["#);
    for (place, enrolment) in enrolments.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        instance(&mut json, enrolment);
    }
    json.push(b']');
    json.extend_from_slice(NAMING);
    Payload::new("BatchInstanceRequest", json)
}

/// Looks at a service once.
pub fn query(service: &ServiceKey, clusters: &ClusterFilter, healthy_only: bool) -> Payload {
    let mut json = about(service);
    json.extend_from_slice(br#","cluster":"#);
    quote(&mut json, clusters.as_str());
    json.extend_from_slice(br#","healthyOnly":"#);
    flag(&mut json, healthy_only);
    json.extend_from_slice(br#","udpPort":0"#);
    json.extend_from_slice(NAMING);
    Payload::new("ServiceQueryRequest", json)
}

/// Looks at a service, and wants to be told of changes or no longer.
pub fn subscribe(service: &ServiceKey, clusters: &ClusterFilter, subscribe: bool) -> Payload {
    let mut json = about(service);
    json.extend_from_slice(br#","subscribe":"#);
    flag(&mut json, subscribe);
    json.extend_from_slice(br#","clusters":"#);
    quote(&mut json, clusters.as_str());
    json.extend_from_slice(NAMING);
    Payload::new("SubscribeServiceRequest", json)
}

/// Lists a page of service names.
pub fn service_list(query: &ServiceListQuery) -> Payload {
    let mut json = names(query.namespace.as_str(), "", query.group.as_str());
    json.extend_from_slice(br#","pageNo":"#);
    whole(&mut json, query.page_no);
    json.extend_from_slice(br#","pageSize":"#);
    whole(&mut json, query.page_size);
    json.extend_from_slice(br#","selector":"{\"type\":\"none\"}""#);
    json.extend_from_slice(NAMING);
    Payload::new("ServiceListRequest", json)
}

/// Acknowledges a push.
pub fn notified(request_id: &str) -> Payload {
    ack("NotifySubscriberResponse", request_id)
}

/// Tells that the client is there.
pub fn detected(request_id: &str) -> Payload {
    ack("ClientDetectionResponse", request_id)
}

fn ack(type_name: &str, request_id: &str) -> Payload {
    let mut json = br#"{"resultCode":200,"errorCode":0,"requestId":"#.to_vec();
    quote(&mut json, request_id);
    json.extend_from_slice(br#","success":true}"#);
    Payload::new(type_name, json)
}

/// The end of every naming request.
const NAMING: &[u8] = br#","module":"naming"}"#;

fn about(service: &ServiceKey) -> Vec<u8> {
    names(service.namespace().as_str(), service.service().as_str(), service.group().as_str())
}

fn names(namespace: &str, service: &str, group: &str) -> Vec<u8> {
    let mut json = Vec::with_capacity(512);
    json.extend_from_slice(br#"{"headers":{},"namespace":"#);
    quote(&mut json, namespace);
    json.extend_from_slice(br#","serviceName":"#);
    quote(&mut json, service);
    json.extend_from_slice(br#","groupName":"#);
    quote(&mut json, group);
    json
}

fn instance(json: &mut Vec<u8>, enrolment: &Enrolment) {
    let Enrolment { key, instance, ephemeral } = enrolment;
    json.extend_from_slice(br#"{"ip":"#);
    quote(json, key.ip.as_str());
    json.extend_from_slice(br#","port":"#);
    whole(json, key.port.into());
    json.extend_from_slice(br#","weight":"#);
    real(json, instance.weight);
    json.extend_from_slice(br#","healthy":"#);
    flag(json, instance.healthy);
    json.extend_from_slice(br#","enabled":"#);
    flag(json, instance.enabled);
    json.extend_from_slice(br#","ephemeral":"#);
    flag(json, *ephemeral);
    if key.cluster.as_str() != "DEFAULT" {
        json.extend_from_slice(br#","clusterName":"#);
        quote(json, key.cluster.as_str());
    }
    json.extend_from_slice(br#","metadata":"#);
    pairs(json, &instance.metadata);
    derived(json, &instance.metadata);
    json.push(b'}');
}
