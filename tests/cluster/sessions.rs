//! gRPC clients as SDKs are: they register, stay, go to another member when theirs asks them to or is gone, and some of
//! them subscribe and count what they are told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use landbridge_tests::sdk::{Connection, ask_well, connect, enrolment, service};
use landbridge_wire::nacos::{
    ClusterFilter,
    grpc::{Payload, ask},
};
use serde_json::Value;
use tokio::{task::JoinHandle, time::interval};

/// Between two tries to find a member.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

/// Between two signs of life of a client (Nacos's SDKs: the same).
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Instances of one service.
const PER_SERVICE: u32 = 100;

/// Every so many clients one subscribes to its service.
const SUBSCRIBES: u32 = 10;

/// A subscriber must never be shown fewer than this share of those who live, in percent.
const SHARE_MIN: usize = 70;

/// What subscribers were told while they were watched.
#[derive(Debug, Default)]
pub struct Told {
    watched: AtomicBool,
    heard: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Told {
    fn hear(&self, list: &Value, live: usize) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        let shown = list["hosts"].as_array().map_or(0, Vec::len);
        if shown * 100 <= live * SHARE_MIN {
            self.wrong
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("{} of {live} of {}", shown, list["name"]));
        }
    }
}

/// Clients that live until this is dropped.
pub struct Sessions {
    told: Arc<Told>,
    count: u32,
    clients: Vec<JoinHandle<()>>,
}

impl Sessions {
    /// So many clients, spread over members and services.
    pub fn start(members: &[SocketAddr], count: u32) -> Self {
        let told = Arc::new(Told::default());
        let client = |number| {
            let live = population(count, number / PER_SERVICE);
            tokio::spawn(Client { members: members.to_vec(), number, live, told: Arc::clone(&told) }.live())
        };
        Self { clients: (0..count).map(client).collect(), count, told }
    }

    /// Every service with how many of its instances live.
    pub fn services(&self) -> Vec<(String, usize)> {
        let services = 0..self.count.div_ceil(PER_SERVICE);
        services.map(|place| (name(place), population(self.count, place))).collect()
    }

    /// From here on a list that lacks too many is a failure.
    pub fn watch(&self) {
        self.told.watched.store(true, Ordering::Relaxed);
    }

    /// How many lists subscribers were told; one that lacked too many is a failure.
    pub fn end(self) -> Result<u64> {
        let wrong = self.told.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(wrong.is_empty(), "{} lists lacked too many, first {:?}", wrong.len(), wrong.first());
        Ok(self.told.heard.load(Ordering::Relaxed))
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

fn name(place: u32) -> String {
    format!("sessions-{place}")
}

/// How many of so many clients register for a service.
fn population(count: u32, place: u32) -> usize {
    count.saturating_sub(place * PER_SERVICE).min(PER_SERVICE) as usize
}

struct Client {
    members: Vec<SocketAddr>,
    number: u32,
    live: usize,
    told: Arc<Told>,
}

impl Client {
    async fn live(self) {
        let mut pace = interval(AGAIN_EVERY);
        let mut before: Option<Connection> = None;
        for member in self.members.iter().cycle().skip(self.number as usize % self.members.len()) {
            pace.tick().await;
            let Ok(mut connection) = self.enter(*member).await else { continue };
            // The old connection ends once the new one is known.
            drop(before.take());
            // Whatever ends it, the next member is asked.
            let _ = self.stay(&mut connection).await;
            before = Some(connection);
        }
    }

    async fn enter(&self, member: SocketAddr) -> Result<Connection> {
        let mut connection = connect(member).await?;
        let service = service(&name(self.number / PER_SERVICE));
        ask_well(&mut connection.requests, ask::register(&service, &enrolment(self.number))).await?;
        if self.number.is_multiple_of(SUBSCRIBES) {
            let subscribe = ask::subscribe(&service, &ClusterFilter::default(), true);
            // A member that is starting shows nothing yet, and says so.
            let answer = ask_well(&mut connection.requests, subscribe).await?;
            self.told.hear(&json(&answer)["serviceInfo"], self.live);
        }
        Ok(connection)
    }

    /// Until the member asks to go, or is gone.
    async fn stay(&self, connection: &mut Connection) -> Result<()> {
        let mut alive = interval(ALIVE_EVERY);
        loop {
            tokio::select! {
                word = connection.heard.message() => {
                    let word = word?.context("the member ended the stream")?;
                    let said = json(&word);
                    let id = said["requestId"].as_str().unwrap_or_default();
                    match word.type_name() {
                        "ConnectResetRequest" => return Ok(()),
                        "ClientDetectionRequest" => connection.words.send(ask::detected(id)).await?,
                        "NotifySubscriberRequest" => {
                            connection.words.send(ask::notified(id)).await?;
                            self.told.hear(&said["serviceInfo"], self.live);
                        }
                        _ => {}
                    }
                }
                _ = alive.tick() => {
                    connection.requests.request(ask::health_check()).await?;
                }
            }
        }
    }
}

fn json(payload: &Payload) -> Value {
    serde_json::from_slice(payload.json()).unwrap_or_default()
}
