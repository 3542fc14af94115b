//! Clients as Nacos 2 and 3 tell of them: connections, and addresses that beat or that the registry vouches for.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use landbridge_model::{InstanceKey, ServiceKey};
use landbridge_registry_core::Host;
use landbridge_wire::nacos::codes;
use serde_json::{Value, json};

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::ClientCall,
};
use crate::{ingress::status::Refused, session::Session};

/// The most clients that one call lists.
const CLIENTS_MAX: usize = 100_000;

pub(super) fn answer(ask: &Ask, call: ClientCall) -> Answer {
    match call {
        ClientCall::List => list(ask),
        ClientCall::Look => look(ask),
        ClientCall::Published => published(ask),
        ClientCall::Subscribed => subscribed(ask),
        ClientCall::Publishers => publishers(ask),
        ClientCall::Subscribers => subscribers(ask),
        ClientCall::Distro => distro(ask),
    }
}

/// Nacos's id of a client without a connection.
fn address_id(key: &InstanceKey, persistent: bool) -> String {
    format!("{}:{}#{}", key.ip, key.port, !persistent)
}

/// Whether an instance has a client of its own here: it beats to this member, or the registry vouches for it.
fn stands_alone(host: &Host) -> bool {
    host.origin.is_none() && (host.persistent || host.slot.is_some())
}

fn list(ask: &Ask) -> Answer {
    ask.ready()?;
    let mut ids: BTreeSet<String> =
        ask.shared.sessions.all().iter().map(|session| session.id().to_owned()).collect();
    for service in ask.shared.window.services() {
        let face = ask.shared.window.face(&service);
        let alone = face.view.hosts.iter().filter(|host| stands_alone(host));
        ids.extend(alone.map(|host| address_id(&host.key, host.persistent)));
        if ids.len() > CLIENTS_MAX {
            break;
        }
    }
    Ok(Said::Value(ids.into_iter().collect()))
}

fn connected(ask: &Ask, id: &str) -> Option<std::sync::Arc<Session>> {
    ask.shared.sessions.all().into_iter().find(|session| session.id() == id)
}

fn unknown(id: &str) -> Refused {
    let id: String = id.chars().take(128).flat_map(char::escape_default).collect();
    Refused::new(StatusCode::NOT_FOUND, codes::RESULT_NOT_FOUND, format!("clientId [ {id} ] not exist"))
}

/// The instances of a client without a connection.
fn of_address(ask: &Ask, id: &str) -> Vec<(ServiceKey, InstanceKey)> {
    let mut found = Vec::new();
    for service in ask.shared.window.services() {
        let face = ask.shared.window.face(&service);
        let of = face.view.hosts.iter().filter(|host| stands_alone(host));
        let of = of.filter(|host| address_id(&host.key, host.persistent) == id);
        found.extend(of.map(|host| (service.clone(), host.key.clone())));
    }
    found
}

fn look(ask: &Ask) -> Answer {
    let id = ask.required("clientId")?;
    if let Some(session) = connected(ask, id) {
        let said = session.introduction();
        return Ok(Said::Value(json!({
            "clientId": id,
            "ephemeral": true,
            "lastUpdatedTime": ask.shared.clock.unix_ms().saturating_sub(session.silent_ms()),
            "clientType": "connection",
            "connectType": "GRPC",
            "appName": said.map(|said| said.app.as_str()).unwrap_or_default(),
            "version": said.map(|said| said.client_version.as_str()).unwrap_or_default(),
            "clientIp": said.map(|said| said.client_ip.as_str()).unwrap_or_default(),
            "clientPort": session.remote().port(),
        })));
    }
    let of = of_address(ask, id);
    let (_, key) = of.first().ok_or_else(|| unknown(id))?;
    // Nacos 2 writes the port of such a client as a text.
    let port = if ask.route.path.starts_with("/v2") { json!(key.port.to_string()) } else { json!(key.port) };
    Ok(Said::Value(json!({
        "clientId": id,
        "ephemeral": id.ends_with("#true"),
        "lastUpdatedTime": ask.shared.clock.unix_ms(),
        "clientType": "ipPort",
        "clientIp": key.ip.as_str(),
        "clientPort": port,
    })))
}

/// A service by its parts, each under the names of both API generations.
fn named(service: &ServiceKey) -> Value {
    json!({
        "namespace": service.namespace().as_str(),
        "namespaceId": service.namespace().as_str(),
        "group": service.group().as_str(),
        "groupName": service.group().as_str(),
        "serviceName": service.service().as_str(),
    })
}

fn row(service: &ServiceKey, key: &InstanceKey) -> Value {
    let mut row = named(service);
    row["registeredInstance"] =
        json!({ "ip": key.ip.as_str(), "port": key.port, "cluster": key.cluster.as_str() });
    row["publisherInfo"] =
        json!({ "ip": key.ip.as_str(), "port": key.port, "clusterName": key.cluster.as_str() });
    row
}

fn published(ask: &Ask) -> Answer {
    let id = ask.required("clientId")?;
    let rows: Vec<Value> = match connected(ask, id) {
        Some(session) => {
            let of = session.published();
            of.iter().flat_map(|(service, keys)| keys.iter().map(|key| row(service, key))).collect()
        }
        None => of_address(ask, id).iter().map(|(service, key)| row(service, key)).collect(),
    };
    if rows.is_empty() && connected(ask, id).is_none() {
        return Err(unknown(id));
    }
    Ok(Said::Value(Value::Array(rows)))
}

fn subscribed(ask: &Ask) -> Answer {
    let id = ask.required("clientId")?;
    let Some(session) = connected(ask, id) else {
        // Who registers without a connection subscribes under another id: its socket's.
        let known = !of_address(ask, id).is_empty();
        return if known { Ok(Said::Value(json!([]))) } else { Err(unknown(id)) };
    };
    let said = session.introduction();
    let app = said.map(|said| said.app.as_str()).unwrap_or_default();
    let agent = said.map(|said| said.client_version.as_str()).unwrap_or_default();
    let address = session.remote().to_string();
    let rows = session.outbox().subscribed().into_iter().map(|(pane, clusters)| {
        let mut row = named(&pane.face().view.service);
        row["subscriberInfo"] = json!({
            "app": app, "agent": agent, "addr": address, "address": address, "clusters": clusters.as_str(),
        });
        row
    });
    Ok(Said::Value(rows.collect()))
}

/// The caller may name one address of many.
fn wanted(ask: &Ask, ip: &str, port: u16) -> Result<bool, Refused> {
    let (asked_ip, asked_port) = (ask.text("ip"), ask.asked.number::<u16>("port"));
    let asked_port = asked_port.map_err(|refusal| Refused::unread(&refusal))?.filter(|port| *port != 0);
    Ok((asked_ip.is_empty() || asked_ip == ip) && asked_port.is_none_or(|asked| asked == port))
}

fn publishers(ask: &Ask) -> Answer {
    let service = ask.service()?;
    ask.ready()?;
    let mut rows = Vec::new();
    for session in ask.shared.sessions.all() {
        for key in session.published().remove(&service).unwrap_or_default() {
            if wanted(ask, key.ip.as_str(), key.port)? {
                rows.push(publisher(session.id(), &key));
            }
        }
    }
    let face = ask.shared.window.face(&service);
    for host in face.view.hosts.iter().filter(|host| stands_alone(host)) {
        if wanted(ask, host.key.ip.as_str(), host.key.port)? {
            rows.push(publisher(&address_id(&host.key, host.persistent), &host.key));
        }
    }
    Ok(Said::Value(Value::Array(rows)))
}

fn publisher(id: &str, key: &InstanceKey) -> Value {
    json!({
        "clientId": id,
        "ip": key.ip.as_str(),
        "port": key.port,
        "cluster": key.cluster.as_str(),
        "clusterName": key.cluster.as_str(),
    })
}

fn subscribers(ask: &Ask) -> Answer {
    let service = ask.service()?;
    ask.ready()?;
    let mut rows = Vec::new();
    for one in ask.shared.window.subscribers(&service) {
        if wanted(ask, &one.ip, one.port)? {
            rows.push(json!({
                "clientId": one.client,
                "app": one.app,
                "appName": one.app,
                "agent": one.agent,
                "addr": format!("{}:{}", one.ip, one.port),
                "address": format!("{}:{}", one.ip, one.port),
                "clusters": one.clusters,
            }));
        }
    }
    Ok(Said::Value(Value::Array(rows)))
}

/// Nacos hashes clients over its servers; here the member that is asked is responsible.
fn distro(ask: &Ask) -> Answer {
    ask.required("ip")?;
    ask.required("port")?;
    Ok(Said::Value(json!({ "responsibleServer": ask.shared.http.to_string() })))
}
