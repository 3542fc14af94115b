//! Every member restarted in turn, in order, while clients of both kinds live: nobody alive is ever missing.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use landbridge_tests::{
    sdk::{Connection, ask_well, connect, enrolment, service},
    wait::until_async,
};
use landbridge_wire::nacos::grpc::{Payload, ask};
use serde_json::Value;
use tokio::{task::JoinHandle, time::interval};

use crate::{
    clients::{Beating, Looking},
    crashing::times,
    forming::{SEEN_WITHIN, three},
};

/// Clients over gRPC and clients that beat, unless `ROLLING_SESSIONS` and `ROLLING_BEATS` say otherwise.
const CLIENTS: u32 = 20;

/// Between two signs of life of a gRPC client, and between two tries to find a member.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// The service of gRPC clients.
const SESSIONS: &str = "sessions";

/// gRPC clients that go to another member when theirs asks them to, or is gone; they end when this is dropped.
struct Sessions(Vec<JoinHandle<()>>);

impl Sessions {
    fn start(members: &[SocketAddr], count: u32) -> Self {
        Self((0..count).map(|number| tokio::spawn(live(members.to_vec(), number))).collect())
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn live(members: Vec<SocketAddr>, number: u32) {
    let mut pace = interval(ALIVE_EVERY);
    let mut before: Option<Connection> = None;
    for member in members.iter().cycle().skip(number as usize % members.len()) {
        pace.tick().await;
        let Ok(mut connection) = enter(*member, number).await else { continue };
        // The old connection ends once the new one is known.
        drop(before.take());
        // Whatever ends it, the next member is asked.
        let _ = stay(&mut connection).await;
        before = Some(connection);
    }
}

async fn enter(member: SocketAddr, number: u32) -> Result<Connection> {
    let mut connection = connect(member).await?;
    ask_well(&mut connection.requests, ask::register(&service(SESSIONS), &enrolment(number))).await?;
    Ok(connection)
}

/// Until the member asks to go, or is gone.
async fn stay(connection: &mut Connection) -> Result<()> {
    let mut alive = interval(ALIVE_EVERY);
    loop {
        tokio::select! {
            word = connection.heard.message() => {
                let word = word?.context("the member ended the stream")?;
                match word.type_name() {
                    "ConnectResetRequest" => return Ok(()),
                    "ClientDetectionRequest" => connection.words.send(ask::detected(&id_of(&word))).await?,
                    _ => {}
                }
            }
            _ = alive.tick() => {
                connection.requests.request(ask::health_check()).await?;
            }
        }
    }
}

fn id_of(word: &Payload) -> String {
    let said: Value = serde_json::from_slice(word.json()).unwrap_or_default();
    said["requestId"].as_str().unwrap_or_default().to_owned()
}

pub async fn nobody_alive_is_missing_while_every_member_is_restarted_in_turn() -> Result<()> {
    let mut region = three().await?;
    let (sessions, beats) = (times("ROLLING_SESSIONS", CLIENTS), times("ROLLING_BEATS", CLIENTS));
    let members = region.members();
    let http: Vec<_> = members.iter().map(|member| region.http(*member)).collect();
    let grpc: Vec<_> = members.iter().map(|member| region.grpc(*member)).collect();
    let connected = Sessions::start(&grpc, sessions);
    let beating = Beating::start(http, "orders", 0..beats, Duration::from_secs(2));
    for (name, count) in [(SESSIONS, sessions), ("orders", beats)] {
        for member in &members {
            until_async("all clients are there", 3 * SEEN_WITHIN, async || {
                let shown = region.shown(*member, name).await?;
                (shown.len() == count as usize).then_some(())
            })
            .await;
        }
    }
    let lookers = [(SESSIONS, sessions), ("orders", beats)]
        .map(|(name, count)| Looking::start(&region, name, count as usize));

    for member in members {
        region.ask_to_end(member)?;
        region.ended(member).await?;
        region.start(member)?;
        region.ready(member).await;
    }

    for looker in lookers {
        let seen = looker.end().await?;
        println!("  {} whole answers, {} refused", seen.whole, seen.refused);
    }
    beating.stop().await;
    drop(connected);
    Ok(())
}
