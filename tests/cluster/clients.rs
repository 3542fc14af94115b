//! Clients as SDKs are: they know every member, go to the next when one does not answer, and register again when nobody
//! knows them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use landbridge_tests::{http, region::Region, wait::until_async};
use serde_json::Value;
use tokio::{task::JoinHandle, time::interval};

/// Where a client's instance lives.
pub fn address(number: u32) -> (String, u16) {
    (format!("10.1.{}.{}", number / 250, number % 250), 8000)
}

/// As [`Region::shown`] names it.
pub fn shown(number: u32) -> String {
    let (ip, port) = address(number);
    format!("{ip}:{port}")
}

/// Registers an instance at one member, which must take it.
pub async fn register(region: &Region, member: u16, service: &str, number: u32) -> Result<()> {
    let said = write(region.http(member), "POST", service, number, "").await;
    ensure!(said.as_ref().is_some_and(|(status, _)| *status == 200), "not registered: {said:?}");
    Ok(())
}

/// Registers a persistent instance; false if the member could not decide or did not answer.
pub async fn persist(at: SocketAddr, service: &str, number: u32) -> bool {
    let said = write(at, "POST", service, number, "&ephemeral=false").await;
    said.is_some_and(|(status, _)| status == 200)
}

/// How long it is asked until a persistent write is taken: longer than an election on a machine that does other things.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Registers a persistent instance, and asks until it is taken: right after a change of leader nobody may decide.
pub async fn persisted(at: SocketAddr, service: &str, number: u32) {
    let what = format!("{at} takes a persistent write");
    until_async(&what, TAKEN_WITHIN, async || persist(at, service, number).await.then_some(())).await;
}

async fn write(
    at: SocketAddr,
    method: &str,
    service: &str,
    number: u32,
    more: &str,
) -> Option<(u16, String)> {
    let (ip, port) = address(number);
    let path = format!("/nacos/v1/ns/instance?serviceName={service}&ip={ip}&port={port}{more}");
    http::ask(at, method, &path).await
}

/// HTTP clients that beat until they are dropped.
pub struct Beating {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Beating {
    /// So many clients that beat at the first of these members that answers, each once in `every`.
    pub fn start(
        members: Vec<SocketAddr>,
        service: &str,
        numbers: std::ops::Range<u32>,
        every: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, service) = (Arc::clone(&stop), service.to_owned());
        let task = tokio::spawn(async move {
            let mut beat = interval(every / numbers.len().max(1) as u32);
            let mut prefer = 0;
            for number in numbers.cycle() {
                beat.tick().await;
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                prefer = beat_once(&members, prefer, &service, number).await;
            }
        });
        Self { stop, task }
    }

    /// No more beats.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.abort();
        // An aborted task ends with an error that says so.
        let _ = self.task.await;
    }
}

/// One light beat, and a registration if nobody knows the client; gives the member that answered.
async fn beat_once(members: &[SocketAddr], prefer: usize, service: &str, number: u32) -> usize {
    let (ip, port) = address(number);
    let path = format!("/nacos/v1/ns/instance/beat?serviceName={service}&ip={ip}&port={port}");
    for step in 0..members.len() {
        let place = (prefer + step) % members.len();
        let Some((200, text)) = http::ask(members[place], "PUT", &path).await else { continue };
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        if said["code"] == 20404 {
            write(members[place], "POST", service, number, "").await;
        }
        return place;
    }
    prefer
}

/// What members answered while somebody looked all the time.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers with everything in them.
    pub whole: u64,
    /// Members that did not answer.
    pub refused: u64,
    /// Answers that lacked something: when, who, of which service, and how many were shown.
    pub lacking: Vec<(Duration, u16, String, usize)>,
}

/// Asks every member without pause.
pub struct Looking {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

impl Looking {
    /// Asks for services of which at least so many instances live all the time.
    pub fn start(region: &Region, services: Vec<(String, usize)>) -> Self {
        let members: BTreeMap<u16, SocketAddr> =
            region.members().into_iter().map(|member| (member, region.http(member))).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (mut seen, begun) = (Seen::default(), Instant::now());
            let mut pause = interval(Duration::from_millis(10));
            for (service, least) in services.iter().cycle() {
                for (member, at) in &members {
                    if ended.load(Ordering::Relaxed) {
                        return seen;
                    }
                    pause.tick().await;
                    match count(*at, service).await {
                        Some(count) if count >= *least => seen.whole += 1,
                        Some(count) => {
                            seen.lacking.push((begun.elapsed(), *member, service.clone(), count));
                        }
                        None => seen.refused += 1,
                    }
                }
            }
            seen
        });
        Self { stop, task }
    }

    /// What was seen; an answer that lacked something is a failure.
    pub async fn end(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.task.await?;
        let first = seen.lacking.first();
        ensure!(first.is_none(), "{} answers lacked something, first {first:?}", seen.lacking.len());
        ensure!(seen.whole > 0, "nobody looked: {seen:?}");
        Ok(seen)
    }
}

/// How many instances a member shows of a service; none if it does not answer.
pub async fn count(at: SocketAddr, service: &str) -> Option<usize> {
    let path = format!("/nacos/v1/ns/instance/list?serviceName={service}");
    let (status, text) = http::ask(at, "GET", &path).await?;
    let said: Value = (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()?;
    Some(said["hosts"].as_array()?.len())
}
