//! Instances and services as JSON values, for the answers of people and dashboards.

use landbridge_model::{Metadata, ServiceKey};
/// Shown as `selector` and not as metadata.
pub(super) use landbridge_registry_core::SELECTOR;
use landbridge_registry_core::{Host, ServiceView};
use landbridge_wire::nacos::encode_host;
use serde_json::{Map, Value, json};

pub(super) use crate::probes::CLUSTER;

/// One instance with all its members.
pub(super) fn host(service: &ServiceKey, host: &Host) -> Value {
    let encoded = encode_host(service, &host.key, &host.instance, !host.persistent);
    serde_json::from_slice(&encoded).unwrap_or_default()
}

/// Metadata as an object, without what stands for settings.
pub(super) fn metadata(metadata: &Metadata) -> Value {
    let plain = metadata.pairs().iter().filter(|(key, _)| key != SELECTOR && !key.starts_with(CLUSTER));
    let members: Map<String, Value> =
        plain.map(|(key, value)| (key.to_string(), Value::from(value.as_str()))).collect();
    Value::Object(members)
}

/// A service's selector.
pub(super) fn selector(metadata: &Metadata) -> Value {
    match metadata.value(SELECTOR) {
        Some(expression) => json!({ "type": "label", "contextType": "CMDB", "expression": expression }),
        None => json!({ "type": "none", "contextType": "none" }),
    }
}

/// What Nacos keeps of a cluster: its checker, and the port that is checked.
pub(super) fn cluster(metadata: &Metadata, name: &str) -> Value {
    let kept = metadata.value(&format!("{CLUSTER}{name}"));
    let kept = kept.and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default();
    let or = |member: &str, default: Value| kept.get(member).cloned().unwrap_or(default);
    json!({
        "healthChecker": or("healthChecker", json!({ "type": "TCP" })),
        "healthyCheckPort": or("healthyCheckPort", json!(80)),
        "useInstancePortForCheck": or("useInstancePortForCheck", json!(true)),
        "metadata": or("metadata", json!({})),
    })
}

/// The clusters of a service: of its instances, and those somebody configured.
pub(super) fn clusters(view: &ServiceView) -> Vec<String> {
    let mut names: Vec<String> = view.hosts.iter().map(|host| host.key.cluster.to_string()).collect();
    let configured = view.metadata.pairs().iter().filter_map(|(key, _)| key.strip_prefix(CLUSTER));
    names.extend(configured.map(str::to_owned));
    names.sort_unstable();
    names.dedup();
    names
}

/// A service as v2 and v3 show it, each cluster with its hosts if wanted.
pub(super) fn detail(view: &ServiceView, with_hosts: bool) -> Value {
    let one = |name: &String| {
        let mut shown = cluster(&view.metadata, name);
        shown["clusterName"] = json!(name);
        if with_hosts {
            let of = view.hosts.iter().filter(|host| host.key.cluster.as_str() == name);
            shown["hosts"] = of.map(|one| host(&view.service, one)).collect();
        }
        (name.clone(), shown)
    };
    let clusters: Map<String, Value> = clusters(view).iter().map(one).collect();
    json!({
        "namespaceId": view.service.namespace().as_str(),
        "serviceName": view.service.service().as_str(),
        "groupName": view.service.group().as_str(),
        "clusterMap": clusters,
        "metadata": metadata(&view.metadata),
        "protectThreshold": view.protect_threshold,
        "selector": selector(&view.metadata),
        "ephemeral": view.kind != Some(landbridge_registry_core::Kind::Persistent),
    })
}

/// A service as lists count it.
pub(super) fn counted(view: &ServiceView) -> Value {
    let healthy = view.hosts.iter().filter(|host| host.instance.healthy).count();
    let reached =
        !view.hosts.is_empty() && healthy as f64 / view.hosts.len() as f64 <= view.protect_threshold;
    json!({
        "name": view.service.service().as_str(),
        "groupName": view.service.group().as_str(),
        "clusterCount": clusters(view).len(),
        "ipCount": view.hosts.len(),
        "healthyInstanceCount": healthy,
        "triggerFlag": reached.to_string(),
    })
}
