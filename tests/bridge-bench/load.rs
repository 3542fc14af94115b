//! SDK connections that register, again and again at a pace, or as many as asked for.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use landbridge_model::{Address, Cluster, Instance, InstanceKey, Metadata};
use landbridge_tests::sdk::{self, Connection, ask_well, service};
use landbridge_wire::nacos::{Enrolment, grpc::ask};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::watcher::{ASKED, BEGUN};

/// Connections that share a load.
const CONNECTIONS: u32 = 8;

/// Instances that one call registers.
const SET: u32 = 10;

/// Services of one connection at a pace; their sets take turns.
const SERVICES: u32 = 20;

/// Instances that one call registers where as many as asked for come.
const FILL_SET: u32 = 500;

/// A connection whose pings are answered until it goes out of sight.
pub struct Caller(Connection);

impl Caller {
    /// Connects to a member.
    pub async fn connect(grpc: u16) -> Result<Self> {
        Ok(Self(sdk::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, grpc))).await?))
    }

    /// Registers a set of instances as all that this connection has in a service.
    pub async fn register(&mut self, name: &str, set: &[Enrolment]) -> Result<()> {
        ask_well(&mut self.0.requests, ask::register_batch(&service(name), set)).await.map(drop)
    }

    /// Registers one instance.
    pub async fn register_one(&mut self, name: &str, enrolment: &Enrolment) -> Result<()> {
        ask_well(&mut self.0.requests, ask::register(&service(name), enrolment)).await.map(drop)
    }
}

/// Answers what the server asks on a connection, so that it stays.
pub async fn keep(mut connections: Vec<Caller>) {
    let mut all = JoinSet::new();
    for Caller(mut connection) in connections.drain(..) {
        all.spawn(async move {
            while let Ok(Some(word)) = connection.heard.message().await {
                if word.type_name() == "ClientDetectionRequest" {
                    let json: serde_json::Value = serde_json::from_slice(word.json()).unwrap_or_default();
                    let id = json["requestId"].as_str().unwrap_or_default();
                    if connection.words.send(ask::detected(id)).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
    while all.join_next().await.is_some() {}
}

/// Registers `count` instances at a member, in services whose names begin with `name`; whoever drops the task drops them.
pub async fn fill(grpc: u16, name: &str, count: u32) -> Result<tokio::task::JoinHandle<()>> {
    let mut all = JoinSet::new();
    for part in 0..CONNECTIONS {
        let prefix = format!("{name}-{part}");
        all.spawn(async move {
            let mut caller = Caller::connect(grpc).await?;
            let (from, to) = (count / CONNECTIONS * part, count / CONNECTIONS * (part + 1));
            for first in (from..to).step_by(FILL_SET as usize) {
                let set: Vec<_> = (first..to.min(first + FILL_SET)).map(plain).collect();
                caller.register(&format!("{prefix}-{first}"), &set).await?;
            }
            anyhow::Ok(caller)
        });
    }
    let mut callers = Vec::new();
    while let Some(done) = all.join_next().await {
        callers.push(done.context("a caller panicked")??);
    }
    Ok(tokio::spawn(keep(callers)))
}

/// Changes instances of a member at so many a second for a while; how many were made, and in which time.
pub async fn pace(grpc: u16, per_second: u32, lasts: Duration) -> Result<(u64, Duration)> {
    let mut all = JoinSet::new();
    let set = SET.min((per_second / CONNECTIONS).max(1));
    let period = Duration::from_secs(1) * CONNECTIONS * set / per_second.max(1);
    let begun = tokio::time::Instant::now();
    for part in 0..CONNECTIONS {
        all.spawn(async move {
            let mut caller = Caller::connect(grpc).await?;
            let mut turns = tokio::time::interval_at(begun + period * part / CONNECTIONS, period);
            turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut made = 0_u64;
            let mut turn = 0;
            while begun.elapsed() < lasts {
                turns.tick().await;
                let first = (part * SERVICES + turn) * SET;
                let set: Vec<_> = (first..first + set).map(stamped).collect();
                caller.register(&format!("pace-{part}-{turn}"), &set).await?;
                made += set.len() as u64;
                turn = (turn + 1) % SERVICES;
            }
            // What it registered stays while the others finish.
            anyhow::Ok((made, caller))
        });
    }
    let (mut made, mut callers) = (0, Vec::new());
    while let Some(done) = all.join_next().await {
        let (more, caller) = done.context("a caller panicked")??;
        made += more;
        callers.push(caller);
    }
    Ok((made, begun.elapsed()))
}

/// An instance with metadata as Spring sends it.
pub fn plain(place: u32) -> Enrolment {
    enrolled(place, None)
}

/// The same, saying when it was asked for.
fn stamped(place: u32) -> Enrolment {
    enrolled(place, Some(BEGUN.elapsed().as_micros().to_string()))
}

fn enrolled(place: u32, asked: Option<String>) -> Enrolment {
    let ip = Ipv4Addr::from(0x0a00_0000 + (place >> 8));
    let pairs = [("zone", "a"), ("version", "1.0.0"), ("preserved.register.source", "SPRING_CLOUD")];
    let pairs = pairs.map(|(key, value)| (key.into(), value.into())).into_iter();
    let asked = asked.map(|asked| (ASKED.into(), asked.into()));
    Enrolment {
        key: InstanceKey {
            ip: Address::parse(&ip.to_string()).expect("an IP address is an address"),
            port: 1024 + (place & 0xff) as u16,
            cluster: Cluster::parse("").expect("the default cluster is valid"),
        },
        instance: Instance::plain(Metadata::new(pairs.chain(asked)).expect("four pairs are within bounds")),
        ephemeral: true,
    }
}
