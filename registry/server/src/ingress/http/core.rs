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
use crate::{
    ingress::status::Refused,
    peers::{Health, Place, RAFT_BELOW},
    session::Session,
};

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
        CoreCall::SmartReload => Err(Refused::unserved(
            "no member orders another to send clients away: reloadCurrent says how many each keeps and where others go",
        )),
        CoreCall::ReloadClient => reload_client(ask),
        CoreCall::Loads => Ok(Said::Value(loads(ask))),
    }
}

/// Where a member's Raft port is, by which Nacos names the members of a group; its number if nobody says where it is.
fn raft_address(ask: &Ask, member: MemberId) -> String {
    let own = ask.shared.http;
    match ask.shared.company.addresses.of(member) {
        Some(place) => place.raft(),
        None if member == ask.shared.member => {
            SocketAddr::new(own.ip(), own.port().saturating_sub(RAFT_BELOW)).to_string()
        }
        None => member.to_string(),
    }
}

/// A member as Nacos writes one; `state` is UP, SUSPICIOUS or STARTING.
fn member(ask: &Ask, number: MemberId, address: SocketAddr, state: &str) -> Value {
    let standing = ask.shared.store.standing();
    let standing = *standing.borrow();
    let leader = standing.leader.map(|leader| raft_address(ask, leader)).unwrap_or_default();
    let voters = ask.shared.store.members().voters;
    let voters: Vec<String> = voters.into_iter().map(|voter| raft_address(ask, voter)).collect();
    let place = ask.shared.company.addresses.of(number);
    let raft_port = place.map_or(address.port().saturating_sub(RAFT_BELOW), |place| place.raft_port);
    json!({
        "ip": address.ip().to_string(),
        "port": address.port(),
        "address": address.to_string(),
        "state": state,
        "extendInfo": {
            "lastRefreshTime": ask.shared.clock.unix_ms(),
            "raftMetaData": { "metaDataMap": { "naming_persistent_service_v2": {
                "leader": leader,
                "raftGroupMember": voters,
                "term": standing.term,
            } } },
            "raftPort": raft_port.to_string(),
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
    member(
        ask,
        ask.shared.member,
        ask.shared.http,
        if ask.shared.state.answers() { "UP" } else { "STARTING" },
    )
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
    all.extend(others.into_iter().map(|(number, (address, state))| member(ask, number, address, state)));
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
            let to = heir(ask, &value)?;
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

/// The voter that is to lead: by the address of its Raft port, as Nacos names it, or by its number.
fn heir(ask: &Ask, value: &str) -> Result<MemberId, Refused> {
    if let Ok(number) = value.parse() {
        return Ok(MemberId(number));
    }
    let mut voters = ask.shared.store.members().voters.into_iter();
    let named = voters.find(|voter| raft_address(ask, *voter) == value);
    named.ok_or_else(|| {
        Refused::invalid("value must be ip:raftPort or the number of the voter that is to lead")
    })
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

/// The connections of every member: of this one as they are, of the others as they said at their last sign of life.
fn loads(ask: &Ask) -> Value {
    let (listed, hails) = (ask.shared.company.addresses.all(), ask.shared.company.hails.all());
    let me = ask.shared.member;
    let own = listed.get(&me).map_or_else(|| ask.shared.http.to_string(), Place::http);
    let mut known = vec![(own, ask.shared.sessions.count() as u64)];
    for (number, place) in listed.iter().filter(|(number, _)| **number != me) {
        let said = hails.get(number).filter(|hail| hail.health == Health::Up);
        if let Some(connections) = said.and_then(|hail| hail.connections) {
            known.push((place.http(), connections.into()));
        }
    }
    let members = listed.len().max(1);
    let counts = || known.iter().map(|(_, count)| *count);
    let total: u64 = counts().sum();
    let average = total / known.len() as u64;
    let detail = known.iter().map(|(address, count)| {
        json!({ "address": address, "metric": { "conCount": count.to_string(), "sdkConCount": count.to_string() } })
    });
    json!({
        "result": [],
        "memberCount": members,
        "metricsCount": known.len(),
        "completed": known.len() == members,
        "max": counts().max(),
        "min": counts().min(),
        "avg": average,
        "threshold": format!("{:.1}", average as f64 * 1.1),
        "total": total,
        "detail": detail.collect::<Vec<_>>(),
    })
}
