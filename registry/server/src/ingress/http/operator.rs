//! The operator's pages of the naming module: switches, metrics, push state and log levels.

use std::collections::BTreeMap;

use landbridge_registry_core::{Command, Input};
use landbridge_wire::nacos::http::answer::{self, Counts};
use serde_json::{Map, Value, json};
use tracing::info;

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::{OperatorCall, Shape},
};
use crate::{desk, ingress::status::Refused, member::Shared};

/// The switches that Nacos knows, with their defaults; `serverMode` is an old habit of 1.x scripts.
const KNOWN: &[(&str, &str)] = &[
    ("adWeightMap", "{}"),
    ("autoChangeHealthCheckEnabled", "true"),
    ("check", "true"),
    ("checkTimes", "3"),
    ("clientBeatInterval", "5000"),
    ("defaultCacheMillis", "3000"),
    ("defaultInstanceEphemeral", "true"),
    ("defaultPushCacheMillis", "10000"),
    ("disableAddIP", "false"),
    ("distro", "true"),
    ("distroEnabled", "true"),
    ("distroServerExpiredMillis", "10000"),
    ("distroThreshold", "0.7"),
    ("enableAuthentication", "false"),
    ("enableStandalone", "true"),
    ("healthCheckEnabled", "true"),
    ("healthCheckTimes", "3"),
    ("httpHealthParams", r#"{"max":5000,"min":500,"factor":0.85}"#),
    ("incrementalList", "[]"),
    ("lightBeatEnabled", "true"),
    ("limitedUrlMap", "{}"),
    ("masters", "[]"),
    ("mysqlHealthParams", r#"{"max":3000,"min":2000,"factor":0.65}"#),
    ("overriddenServerStatus", ""),
    ("pushCacheMillis", "10000"),
    ("pushEnabled", "true"),
    ("pushVersion", ""),
    ("sendBeatOnly", "false"),
    ("serverMode", "MIXED"),
    ("serverStatusSynchronizationPeriodMillis", "2000"),
    ("serviceStatusSynchronizationPeriodMillis", "5000"),
    ("tcpHealthParams", r#"{"max":5000,"min":1000,"factor":0.75}"#),
];

/// The longest value of a switch, in bytes.
const VALUE_BYTES_MAX: usize = 4_096;

pub(super) async fn answer(ask: &Ask, call: OperatorCall) -> Answer {
    match call {
        OperatorCall::Switches => Ok(switches(ask)),
        OperatorCall::SetSwitch => set_switch(ask).await,
        OperatorCall::Metrics => metrics(ask),
        OperatorCall::PushState => Ok(push_state(ask)),
        OperatorCall::SetLog => Err(Refused::unserved("set log.level in the configuration of the member")),
    }
}

/// Numbers, flags and lists as such, everything else as text.
fn value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::String(_)) | Err(_) => Value::from(text),
        Ok(other) => other,
    }
}

fn switches(ask: &Ask) -> Said {
    let desk = ask.shared.desk();
    let said = desk.switches_said();
    let one = |(name, default): &(&str, &str)| {
        let text = said.get(*name).map_or(*default, String::as_str);
        ((*name).to_owned(), value(text))
    };
    let mut all: Map<String, Value> = KNOWN.iter().map(one).collect();
    all.insert("name".to_owned(), json!("00-00---000-NACOS_SWITCH_DOMAIN-000---00-00"));
    Said::Value(Value::Object(all))
}

async fn set_switch(ask: &Ask) -> Answer {
    let entry = ask.required("entry")?;
    if !KNOWN.iter().any(|(name, _)| *name == entry) {
        let entry: String = entry.chars().take(64).flat_map(char::escape_default).collect();
        return Err(Refused::invalid(format!("update entry not found: {entry}")));
    }
    let given = ask.asked.value(&["value", "stateName"]).unwrap_or_default();
    check(entry, given)?;
    let desk = ask.shared.desk();
    let mut said: BTreeMap<String, String> = desk.switches_said().clone();
    said.insert(entry.to_owned(), given.to_owned());
    let text = serde_json::to_string(&said).map_err(|error| Refused::invalid(error.to_string()))?;
    info!(event = "switch_set", entry, value = given, caller = ?ask.caller);
    let command = Command::Note { name: desk::SWITCHES.into(), text: Some(text.into()) };
    ask.written(|ticket| Input::Submit { ticket, command }).await
}

/// The bounds that Nacos names (`SwitchManager`, Nacos 2.5).
fn check(entry: &str, given: &str) -> Result<(), Refused> {
    let least = |min: u64| match given.parse::<u64>() {
        Ok(number) if number >= min => Ok(()),
        _ => Err(Refused::invalid(format!("{entry} must be a number of at least {min}"))),
    };
    match entry {
        _ if given.len() > VALUE_BYTES_MAX => {
            Err(Refused::invalid(format!("a value has at most {VALUE_BYTES_MAX} bytes")))
        }
        "pushCacheMillis" => least(10_000),
        "defaultCacheMillis" => least(1_000),
        "clientBeatInterval" => least(1_000),
        "serviceStatusSynchronizationPeriodMillis" => least(5_000),
        "serverStatusSynchronizationPeriodMillis" => least(15_000),
        "distroServerExpiredMillis" | "healthCheckTimes" => least(1),
        "distroThreshold" => match given.parse::<f64>() {
            Ok(share) if share > 0.0 && share.is_finite() => Ok(()),
            _ => Err(Refused::invalid("distroThreshold can not be zero or negative")),
        },
        "pushEnabled"
        | "lightBeatEnabled"
        | "defaultInstanceEphemeral"
        | "disableAddIP"
        | "sendBeatOnly"
        | "enableStandalone"
        | "autoChangeHealthCheckEnabled"
        | "check"
        | "distro" => match given {
            "true" | "false" => Ok(()),
            _ => Err(Refused::invalid(format!("{entry} must be true or false"))),
        },
        "overriddenServerStatus" => match given {
            "" | "UP" | "DOWN" | "STARTING" | "PAUSED" | "READ_ONLY" | "WRITE_ONLY" => Ok(()),
            _ => Err(Refused::invalid(
                "overriddenServerStatus is UP, DOWN, STARTING, PAUSED, READ_ONLY or WRITE_ONLY",
            )),
        },
        _ => Ok(()),
    }
}

/// `{"status":"UP"}`, by which Java 1.x, Go and Node see that a server is there.
fn metrics(ask: &Ask) -> Answer {
    // v1 tells the status alone unless it is asked for more, and so do v2 and v3.
    let counts = (!ask.flag("onlyStatus", true)?).then(|| count(&ask.shared));
    let desk = ask.shared.desk();
    let status = desk.switches().overridden_status.as_deref();
    let status = status.unwrap_or(if ask.shared.state.registers() { "UP" } else { "DOWN" });
    Ok(Said::Encoded(answer::metrics(status, counts)))
}

/// What this member shows and who uses it; a step for each instance.
pub(super) fn count(shared: &Shared) -> Counts {
    let services = shared.window.services();
    let mut counts = Counts { services: services.len() as u64, ..Counts::default() };
    for service in &services {
        let face = shared.window.face(service);
        for host in &face.view.hosts {
            counts.instances += 1;
            counts.own_instances += u64::from(host.origin.is_none());
            counts.persistent += u64::from(host.persistent);
            counts.beating += u64::from(host.slot.is_some());
        }
    }
    counts.connections = shared.sessions.count() as u64;
    counts.clients = counts.connections + counts.beating + counts.persistent;
    counts.subscriptions =
        shared.sessions.all().iter().map(|session| session.outbox().subscriptions() as u64).sum();
    counts
}

/// How many subscribers were told and how many had to be told again, since the start.
fn push_state(ask: &Ask) -> Said {
    let (total, again) = ask.shared.sessions.pushes();
    let ratio = if total == 0 { 1.0 } else { total.saturating_sub(again) as f64 / total as f64 };
    debug_assert!(ask.route.shape != Shape::Rest, "the push state is a v1 page");
    Said::Value(json!({
        "succeed": total.saturating_sub(again),
        "total": total,
        "ratio": ratio,
        "reset": false,
    }))
}
