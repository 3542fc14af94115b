//! The instance calls: register, deregister, beat, edit, look and list.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::{StatusCode, header};
use bytes::Bytes;
use landbridge_model::{InstanceKey, Metadata, OWNER, Overlay, ServiceKey};
use landbridge_registry_core::{Command, Host, Input, Outcome};
use landbridge_wire::nacos::{
    Enrolment, Lease, Naming, codes,
    http::{
        Beat, InstanceEdit, ListQuery,
        answer::{self, Version},
        udp,
    },
};
use serde_json::{Value, json};

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::{InstanceCall, Shape},
    shown,
};
use crate::{
    answer as views,
    auth::owner,
    ingress::{meant, status::Refused},
    labels::{self, Consumer},
    orders::Answered,
};

/// Said of an instance that is not there, by every call that needs one.
const NO_SUCH_INSTANCE: &str = "no matched ip found!";

/// The most instances that one call may give new metadata.
const METADATA_BATCH_MAX: usize = 1_000;

pub(super) async fn answer(ask: &Ask, call: InstanceCall) -> Answer {
    match call {
        InstanceCall::Register => register(ask).await,
        InstanceCall::Deregister => deregister(ask).await,
        InstanceCall::Replace => lay(ask, ask.asked.replace().map_err(|r| Refused::unread(&r))?).await,
        InstanceCall::Edit => edit(ask).await,
        InstanceCall::Beat => beat(ask).await,
        InstanceCall::RegisterOrBeat => register_or_beat(ask).await,
        InstanceCall::Look | InstanceCall::LookWhole => look(ask, call),
        InstanceCall::List => list(ask),
        InstanceCall::Hosts | InstanceCall::HostPage => hosts(ask, call),
        InstanceCall::Statuses => statuses(ask),
        InstanceCall::PutMetadata => Box::pin(batch(ask, true)).await,
        InstanceCall::DeleteMetadata => Box::pin(batch(ask, false)).await,
    }
}

async fn register(ask: &Ask) -> Answer {
    let ephemeral = ask.shared.desk().switches().default_instance_ephemeral;
    let (service, enrolment) = ask.asked.register(ephemeral).map_err(|refusal| Refused::unread(&refusal))?;
    let Enrolment { key, instance, ephemeral } = enrolment;
    ask.shared.bounded(&instance).map_err(|why| Refused::conflict(codes::RESULT_METADATA, why))?;
    ask.owns(&service, &key)?;
    let instance = Arc::new(owner::marked(&ask.principal, instance));
    ask.written(|ticket| {
        if ephemeral {
            Input::Register { ticket, target: (service, key), instance }
        } else {
            Input::Submit { ticket, command: Command::PutPersistent { service, key, instance } }
        }
    })
    .await
}

async fn deregister(ask: &Ask) -> Answer {
    let named = ask.asked.named().map_err(|refusal| Refused::unread(&refusal))?;
    let key = meant(&ask.shared, &named.service, named.key, !named.ephemeral).await;
    let service = named.service;
    ask.owns(&service, &key)?;
    ask.written(|ticket| {
        if named.ephemeral {
            Input::Deregister { ticket, target: (service, key) }
        } else {
            Input::Submit { ticket, command: Command::DeletePersistent { service, key } }
        }
    })
    .await
}

/// Edits what is said of an instance that is there.
async fn edit(ask: &Ask) -> Answer {
    let edit = ask.asked.edit().map_err(|refusal| Refused::unread(&refusal))?;
    let face = ask.face(&edit.service)?;
    if face.view.host(&edit.key).is_none() {
        return Err(Refused::missing(codes::RESULT_INSTANCE_NOT_FOUND, NO_SUCH_INSTANCE));
    }
    lay(ask, edit).await
}

/// Lays an operator's edit over an instance; one of a service nobody knows is refused, as in Nacos.
async fn lay(ask: &Ask, edit: InstanceEdit) -> Answer {
    let InstanceEdit { service, key, mut overlay } = edit;
    ask.owns(&service, &key)?;
    overlay.metadata = overlay.metadata.map(|metadata| metadata.with(OWNER, None));
    let face = ask.face(&service)?;
    if face.view.kind.is_none() {
        let text = format!(
            "service not found, namespace: {}, serviceName: {}",
            service.namespace(),
            service.grouped()
        );
        return Err(Refused::conflict(codes::RESULT_SERVICE_NOT_FOUND, text));
    }
    if let Some(metadata) = &overlay.metadata {
        let within = ask.shared.bounded_metadata(metadata);
        within.map_err(|why| Refused::conflict(codes::RESULT_METADATA, why))?;
    }
    let command = Command::SetOverlay { service, key, overlay: Arc::new(overlay) };
    ask.written(|ticket| Input::Submit { ticket, command }).await
}

/// What a beat came to.
enum Beaten {
    Known(Lease),
    Unknown,
}

async fn beat(ask: &Ask) -> Answer {
    let asked = ask.asked.beat().map_err(|refusal| Refused::unread(&refusal))?;
    let (lease, known) = match beaten(ask, asked).await? {
        Beaten::Known(lease) => (lease, true),
        Beaten::Unknown => (Lease::PLAIN, false),
    };
    let switches = ask.shared.desk();
    let switches = switches.switches();
    let interval_ms =
        if lease == Lease::PLAIN { switches.client_beat_interval_ms } else { lease.interval_ms };
    let lease = Lease { interval_ms, ..lease };
    Ok(Said::Encoded(answer::beat(lease, known, switches.light_beat_enabled)))
}

/// A beat on a lease that this member keeps is noted on the board; any other goes to the core.
async fn beaten(ask: &Ask, beat: Beat) -> Result<Beaten, Refused> {
    let Beat { service, mut key, cluster_said, full } = beat;
    if let Some(pane) = ask.shared.window.find(&service) {
        let face = pane.face();
        if let Some(host) = face.meant(&key, false, cluster_said) {
            ask.owns(&service, &host.key)?;
            if let Some(slot) = host.slot
                && host.instance.healthy
            {
                ask.shared.beats.renew(slot);
                return Ok(Beaten::Known(Lease::of(&host.instance.metadata)));
            }
            key = host.key.clone();
        }
    }
    if let Some(instance) = &full {
        ask.shared.bounded(instance).map_err(|why| Refused::conflict(codes::RESULT_METADATA, why))?;
    }
    ask.owns(&service, &key)?;
    let full = full.map(|instance| Arc::new(owner::marked(&ask.principal, instance)));
    match ask.write(|ticket| Input::Beat { ticket, target: (service, key), full }).await? {
        Answered::Core(Outcome::Unknown) => Ok(Beaten::Unknown),
        Answered::Core(Outcome::Renewed { interval_ms }) => {
            Ok(Beaten::Known(Lease { interval_ms: interval_ms.into(), ..Lease::PLAIN }))
        }
        Answered::Core(Outcome::Written(_) | Outcome::Verdicts(_) | Outcome::Foreseen(_))
        | Answered::Raft(..)
        | Answered::Seen => Ok(Beaten::Known(Lease::PLAIN)),
    }
}

/// 3.x beats by the call that registers; an unknown instance is told by a code under status 200.
async fn register_or_beat(ask: &Ask) -> Answer {
    if !ask.asked.is_heart_beat().map_err(|refusal| Refused::unread(&refusal))? {
        return register(ask).await;
    }
    let named = ask.asked.named().map_err(|refusal| Refused::unread(&refusal))?;
    let cluster_said = ask.asked.value(&["clusterName", "cluster"]).is_some();
    let beat = Beat { service: named.service, key: named.key, cluster_said, full: None };
    match beaten(ask, beat).await? {
        Beaten::Known(_) => Ok(Said::Ok),
        Beaten::Unknown => {
            let text = "instance is not registered, register it again";
            Err(Refused::new(StatusCode::OK, codes::RESULT_INSTANCE_NOT_FOUND, text))
        }
    }
}

fn look(ask: &Ask, call: InstanceCall) -> Answer {
    let named = ask.asked.named().map_err(|refusal| Refused::unread(&refusal))?;
    let face = ask.face(&named.service)?;
    let missing = |text: String| Refused::missing(codes::RESULT_INSTANCE_NOT_FOUND, text);
    if face.view.hosts.is_empty() {
        return Err(missing(format!(
            "no ips found for cluster {} in service {}",
            named.key.cluster,
            named.service.grouped()
        )));
    }
    let host = face.view.host(&named.key).ok_or_else(|| missing(NO_SUCH_INSTANCE.to_owned()))?;
    if call == InstanceCall::LookWhole {
        return Ok(Said::Value(shown::host(&named.service, host)));
    }
    let version = if ask.route.shape == Shape::Plain { Version::V1 } else { Version::V2 };
    Ok(Said::Encoded(answer::instance(version, &named.service, &host.key, &host.instance)))
}

fn list(ask: &Ask) -> Answer {
    let ListQuery { query, claimed_ip, udp_port } =
        ask.asked.list().map_err(|refusal| Refused::unread(&refusal))?;
    ask.ready()?;
    let agent = ask.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let consumer = labels::addresses(&claimed_ip, ask.caller.map(|caller| caller.ip()));
    if let (Some(port), Some(mut address), true) = (udp_port, ask.caller, udp::understands(agent)) {
        // Never to an address that the caller only claims: that would let anyone aim pushes at anyone.
        address.set_port(port);
        let now_ms = ask.shared.clock.now();
        ask.shared.window.listen(&query.service, address, agent, &query.clusters, &consumer, now_ms);
    }
    let face = ask.shared.window.face(&query.service);
    let wanted = ask.shared.window.wanted(&face, &query.clusters, Consumer::At(&consumer));
    if query.healthy_only {
        let encoded = views::encode(&face.view, Naming::Grouped, &wanted, true);
        return Ok(Said::Encoded(encoded.answer(face.view.last_ref_ms)));
    }
    Ok(Said::Encoded(face.grouped(&wanted)))
}

fn hosts(ask: &Ask, call: InstanceCall) -> Answer {
    let ListQuery { query, claimed_ip, udp_port: _ } =
        ask.asked.list().map_err(|refusal| Refused::unread(&refusal))?;
    let face = ask.face(&query.service)?;
    if call == InstanceCall::HostPage {
        let page = ask.page(100)?;
        // The console shows disabled instances too, to enable them again.
        let wanted = face.view.hosts.iter().filter(|host| query.clusters.takes(&host.key.cluster));
        let rows = wanted.map(|host| shown::host(&query.service, host)).collect();
        return Ok(Said::page(page, rows));
    }
    let consumer = labels::addresses(&claimed_ip, ask.caller.map(|caller| caller.ip()));
    let wanted = ask.shared.window.wanted(&face, &query.clusters, Consumer::At(&consumer));
    let (hosts, _) = views::hosts(&face.view, &wanted, query.healthy_only);
    Ok(Said::Encoded(json_list(&hosts).into()))
}

fn json_list(hosts: &[Bytes]) -> Vec<u8> {
    [&b"["[..], &hosts.join(&b','), &b"]"[..]].concat()
}

/// `ns##group@@service` names a service as Nacos 1.x keyed it.
pub(super) fn by_key(ask: &Ask) -> Result<ServiceKey, Refused> {
    let key = ask.required("key")?;
    let (namespace, grouped) = key.split_once("##").unwrap_or(("", key));
    ServiceKey::parse(namespace, "", grouped).map_err(|invalid| Refused::invalid(invalid.to_string()))
}

fn statuses(ask: &Ask) -> Answer {
    let service = by_key(ask)?;
    let face = ask.face(&service)?;
    let status = |host: &Host| format!("{}:{}_{}", host.key.ip, host.key.port, host.instance.healthy);
    let ips: Vec<String> = face.view.hosts.iter().map(status).collect();
    Ok(Said::Value(json!({ "ips": ips })))
}

/// Gives metadata to some or all instances of a service, or takes it away.
async fn batch(ask: &Ask, put: bool) -> Answer {
    let service = ask.service()?;
    let given = ask.asked.metadata().map_err(|refusal| Refused::unread(&refusal))?;
    let given = given.ok_or_else(|| Refused::unread_missing("metadata"))?;
    let wanted = ask.asked.instance_list().map_err(|refusal| Refused::unread(&refusal))?;
    let persistent = match ask.text("consistencyType") {
        "persist" => Some(true),
        "ephemeral" => Some(false),
        _ => None,
    };
    let face = ask.face(&service)?;
    let chosen = face.view.hosts.iter().filter(|host| {
        host.origin.is_none()
            && persistent.is_none_or(|persistent| host.persistent == persistent)
            && (wanted.is_empty() || wanted.contains(&host.key))
    });
    let mut updated = Vec::new();
    for host in chosen.take(METADATA_BATCH_MAX) {
        ask.owns(&service, &host.key)?;
        let metadata = merged(&host.instance.metadata, &given, put)
            .map_err(|why| Refused::conflict(codes::RESULT_METADATA, why.to_string()))?;
        let within = ask.shared.bounded_metadata(&metadata);
        within.map_err(|why| Refused::conflict(codes::RESULT_METADATA, why))?;
        let overlay = Arc::new(Overlay { metadata: Some(metadata), ..Overlay::default() });
        let command = Command::SetOverlay { service: service.clone(), key: host.key.clone(), overlay };
        ask.write(|ticket| Input::Submit { ticket, command }).await?;
        let kind = if host.persistent { "persist" } else { "ephemeral" };
        let InstanceKey { ip, port, cluster } = &host.key;
        updated.push(Value::from(format!("{ip}:{port}:unknown:{cluster}:{kind}")));
    }
    Ok(Said::Value(json!({ "updated": updated })))
}

fn merged(
    before: &Metadata,
    given: &Metadata,
    put: bool,
) -> Result<Metadata, landbridge_model::name::InvalidName> {
    let mut pairs: BTreeMap<_, _> = before.pairs().iter().cloned().collect();
    for (key, value) in given.pairs() {
        if put {
            pairs.insert(key.clone(), value.clone());
        } else {
            pairs.remove(key);
        }
    }
    Metadata::new(pairs)
}
