//! Pages for probes, tools, Prometheus and clients that ask an address server.

use std::collections::BTreeMap;

use axum::{
    http::{StatusCode, header, uri::Authority},
    response::IntoResponse,
};
use ecow::{EcoString, eco_format};
use landbridge_model::{Namespace, ServiceKey};
use landbridge_registry_core::{Command, Host, Input};
use landbridge_wire::nacos::{codes, http::answer};
use serde_json::{Map, Value, json};

use super::{
    ask::Ask,
    monitor,
    reply::{Answer, Said},
    routes::{PageCall, Shape},
};
use crate::{desk::ADDRESSES, ingress::status::Refused, window::Face};

/// The version that tools read: ours, and that it is ours.
pub(super) const VERSION: &str = concat!("landbridge-", env!("CARGO_PKG_VERSION"));

/// The address list that clients ask for.
const SERVER_LIST: &str = "serverlist";

/// The product whose lists Nacos's own clients ask for.
const PRODUCT: &str = "nacos";

/// The longest address of a list, in bytes.
const ADDRESS_BYTES_MAX: usize = 128;

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
        PageCall::Monitor => Ok(Said::Whole(Box::new(monitor::scrape(&ask.shared)))),
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
    let (product, name) = (ask.text("product"), ask.text("cluster"));
    let desk = ask.shared.desk();
    let kept = desk.note(&list_note(product, name)).map(str::to_owned);
    let lines = match kept {
        Some(lines) => lines,
        None if name == SERVER_LIST => servers(ask),
        None => {
            let path = format!("/{}/{name}", if product.is_empty() { PRODUCT } else { product });
            let response = super::reply::framework(StatusCode::NOT_FOUND, "Not Found", &path);
            return Ok(Said::Whole(Box::new(response)));
        }
    };
    let response = ([(header::CONTENT_TYPE, "text/plain;charset=UTF-8")], lines).into_response();
    Ok(Said::Whole(Box::new(response)))
}

/// The note that holds a list; those of Nacos itself are called by their name alone.
fn list_note(product: &str, name: &str) -> EcoString {
    match product {
        "" | PRODUCT => eco_format!("{ADDRESSES}{name}"),
        other => eco_format!("{ADDRESSES}{other}/{name}"),
    }
}

/// The HTTP address of every listed member; of this one alone as it is configured, or as the caller found it.
fn servers(ask: &Ask) -> String {
    let listed = ask.shared.company.addresses.all();
    if !listed.is_empty() {
        return listed.values().map(|place| place.http() + "\n").collect();
    }
    let own = ask.shared.http;
    match found_at(ask) {
        Some(host) if own.ip().is_unspecified() => format!("{host}:{}\n", own.port()),
        Some(_) | None => format!("{own}\n"),
    }
}

/// The name or address by which the caller found this member, without the port: that may be a proxy's.
fn found_at(ask: &Ask) -> Option<&str> {
    let header = ask.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = header.or_else(|| ask.whole.uri.authority().map(Authority::as_str))?;
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    };
    is_address(host).then_some(host)
}

/// Whether a text can be a name or an address, with a port or without.
fn is_address(text: &str) -> bool {
    let legal = |c: char| is_list_name(c) || matches!(c, '.' | ':' | '[' | ']');
    !text.is_empty() && text.len() <= ADDRESS_BYTES_MAX && text.chars().all(legal)
}

/// Whether a name of a list or of a product may hold this.
fn is_list_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Adds addresses to a list that clients poll, or removes them.
async fn change_addresses(ask: &Ask, add: bool) -> Answer {
    let name = ask.asked.value(&["cluster"]).unwrap_or(SERVER_LIST);
    let product = ask.text("product");
    if [name, product].iter().any(|part| part.len() > 64 || !part.chars().all(is_list_name)) {
        return Err(Refused::invalid("product and cluster have at most 64 letters, digits, '-' and '_'"));
    }
    let given = ask.required("ips")?;
    let desk = ask.shared.desk();
    let note = list_note(product, name);
    let mut kept: BTreeMap<String, ()> =
        desk.note(&note).unwrap_or_default().lines().map(|line| (line.to_owned(), ())).collect();
    for address in given.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        if !is_address(address) {
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
