//! Pages for probes, tools, Prometheus and clients that ask an address server.

use std::collections::BTreeMap;

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use ecow::eco_format;
use landbridge_model::{Namespace, ServiceKey};
use landbridge_registry_core::{Command, Host, Input};
use landbridge_wire::nacos::{codes, http::answer};
use serde_json::{Map, Value, json};

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::{PageCall, Shape},
};
use crate::{desk::ADDRESSES, ingress::status::Refused, window::Face};

/// The version that tools read: ours, and that it is ours.
pub(super) const VERSION: &str = concat!("landbridge-", env!("CARGO_PKG_VERSION"));

/// The address list that clients ask for.
const SERVER_LIST: &str = "serverlist";

/// The most addresses of one list.
const ADDRESSES_MAX: usize = 256;

pub(super) async fn answer(ask: &Ask, call: PageCall) -> Answer {
    match call {
        PageCall::Liveness => Ok(healthy(ask)),
        PageCall::Readiness if ask.shared.state.answers() => Ok(healthy(ask)),
        PageCall::Readiness => Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::RESULT_SERVER_ERROR,
            "naming not in readiness",
        )),
        PageCall::ServerState => Ok(server_state(ask)),
        PageCall::Announcement => Ok(Said::Text(String::new())),
        PageCall::ConfigHealth => Ok(Said::Text(answer::CONFIG_HEALTHY.to_owned())),
        PageCall::Targets => targets(ask),
        PageCall::ServerList => server_list(ask),
        PageCall::AddAddresses => change_addresses(ask, true).await,
        PageCall::RemoveAddresses => change_addresses(ask, false).await,
    }
}

/// v1 says `OK`, v2 and v3 say `ok`.
fn healthy(ask: &Ask) -> Said {
    if ask.route.shape == Shape::Plain { Said::Text(answer::HEALTHY.to_owned()) } else { Said::Ok }
}

/// What scanners and tools read; every value is a text.
fn server_state(ask: &Ask) -> Said {
    let standalone = ask.shared.state.sight().feeds.len() <= 1;
    Said::Value(json!({
        "version": VERSION,
        "standalone_mode": if standalone { "standalone" } else { "cluster" },
        "function_mode": "naming",
        "startup_mode": if standalone { "standalone" } else { "cluster" },
        "server_port": ask.shared.http.port().to_string(),
        "nacos_server_ip": ask.shared.http.ip().to_string(),
        "auth_enabled": ask.shared.auth_enabled().to_string(),
        "auth_system_type": if ask.shared.auth_enabled() { "nacos" } else { "" },
        "auth_admin_request": "false",
        "login_page_enabled": ask.shared.auth_enabled().to_string(),
        "console_ui_enabled": "false",
        "datasource_platform": "",
        "config_retention_days": "0",
    }))
}

/// Targets for Prometheus's HTTP service discovery: Nacos's labels, and ours beside them.
fn targets(ask: &Ask) -> Answer {
    ask.ready()?;
    let namespace = ask.asked.value(&["namespaceId"]);
    let namespace = namespace.map(Namespace::parse).transpose();
    let namespace = namespace.map_err(|wrong| Refused::invalid(wrong.to_string()))?;
    let service = ask.asked.value(&["service"]);
    let wanted = |key: &ServiceKey| {
        namespace.as_ref().is_none_or(|namespace| key.namespace() == namespace)
            && service.is_none_or(|service| key.service().as_str() == service || key.grouped() == service)
    };
    let mut rows = Vec::new();
    for key in ask.shared.window.services().into_iter().filter(wanted) {
        let face = ask.shared.window.face(&key);
        rows.extend(face.view.hosts.iter().map(|host| target(ask, &face, host)));
    }
    Ok(Said::Value(Value::Array(rows)))
}

fn target(ask: &Ask, face: &Face, host: &Host) -> Value {
    let view = &face.view;
    let mut labels: Map<String, Value> = Map::new();
    for (key, value) in host.instance.metadata.pairs() {
        labels.insert(label(key), Value::from(value.as_str()));
    }
    let region = host.origin.as_ref().unwrap_or(&ask.shared.region);
    let ours = [
        ("__meta_clusterName", host.key.cluster.to_string()),
        ("__meta_landbridge_namespace", view.service.namespace().to_string()),
        ("__meta_landbridge_group", view.service.group().to_string()),
        ("__meta_landbridge_service", view.service.service().to_string()),
        ("__meta_landbridge_region", region.to_string()),
        ("__meta_landbridge_zone", host.instance.zone().as_str().to_owned()),
        ("__meta_landbridge_healthy", host.instance.healthy.to_string()),
        ("__meta_landbridge_enabled", host.instance.enabled.to_string()),
        ("__meta_landbridge_ephemeral", (!host.persistent).to_string()),
        ("__meta_landbridge_weight", host.instance.weight.to_string()),
    ];
    for (name, value) in ours {
        labels.insert(name.to_owned(), Value::from(value));
    }
    let ip = host.key.ip.as_str();
    let address = if ip.contains(':') && !ip.starts_with('[') { format!("[{ip}]") } else { ip.to_owned() };
    json!({ "targets": [format!("{address}:{}", host.key.port)], "labels": labels })
}

/// A metadata key as a label name: what is no letter or digit becomes `_`, and a label starts with no digit.
fn label(key: &str) -> String {
    let mut name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        name.insert(0, '_');
    }
    name
}

/// One address a line, as clients with an `endpoint` poll it.
fn server_list(ask: &Ask) -> Answer {
    let name = ask.text("cluster");
    let desk = ask.shared.desk();
    let kept = desk.note(&format!("{ADDRESSES}{name}")).map(str::to_owned);
    let lines = match kept {
        Some(lines) => lines,
        None if name == SERVER_LIST => ask.shared.http.to_string() + "\n",
        None => {
            let path = format!("/nacos/{name}");
            let response = super::reply::framework(StatusCode::NOT_FOUND, "Not Found", &path);
            return Ok(Said::Whole(Box::new(response)));
        }
    };
    let response = ([(header::CONTENT_TYPE, "text/plain;charset=UTF-8")], lines).into_response();
    Ok(Said::Whole(Box::new(response)))
}

/// Adds addresses to a list that clients poll, or removes them.
async fn change_addresses(ask: &Ask, add: bool) -> Answer {
    let name = ask.asked.value(&["cluster"]).unwrap_or(SERVER_LIST);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > 64 || !name.chars().all(legal) {
        return Err(Refused::invalid("cluster has at most 64 letters, digits, '-' and '_'"));
    }
    let given = ask.required("ips")?;
    let desk = ask.shared.desk();
    let note = eco_format!("{ADDRESSES}{name}");
    let mut kept: BTreeMap<String, ()> =
        desk.note(&note).unwrap_or_default().lines().map(|line| (line.to_owned(), ())).collect();
    for address in given.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        if address.len() > 128 || !address.chars().all(|c| legal(c) || matches!(c, '.' | ':' | '[' | ']')) {
            return Err(Refused::invalid("ips are ip[:port], separated by commas"));
        }
        if add {
            kept.insert(address.to_owned(), ());
        } else {
            kept.remove(address);
        }
    }
    if kept.len() > ADDRESSES_MAX {
        return Err(Refused::invalid(format!("a list has at most {ADDRESSES_MAX} addresses")));
    }
    let lines: String = kept.into_keys().map(|address| address + "\n").collect();
    let text = (!lines.is_empty()).then(|| lines.into());
    ask.written(|ticket| Input::Submit { ticket, command: Command::Note { name: note, text } }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metadata_key_becomes_a_label_that_prometheus_takes() {
        assert_eq!(["a.b-c", "1x", "", "caf\u{e9}"].map(label), ["a_b_c", "_1x", "_", "caf_"]);
    }
}
