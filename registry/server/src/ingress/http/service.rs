//! The service calls: definitions, names, subscribers, clusters, health and the catalog.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::StatusCode;
use ecow::EcoString;
use landbridge_model::{Cluster, Definition, Metadata, Namespace, ServiceKey, ServiceName};
use landbridge_registry_core::{Command, Input, Selector, ServiceView};
use landbridge_wire::nacos::{
    ClusterFilter, codes,
    http::answer::{self, Version},
};
use serde_json::{Map, Value, json};

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::{ServiceCall, Shape},
    shown,
};
use crate::{ingress::status::Refused, window::Face};

pub(super) async fn answer(ask: &Ask, call: ServiceCall) -> Answer {
    match call {
        ServiceCall::Create => create(ask).await,
        ServiceCall::Update => update(ask).await,
        ServiceCall::Delete => delete(ask).await,
        ServiceCall::Look => look(ask),
        ServiceCall::LookWhole => Ok(Said::Value(shown::detail(&existing(ask)?.view, false))),
        ServiceCall::Names => names(ask),
        ServiceCall::AllNames => all_names(ask),
        ServiceCall::Views => views(ask),
        ServiceCall::Subscribers | ServiceCall::SubscriberPage => subscribers(ask, call),
        ServiceCall::SelectorTypes => Ok(Said::Value(json!(["none", "label"]))),
        ServiceCall::UpdateCluster => update_cluster(ask).await,
        ServiceCall::SetHealth => set_health(ask).await,
        ServiceCall::Checkers => Ok(Said::Value(json!({
            "TCP": { "type": "TCP" },
            "HTTP": { "type": "HTTP", "path": "", "headers": "", "expectedResponseCode": 200 },
            "MYSQL": { "type": "MYSQL", "user": "", "pwd": "", "cmd": "" },
            "NONE": { "type": "NONE" },
        }))),
        ServiceCall::Hello => Ok(Said::Encoded(answer::health_server(ask.shared.window.services().len()))),
        ServiceCall::CatalogService => catalog_service(ask),
        ServiceCall::CatalogInstances => catalog_instances(ask),
        ServiceCall::CatalogServices => catalog_services(ask),
    }
}

/// What is shown of a service that must be there.
fn existing(ask: &Ask) -> Result<Arc<Face>, Refused> {
    let service = ask.service()?;
    let face = ask.face(&service)?;
    if face.view.kind.is_none() && !face.view.defined && face.view.hosts.is_empty() {
        let (namespace, grouped) = (service.namespace(), service.grouped());
        let text = format!("service not found, namespace: {namespace}, serviceName: {grouped}");
        return Err(Refused::conflict(codes::RESULT_SERVICE_NOT_FOUND, text));
    }
    Ok(face)
}

/// The definition that the parameters give, with the settings that an earlier one holds.
fn definition(ask: &Ask, before: &Metadata) -> Result<(ServiceKey, Definition), Refused> {
    let (service, mut given) = ask.asked.definition().map_err(|refusal| Refused::unread(&refusal))?;
    let said = ask
        .asked
        .selector()
        .map_err(|refusal| Refused::conflict(codes::RESULT_SELECTOR, refusal.to_string()))?;
    let mut pairs: BTreeMap<EcoString, EcoString> = given.metadata.pairs().iter().cloned().collect();
    pairs.retain(|key, _| key != shown::SELECTOR && !key.starts_with(shown::CLUSTER));
    let kept = before
        .pairs()
        .iter()
        .filter(|(key, _)| key.starts_with(shown::CLUSTER) || (said.is_none() && key == shown::SELECTOR));
    pairs.extend(kept.cloned());
    if let Some(Some(expression)) = said {
        Selector::parse(&expression).map_err(|why| Refused::conflict(codes::RESULT_SELECTOR, why))?;
        pairs.insert(shown::SELECTOR.into(), expression);
    }
    given.metadata = Metadata::new(pairs)
        .map_err(|invalid| Refused::conflict(codes::RESULT_SERVICE_METADATA, invalid.to_string()))?;
    Ok((service, given))
}

async fn define(ask: &Ask, service: ServiceKey, definition: Definition) -> Answer {
    let command = Command::Define { service, definition: Arc::new(definition) };
    ask.written(|ticket| Input::Submit { ticket, command }).await
}

async fn create(ask: &Ask) -> Answer {
    let (service, given) = definition(ask, &Metadata::default())?;
    if ask.face(&service)?.view.defined {
        let text = format!("specified service {} already exists!", service.grouped());
        return Err(Refused::conflict(codes::RESULT_SERVICE_EXISTS, text));
    }
    define(ask, service, given).await
}

async fn update(ask: &Ask) -> Answer {
    let face = existing(ask)?;
    let (service, given) = definition(ask, &face.view.metadata)?;
    define(ask, service, given).await
}

async fn delete(ask: &Ask) -> Answer {
    let service = ask.service()?;
    let face = ask.face(&service)?;
    if !face.view.hosts.is_empty() {
        let text = format!(
            "Service {} is not empty, can't be delete. Please unregister instance first",
            service.grouped()
        );
        return Err(Refused::conflict(codes::RESULT_SERVICE_NOT_EMPTY, text));
    }
    if !face.view.defined && face.view.kind.is_none() {
        let text = format!("service {} not found!", service.grouped());
        return Err(Refused::conflict(codes::RESULT_SERVICE_NOT_FOUND, text));
    }
    ask.written(|ticket| Input::Submit { ticket, command: Command::Undefine { service } }).await
}

/// A service without its clusters.
fn bare(view: &ServiceView) -> Value {
    json!({
        "namespaceId": view.service.namespace().as_str(),
        "groupName": view.service.group().as_str(),
        "name": view.service.service().as_str(),
        "protectThreshold": view.protect_threshold,
        "metadata": shown::metadata(&view.metadata),
        "selector": shown::selector(&view.metadata),
    })
}

fn named_cluster(view: &ServiceView, name: &str) -> Value {
    let mut cluster = shown::cluster(&view.metadata, name);
    cluster["name"] = json!(name);
    cluster
}

fn look(ask: &Ask) -> Answer {
    let view = &existing(ask)?.view;
    let mut service = bare(view);
    service["clusters"] = shown::clusters(view).iter().map(|name| named_cluster(view, name)).collect();
    Ok(Said::Value(service))
}

fn names(ask: &Ask) -> Answer {
    let query = ask.asked.service_list().map_err(|refusal| Refused::unread(&refusal))?;
    ask.ready()?;
    let names = ask.shared.window.names(&query.namespace, &query.group);
    let skip = usize::try_from(query.skip()).unwrap_or(usize::MAX);
    let take = usize::try_from(query.page_size).unwrap_or(usize::MAX);
    let page = names.iter().skip(skip).take(take).map(ServiceName::as_str);
    let version = if ask.route.shape == Shape::Plain { Version::V1 } else { Version::V2 };
    Ok(Said::Encoded(answer::service_list(version, names.len(), page)))
}

/// The odd member name is what Nacos 2 and 3 answer.
fn all_names(ask: &Ask) -> Answer {
    ask.ready()?;
    let wanted = ask.text("namespaceId");
    let mut services: Map<String, Value> = Map::new();
    let mut count = 0;
    for key in ask.shared.window.services() {
        if wanted.is_empty() || key.namespace().as_str() == wanted {
            count += 1;
            let of = services.entry(key.namespace().to_string()).or_insert_with(|| json!([]));
            if let Some(list) = of.as_array_mut() {
                list.push(Value::from(key.grouped()));
            }
        }
    }
    Ok(Said::Value(json!({ "META-INF/services": services, "count": count })))
}

/// What is shown of the services of a namespace whose names hold what is asked for.
fn matching(ask: &Ask, service: &str, group: &str) -> Result<Vec<Arc<Face>>, Refused> {
    ask.ready()?;
    let namespace =
        Namespace::parse(ask.text("namespaceId")).map_err(|wrong| Refused::invalid(wrong.to_string()))?;
    let keys = ask.shared.window.services().into_iter().filter(|key| {
        *key.namespace() == namespace
            && key.service().as_str().contains(service)
            && key.group().as_str().contains(group)
    });
    Ok(keys.map(|key| ask.shared.window.face(&key)).collect())
}

fn views(ask: &Ask) -> Answer {
    let mut faces = matching(ask, ask.text("serviceNameParam"), ask.text("groupNameParam"))?;
    if ask.flag("ignoreEmptyService", false)? {
        faces.retain(|face| !face.view.hosts.is_empty());
    }
    let page = ask.page(100)?;
    let with_instances = ask.flag("withInstances", false)?;
    let row = |face: &Arc<Face>| {
        if with_instances { shown::detail(&face.view, true) } else { shown::counted(&face.view) }
    };
    Ok(Said::page(page, faces.iter().map(row).collect()))
}

fn subscribers(ask: &Ask, call: ServiceCall) -> Answer {
    let service = ask.service()?;
    ask.ready()?;
    let page = ask.page(1_000)?;
    let rows: Vec<Value> = ask
        .shared
        .window
        .subscribers(&service)
        .into_iter()
        .map(|one| {
            json!({
                "addrStr": format!("{}:{}", one.ip, one.port),
                "address": format!("{}:{}", one.ip, one.port),
                "agent": one.agent,
                "app": one.app,
                "appName": one.app,
                "ip": one.ip,
                "port": one.port,
                "namespaceId": service.namespace().as_str(),
                "serviceName": service.grouped(),
                "groupName": service.group().as_str(),
                "cluster": one.clusters,
            })
        })
        .collect();
    if call == ServiceCall::SubscriberPage {
        return Ok(Said::page(page, rows));
    }
    let count = rows.len();
    Ok(Said::Value(json!({ "subscribers": page.cut(rows), "count": count })))
}

/// Keeps what Nacos keeps of a cluster, in the service's own metadata.
async fn update_cluster(ask: &Ask) -> Answer {
    let service = ask.service()?;
    let cluster =
        Cluster::parse(ask.required("clusterName")?).map_err(|wrong| Refused::invalid(wrong.to_string()))?;
    let port = ask.asked.number::<u16>("checkPort").map_err(|refusal| Refused::unread(&refusal))?;
    let checker: Value = serde_json::from_str(ask.required("healthChecker")?)
        .map_err(|error| Refused::invalid(format!("healthChecker is not readable: {error}")))?;
    let kind = checker.get("type").and_then(Value::as_str).unwrap_or_default();
    if !["TCP", "HTTP", "MYSQL", "NONE"].contains(&kind.to_ascii_uppercase().as_str()) {
        return Err(Refused::invalid("unknown health checker type: TCP, HTTP, MYSQL and NONE are known"));
    }
    let metadata = ask.asked.metadata().map_err(|refusal| Refused::unread(&refusal))?.unwrap_or_default();
    let kept = json!({
        "healthChecker": checker,
        "healthyCheckPort": port.unwrap_or(80),
        "useInstancePortForCheck": ask.flag("useInstancePort4Check", true)?,
        "metadata": shown::metadata(&metadata),
    });
    let view = &existing(ask)?.view;
    let added = (ecow::eco_format!("{}{cluster}", shown::CLUSTER), EcoString::from(kept.to_string()));
    let metadata = Metadata::new(view.metadata.pairs().iter().cloned().chain([added]))
        .map_err(|invalid| Refused::conflict(codes::RESULT_SERVICE_METADATA, invalid.to_string()))?;
    define(ask, service, Definition { protect_threshold: view.protect_threshold, metadata }).await
}

/// Somebody else says how an instance is: only where no checker does (Nacos 2.5 `HealthOperatorV2Impl`).
async fn set_health(ask: &Ask) -> Answer {
    let edit = ask.asked.health().map_err(|refusal| {
        let missing = refusal.to_string().ends_with("is required.");
        let code = if missing { codes::RESULT_HEALTHY_MISSING } else { codes::RESULT_PARAMETER_INVALID };
        Refused::new(StatusCode::BAD_REQUEST, code, refusal.to_string())
    })?;
    ask.owns(&edit.service, &edit.key)?;
    let face = ask.face(&edit.service)?;
    let cluster = shown::cluster(&face.view.metadata, edit.key.cluster.as_str());
    let kind = cluster["healthChecker"]["type"].as_str().unwrap_or_default().to_ascii_uppercase();
    if kind != "NONE" {
        let text = format!(
            "health check is still working, service: {}, cluster: {}",
            edit.service.grouped(),
            edit.key.cluster
        );
        return Err(Refused::conflict(codes::RESULT_CHECK_RUNNING, text));
    }
    let command = Command::SetHealth { flips: vec![(edit.service, edit.key, edit.healthy)] };
    ask.written(|ticket| Input::Submit { ticket, command }).await
}

fn catalog_service(ask: &Ask) -> Answer {
    let view = &shelved(ask)?.view;
    let clusters: Vec<Value> = shown::clusters(view)
        .iter()
        .map(|name| {
            let mut one = named_cluster(view, name);
            one["serviceName"] = json!(view.service.grouped());
            one["defaultCheckPort"] = one["healthyCheckPort"].clone();
            one["defaultPort"] = one["healthyCheckPort"].clone();
            one["useIPPort4Check"] = one["useInstancePortForCheck"].clone();
            one
        })
        .collect();
    Ok(Said::Value(json!({
        "service": bare(view),
        "clusters": clusters,
    })))
}

/// What the catalog shows of a service; it tells a missing one by another status than the service calls.
fn shelved(ask: &Ask) -> Result<Arc<Face>, Refused> {
    existing(ask).map_err(|refused| match ask.service() {
        Ok(service) if refused.code == codes::RESULT_SERVICE_NOT_FOUND => {
            Refused::missing(refused.code, format!("service {} is not found!", service.grouped()))
        }
        Ok(_) | Err(_) => refused,
    })
}

fn catalog_instances(ask: &Ask) -> Answer {
    let view = &shelved(ask)?.view;
    let clusters =
        ClusterFilter::parse(ask.text("clusterName")).map_err(|refusal| Refused::unread(&refusal))?;
    let known = shown::clusters(view);
    if let Some(unknown) =
        clusters.clusters().iter().find(|name| !known.iter().any(|one| one == name.as_str()))
    {
        let text = format!("cluster {unknown} is not found!");
        return Err(Refused::missing(codes::RESULT_NOT_FOUND, text));
    }
    let (healthy, enabled) = (ask.flag("healthyOnly", false)?, ask.flag("enabledOnly", false)?);
    let wanted = view.hosts.iter().filter(|host| {
        clusters.takes(&host.key.cluster)
            && (host.instance.healthy || !healthy)
            && (host.instance.enabled || !enabled)
    });
    let rows: Vec<Value> = wanted.map(|host| shown::host(&view.service, host)).collect();
    let count = rows.len();
    let page = ask.page(100)?;
    let key = if ask.route.shape == Shape::Plain { "list" } else { "instances" };
    Ok(Said::Value(json!({ key: page.cut(rows), "count": count })))
}

fn catalog_services(ask: &Ask) -> Answer {
    let mut faces = matching(ask, ask.text("serviceNameParam"), ask.text("groupNameParam"))?;
    if ask.flag("hasIpCount", false)? {
        faces.retain(|face| !face.view.hosts.is_empty());
    }
    let page = ask.page(100)?;
    if ask.flag("withInstances", false)? {
        let rows = faces.iter().map(|face| with_instances(&face.view)).collect();
        return Ok(Said::Value(Value::Array(page.cut(rows))));
    }
    let count = faces.len();
    let rows: Vec<Value> = faces.iter().map(|face| shown::counted(&face.view)).collect();
    Ok(Said::Value(json!({ "count": count, "serviceList": page.cut(rows) })))
}

fn with_instances(view: &ServiceView) -> Value {
    let clusters: Map<String, Value> = shown::clusters(view)
        .into_iter()
        .map(|name| {
            let of = view.hosts.iter().filter(|host| host.key.cluster.as_str() == name);
            let hosts: Vec<Value> = of.map(|host| shown::host(&view.service, host)).collect();
            (name, json!({ "hosts": hosts }))
        })
        .collect();
    json!({
        "serviceName": view.service.service().as_str(),
        "groupName": view.service.group().as_str(),
        "clusterMap": clusters,
        "metadata": shown::metadata(&view.metadata),
    })
}
