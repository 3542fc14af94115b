//! Namespaces: those somebody created, and those that services are in. An unknown one is a label like any other.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use ecow::eco_format;
use landbridge_model::Namespace;
use landbridge_registry_core::{Command, Input};
use landbridge_runtime::dice;
use landbridge_wire::nacos::codes;
use serde_json::{Value, json};
use tracing::info;

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::{NamespaceCall, Shape},
};
use crate::{
    desk::{NAMESPACE, NamespaceNote},
    ingress::status::Refused,
};

/// The default namespace, which is always there.
const PUBLIC: &str = "public";

/// The longest name and description, in characters (Nacos 2.5).
const NAME_CHARS_MAX: usize = 256;

/// The most namespaces that somebody created.
const NAMESPACES_MAX: usize = 10_000;

pub(super) async fn answer(ask: &Ask, call: NamespaceCall) -> Answer {
    match call {
        NamespaceCall::List => Ok(Said::Value(list(ask))),
        NamespaceCall::Ask => by_parameters(ask),
        NamespaceCall::Look => look(ask),
        NamespaceCall::Create => create(ask).await,
        NamespaceCall::Update => update(ask).await,
        NamespaceCall::Delete => delete(ask).await,
        NamespaceCall::Count => {
            let there =
                exists(ask, ask.asked.value(&["namespaceId", "customNamespaceId"]).unwrap_or_default());
            Ok(Said::Value(json!(i32::from(there))))
        }
        NamespaceCall::Exists => Ok(Said::Value(json!(exists(ask, ask.text("customNamespaceId"))))),
    }
}

/// Nacos's object of a namespace; type 0 is the default one, 2 one that somebody made.
fn object(id: &str, note: &NamespaceNote) -> Value {
    json!({
        "namespace": id,
        "namespaceShowName": if note.name.is_empty() { id } else { note.name.as_str() },
        "namespaceDesc": note.description,
        "quota": 200,
        "configCount": 0,
        "type": if id == PUBLIC { 0 } else { 2 },
    })
}

fn list(ask: &Ask) -> Value {
    let desk = ask.shared.desk();
    let mut known: BTreeMap<String, NamespaceNote> =
        desk.namespaces().map(|(id, note)| (id.to_owned(), note)).collect();
    let used: BTreeSet<String> =
        ask.shared.window.services().iter().map(|key| key.namespace().to_string()).collect();
    for id in used {
        known.entry(id).or_default();
    }
    let public = known.remove(PUBLIC).unwrap_or_default();
    let rows = known.iter().map(|(id, note)| object(id, note));
    std::iter::once(object(PUBLIC, &public)).chain(rows).collect()
}

fn exists(ask: &Ask, id: &str) -> bool {
    id == PUBLIC || ask.shared.desk().note(&format!("{NAMESPACE}{id}")).is_some()
}

fn by_parameters(ask: &Ask) -> Answer {
    let plain = |value: &Value| Ok(Said::Whole(Box::new(super::json(value.to_string()))));
    if ask.flag("checkNamespaceIdExist", false)? {
        return plain(&json!(exists(ask, ask.text("customNamespaceId"))));
    }
    if ask.text("show") == "all" {
        return plain(&shown(ask)?);
    }
    Ok(Said::Value(list(ask)))
}

fn shown(ask: &Ask) -> Result<Value, Refused> {
    let id = ask.text("namespaceId");
    let id = if id.is_empty() { PUBLIC } else { id };
    let desk = ask.shared.desk();
    match desk.namespaces().find(|(known, _)| *known == id) {
        Some((_, note)) => Ok(object(id, &note)),
        None if id == PUBLIC => Ok(object(id, &NamespaceNote::default())),
        None => {
            Err(Refused::missing(codes::RESULT_NAMESPACE_MISSING, format!("namespaceId [ {id} ] not exist")))
        }
    }
}

fn look(ask: &Ask) -> Answer {
    shown(ask).map(Said::Value)
}

/// v1 tells whether it was done, and nothing more.
fn told(ask: &Ask, outcome: Result<(), Refused>) -> Answer {
    match outcome {
        Ok(()) => Ok(Said::Value(json!(true))),
        Err(refused) if ask.route.shape == Shape::Plain && refused.status == StatusCode::BAD_REQUEST => {
            Ok(Said::Value(json!(false)))
        }
        Err(refused) => Err(refused),
    }
}

fn note(ask: &Ask, name: &str) -> Result<NamespaceNote, Refused> {
    let description = ask.text("namespaceDesc");
    let illegal = |text: &str| Refused::conflict(codes::RESULT_NAMESPACE, text);
    if name.chars().any(|c| "@#$%^&*".contains(c) || c.is_control()) {
        return Err(illegal("namespaceName contains illegal char"));
    }
    if name.chars().count() > NAME_CHARS_MAX || description.chars().count() > NAME_CHARS_MAX {
        return Err(illegal("namespaceName or namespaceDesc is too long"));
    }
    Ok(NamespaceNote { name: name.to_owned(), description: description.to_owned() })
}

async fn keep(ask: &Ask, id: &str, note: Option<&NamespaceNote>) -> Result<(), Refused> {
    let text = note.map(serde_json::to_string).transpose();
    let text = text.map_err(|error| Refused::invalid(error.to_string()))?.map(Into::into);
    info!(event = "namespace_kept", id, gone = note.is_none(), caller = ?ask.caller);
    let command = Command::Note { name: eco_format!("{NAMESPACE}{id}"), text };
    ask.write(|ticket| Input::Submit { ticket, command }).await.map(|_| ())
}

async fn create(ask: &Ask) -> Answer {
    let given = ask.asked.value(&["customNamespaceId", "namespaceId"]).map(str::trim).unwrap_or_default();
    let id = if given.is_empty() { fresh_id() } else { given.to_owned() };
    let checked = Namespace::parse(&id)
        .map_err(|wrong| Refused::conflict(codes::RESULT_NAMESPACE, wrong.to_string()))
        .and_then(|_| note(ask, ask.required("namespaceName")?));
    let note = match checked {
        Ok(note) => note,
        Err(refused) => return told(ask, Err(refused)),
    };
    if exists(ask, &id) {
        let text = format!("namespaceId [{id}] already exist");
        return told(ask, Err(Refused::conflict(codes::RESULT_NAMESPACE_EXISTS, text)));
    }
    if ask.shared.desk().namespaces().count() >= NAMESPACES_MAX {
        return told(ask, Err(Refused::conflict(codes::RESULT_NAMESPACE, "there are too many namespaces")));
    }
    let kept = keep(ask, &id, Some(&note)).await;
    told(ask, kept)
}

/// A random id in the form of a UUID of version 4.
fn fresh_id() -> String {
    let mut bytes: [u8; 16] = dice::bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

async fn update(ask: &Ask) -> Answer {
    let id = ask.asked.value(&["namespaceId", "namespace"]).unwrap_or_default();
    let name = ask.asked.value(&["namespaceName", "namespaceShowName"]).unwrap_or_default();
    let note = match note(ask, name) {
        Ok(note) => note,
        Err(refused) => return told(ask, Err(refused)),
    };
    if id.is_empty() || id == PUBLIC || !exists(ask, id) {
        let text = format!("namespaceId [ {id} ] not exist or cannot be changed");
        return told(ask, Err(Refused::conflict(codes::RESULT_NAMESPACE_MISSING, text)));
    }
    let kept = keep(ask, id, Some(&note)).await;
    told(ask, kept)
}

async fn delete(ask: &Ask) -> Answer {
    let id = ask.required("namespaceId")?;
    if id == PUBLIC || !exists(ask, id) {
        let text = format!("namespaceId [ {id} ] not exist or cannot be deleted");
        return told(ask, Err(Refused::conflict(codes::RESULT_NAMESPACE_MISSING, text)));
    }
    let kept = keep(ask, id, None).await;
    told(ask, kept)
}
