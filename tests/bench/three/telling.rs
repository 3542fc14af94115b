//! How soon a change at one member is answered by a second one and pushed by a third, and how soon the end of a connection is
//! pushed by all of them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use landbridge_tests::{
    sdk::{Connection, ask_well, connect, enrolment, service},
    wait::until_async,
};
use landbridge_wire::nacos::{
    ClusterFilter,
    grpc::{Payload, RequestClient, ask},
};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::transport::Channel;

use super::{Scale, ms, percentile, verdict};

/// Pushes that were heard and not looked at yet.
const TOLD_MAX: usize = 1_024;

/// A change is told within this, or never.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Pushes of one service are merged for less than this (`naming.push_merge_ms`); a change after it goes out at once.
const MERGED: Duration = Duration::from_millis(80);

/// The musts of the targets: answered elsewhere, pushed elsewhere, an end pushed everywhere.
const MUSTS_MS: [u64; 3] = [50, 100, 200];

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    let region = super::ready().await?;
    let changes: Vec<String> = (0..scale.changes).map(|place| format!("change-{place}")).collect();
    let closings: Vec<String> = (0..scale.closings).map(|place| format!("closing-{place}")).collect();
    let mut writer = connect(region.grpc(1)).await?;
    let mut reader = connect(region.grpc(2)).await?;
    let mut listener = Listener::start(region.grpc(3), &changes).await?;

    let (mut answered, mut pushed) = (Vec::new(), Vec::new());
    for name in &changes {
        let begun = Instant::now();
        let writes = ask_well(&mut writer.requests, ask::register(&service(name), &enrolment(1)));
        let reads = answers(&mut reader.requests, name);
        let (written, read, told) = tokio::join!(writes, reads, listener.told(name, 1));
        written?;
        answered.push(read?.duration_since(begun));
        pushed.push(told?.duration_since(begun));
    }

    let mut listeners = Vec::new();
    for member in region.members() {
        listeners.push(Listener::start(region.grpc(member), &closings).await?);
    }
    let mut closed = Vec::new();
    for name in &closings {
        let mut connection = connect(region.grpc(1)).await?;
        ask_well(&mut connection.requests, ask::register(&service(name), &enrolment(1))).await?;
        for listener in &mut listeners {
            listener.told(name, 1).await?;
        }
        let last_push = Instant::now();
        let quiet = async || (last_push.elapsed() > MERGED).then_some(());
        until_async("no push is held back", TOLD_WITHIN, quiet).await;
        let begun = Instant::now();
        drop(connection);
        let mut last = begun;
        for listener in &mut listeners {
            last = last.max(listener.told(name, 0).await?);
        }
        closed.push(last.duration_since(begun));
    }
    for (what, (mut times, must)) in
        ["change visible at another member", "change pushed there", "connection closes -> pushed everywhere"]
            .into_iter()
            .zip([answered, pushed, closed].into_iter().zip(MUSTS_MS))
    {
        let (median, high) = (percentile(&mut times, 50), percentile(&mut times, 99));
        let holds = verdict(high <= Duration::from_millis(must));
        println!(
            "{what}: p50 {:.1} ms, p99 {:.1} ms of {} (<= {must} ms: {holds})",
            ms(median),
            ms(high),
            times.len()
        );
    }
    Ok(())
}

/// Asks a member without pause until it shows the instance.
async fn answers(requests: &mut RequestClient<Channel>, name: &str) -> Result<Instant> {
    let shown = async {
        loop {
            let query = ask::query(&service(name), &ClusterFilter::default(), false);
            if hosts(&json(&ask_well(requests, query).await?)["serviceInfo"]) == 1 {
                return Ok(Instant::now());
            }
        }
    };
    timeout(TOLD_WITHIN, shown).await.with_context(|| format!("{name} is never shown"))?
}

/// A subscriber, and what it was told when.
struct Listener {
    told: mpsc::Receiver<(String, usize, Instant)>,
    hears: JoinHandle<()>,
}

impl Listener {
    async fn start(at: SocketAddr, services: &[String]) -> Result<Self> {
        let mut connection = connect(at).await?;
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let requests = connection.requests.clone();
        let hears = tokio::spawn(async move {
            // When the member or the measurement is over there is nothing more to hear.
            let _ = hear(&mut connection, &tell).await;
        });
        for name in services {
            let subscribe = ask::subscribe(&service(name), &ClusterFilter::default(), true);
            ask_well(&mut requests.clone(), subscribe).await?;
        }
        Ok(Self { told, hears })
    }

    /// Waits for a push of a service with so many instances.
    async fn told(&mut self, name: &str, count: usize) -> Result<Instant> {
        let heard = async {
            loop {
                let (of, hosts, at) = self.told.recv().await.context("the member ended the stream")?;
                if of == name && hosts == count {
                    return Ok(at);
                }
            }
        };
        timeout(TOLD_WITHIN, heard).await.with_context(|| format!("{name} with {count} is never pushed"))?
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hears.abort();
    }
}

async fn hear(connection: &mut Connection, tell: &mpsc::Sender<(String, usize, Instant)>) -> Result<()> {
    while let Some(word) = connection.heard.message().await? {
        let (at, said) = (Instant::now(), json(&word));
        let id = said["requestId"].as_str().unwrap_or_default();
        if word.type_name() == "NotifySubscriberRequest" {
            connection.words.send(ask::notified(id)).await?;
            let list = &said["serviceInfo"];
            tell.send((list["name"].as_str().unwrap_or_default().to_owned(), hosts(list), at)).await?;
        } else if word.type_name() == "ClientDetectionRequest" {
            connection.words.send(ask::detected(id)).await?;
        }
    }
    Ok(())
}

fn hosts(list: &Value) -> usize {
    list["hosts"].as_array().map_or(0, Vec::len)
}

fn json(payload: &Payload) -> Value {
    serde_json::from_slice(payload.json()).unwrap_or_default()
}
