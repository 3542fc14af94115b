//! Members, Raft operations and the connections of this member, as Nacos's core module tells of them.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use axum::http::StatusCode;
use landbridge_model::MemberId;
use landbridge_wire::nacos::codes;
use serde_json::{Value, json};
use tracing::info;

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::CoreCall,
};
use crate::{ingress::status::Refused, session::Session};

/// Feeds are served so far above the HTTP port.
const FEEDS_OFFSET: u16 = 1001;

/// A leader that no majority answered for so long does not count as one.
const LEADER_HEARD: Duration = Duration::from_secs(1);

pub(super) async fn answer(ask: &Ask, call: CoreCall) -> Answer {
    match call {
        CoreCall::Myself => Ok(Said::Value(myself(ask))),
        CoreCall::Members => Ok(Said::Value(members(ask))),
        CoreCall::Addresses => {
            let all = members(ask);
            let all = all.as_array().into_iter().flatten();
            Ok(Said::Value(all.map(|member| member["address"].clone()).collect()))
        }
        CoreCall::Health => {
            let up = if ask.shared.state.registers() { "UP" } else { "STARTING" };
            Ok(Said::Text(up.to_owned()))
        }
        CoreCall::Unserved => Err(Refused::unserved(
            "the members of a region are changed by its operator, not by this call: see landbridge members",
        )),
        CoreCall::Raft => raft(ask).await,
        CoreCall::Ids => Ok(Said::Value(json!([]))),
        CoreCall::Connections => Ok(Said::Value(connections(ask))),
        CoreCall::ReloadCurrent => reload_current(ask),
        CoreCall::SmartReload => Ok(Said::Text("Ok".to_owned())),
        CoreCall::ReloadClient => reload_client(ask),
        CoreCall::Loads => Ok(Said::Value(loads(ask))),
    }
}

/// A member as Nacos writes one; `state` is UP, SUSPICIOUS or STARTING.
fn member(ask: &Ask, address: SocketAddr, state: &str) -> Value {
    let standing = ask.shared.store.standing();
    let standing = *standing.borrow();
    let leader = standing.leader.map(|leader| leader.0.to_string()).unwrap_or_default();
    json!({
        "ip": address.ip().to_string(),
        "port": address.port(),
        "address": address.to_string(),
        "state": state,
        "extendInfo": {
            "lastRefreshTime": ask.shared.clock.unix_ms(),
            "raftMetaData": { "metaDataMap": { "naming_persistent_service_v2": {
                "leader": leader,
                "raftGroupMember": [],
                "term": standing.term,
            } } },
            "raftPort": address.port().saturating_sub(1000).to_string(),
            "readyToUpgrade": true,
            "version": super::page::VERSION,
        },
        "abilities": {
            "remoteAbility": { "supportRemoteConnection": true, "grpcReportEnabled": true },
            "configAbility": { "supportRemoteMetrics": false },
            "namingAbility": { "supportJraft": true },
        },
        "grpcReportEnabled": true,
        "failAccessCnt": 0,
    })
}

fn myself(ask: &Ask) -> Value {
    member(ask, ask.shared.http, if ask.shared.state.answers() { "UP" } else { "STARTING" })
}

/// This member, and those that have an open feed or are listed by address; by address and state if the caller says so.
fn members(ask: &Ask) -> Value {
    let sight = ask.shared.state.sight();
    let hails = ask.shared.company.hails.all();
    let mut others = BTreeMap::new();
    for feed in sight.feeds.iter().filter(|feed| feed.member != ask.shared.member) {
        let Ok(address) = feed.address.parse::<SocketAddr>() else { continue };
        let address = SocketAddr::new(address.ip(), address.port().saturating_sub(FEEDS_OFFSET));
        others.insert(feed.member, (address, if feed.silent { "SUSPICIOUS" } else { "UP" }));
    }
    for (number, place) in ask.shared.company.addresses.all().iter().filter(|(m, _)| **m != ask.shared.member)
    {
        let Ok(address) = place.http().parse::<SocketAddr>() else { continue };
        others.insert(*number, (address, hails.get(number).map_or("DOWN", |hail| hail.health.word())));
    }
    let mut all = vec![myself(ask)];
    all.extend(others.into_values().map(|(address, state)| member(ask, address, state)));
    let address = ask.asked.value(&["address", "keyword"]).unwrap_or_default();
    let state = ask.text("state").to_ascii_uppercase();
    all.retain(|member| {
        member["address"].as_str().is_some_and(|known| known.contains(address))
            && (state.is_empty() || member["state"] == state.as_str())
    });
    Value::Array(all)
}

/// Hands leadership on, or makes a snapshot; everything that changes members is the operator's command line's.
async fn raft(ask: &Ask) -> Answer {
    let said: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    let part = |name: &str| {
        let given = said.get(name).and_then(Value::as_str).map(str::to_owned);
        given.unwrap_or_else(|| ask.text(name).to_owned())
    };
    let (command, value) = (part("command"), part("value"));
    info!(event = "raft_command", command, value, caller = ?ask.caller);
    let undecided = |error: landbridge_store::ProposeError| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Refused::new(status, codes::RESULT_SERVER_ERROR, error.to_string())
    };
    match command.as_str() {
        "transferLeader" => {
            let to = value.parse().map(MemberId);
            let to =
                to.map_err(|_| Refused::invalid("value must be the number of the member that is to lead"))?;
            if ask.shared.store.leading(LEADER_HEARD).is_none() {
                return Err(Refused::conflict(codes::RESULT_ILLEGAL_STATE, "this member does not lead"));
            }
            ask.shared.store.transfer(to).await.map_err(undecided)?;
            Ok(Said::Ok)
        }
        "doSnapshot" => {
            ask.shared.store.snapshot().await.map_err(undecided)?;
            Ok(Said::Ok)
        }
        "restRaftCluster" | "removePeer" | "removePeers" | "changePeers" | "resetPeers" => {
            Err(Refused::unserved("voters are changed by the region's operator: see landbridge raft"))
        }
        _ => Err(Refused::invalid("command must be transferLeader or doSnapshot")),
    }
}

/// The connections of SDKs, by id.
fn connections(ask: &Ask) -> Value {
    let one = |session: &std::sync::Arc<Session>| {
        let said = session.introduction();
        let spoke = ask.shared.clock.unix_ms().saturating_sub(session.silent_ms());
        let shown = json!({
            "traced": false,
            "connected": true,
            "metaInfo": {
                "connectType": "GRPC",
                "connectionId": session.id(),
                "clientIp": said.map(|said| said.client_ip.as_str()).unwrap_or_default(),
                "remoteIp": session.remote().ip().to_string(),
                "remotePort": session.remote().port(),
                "version": said.map(|said| said.client_version.as_str()).unwrap_or_default(),
                "appName": said.map(|said| said.app.as_str()).unwrap_or_default(),
                "tenant": said.map(|said| said.tenant.as_str()).unwrap_or_default(),
                "lastActiveTime": spoke,
            },
        });
        (session.id().to_owned(), shown)
    };
    Value::Object(ask.shared.sessions.all().iter().map(one).collect())
}

/// Where a client is sent; blank means another server of its own list.
fn redirect(ask: &Ask) -> Result<Option<SocketAddr>, Refused> {
    match ask.text("redirectAddress") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Refused::invalid("redirectAddress must be ip:port")),
    }
}

/// Keeps so many connections and sends the others away, those that were silent longest first.
fn reload_current(ask: &Ask) -> Answer {
    let keep = ask.asked.number::<usize>("count").map_err(|refusal| Refused::unread(&refusal))?;
    let keep = keep.ok_or_else(|| Refused::unread_missing("count"))?;
    let to = redirect(ask)?;
    let mut sessions = ask.shared.sessions.all();
    sessions.sort_by_key(|session| std::cmp::Reverse(session.silent_ms()));
    let away = sessions.len().saturating_sub(keep);
    info!(event = "connections_sent_away", away, caller = ?ask.caller);
    for session in sessions.iter().take(away) {
        session.send_away(to);
    }
    Ok(Said::Text("success".to_owned()))
}

fn reload_client(ask: &Ask) -> Answer {
    let (id, to) = (ask.required("connectionId")?, redirect(ask)?);
    let session = ask.shared.sessions.all().into_iter().find(|session| session.id() == id);
    let session =
        session.ok_or_else(|| Refused::missing(codes::RESULT_NOT_FOUND, "there is no such connection"))?;
    session.send_away(to);
    Ok(Said::Text("success".to_owned()))
}

/// Each member tells of its own load; a dashboard that wants all asks all.
fn loads(ask: &Ask) -> Value {
    let count = ask.shared.sessions.count();
    json!({
        "result": [],
        "memberCount": 1,
        "metricsCount": 1,
        "completed": true,
        "max": count,
        "min": count,
        "avg": count,
        "threshold": format!("{:.1}", count as f64 * 1.1),
        "total": count,
        "detail": [{ "address": ask.shared.http.to_string(), "metric": { "conCount": count.to_string(), "sdkConCount": count.to_string() } }],
    })
}
