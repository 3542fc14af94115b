//! kill -9 under persistent writes: how long nobody is answered when the leader dies, beside etcd, and whether anything that was
//! answered is lost when all die.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use landbridge_tests::{
    etcd::{self, Etcd},
    http,
    region::Region,
    wait::until_async,
};
use tokio::{
    task::JoinHandle,
    time::{interval, timeout},
};

use super::{Scale, ms, percentile, verdict};

/// The must of the targets for the longest time without an answer.
const MUST: Duration = Duration::from_secs(1);

/// Clients that write at each member.
const CLIENTS: usize = 4;

/// Between two writes of one client.
const PACE: Duration = Duration::from_millis(10);

/// A client gives a write up after this, and makes another one.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(300);

/// Answers that are waited for between two deaths.
const BETWEEN: usize = 50;

/// Writes go on within this, or never.
const AGAIN_WITHIN: Duration = Duration::from_secs(120);

/// Instances of one service.
const PER_SERVICE: u32 = 500;

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    let mut ours = gaps(scale.deaths).await?;
    let worst = percentile(&mut ours, 100);
    println!(
        "write gap after kill -9 of the leader: worst {:.0} ms, median {:.0} ms of {} (<= 1 s: {})",
        ms(worst),
        ms(percentile(&mut ours, 50)),
        ours.len(),
        verdict(worst <= MUST)
    );
    match gaps_of_etcd(scale.deaths).await? {
        None => println!("  etcd: unavailable"),
        Some(mut theirs) => println!(
            "  etcd: worst {:.0} ms, median {:.0} ms",
            ms(percentile(&mut theirs, 100)),
            ms(percentile(&mut theirs, 50))
        ),
    }
    let (answered, lost) = lost(scale.deaths).await?;
    println!(
        "acknowledged persistent writes lost, kill -9 of all {} times: {lost} of {answered} (0: {})",
        scale.deaths,
        verdict(lost == 0)
    );
    println!("  power cut of all: a test of its own, cargo test -p landbridge-tests --test cluster -- power");
    Ok(())
}

/// Clients that write without pause, and when which number was answered.
struct Writers {
    answered: Arc<Mutex<Vec<(Instant, u32)>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start<W>(members: &[SocketAddr], write: fn(SocketAddr, u32) -> W) -> Self
    where
        W: Future<Output = bool> + Send + 'static,
    {
        let (answered, next) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU32::new(1)));
        let client = |at: SocketAddr| {
            let (answered, next) = (Arc::clone(&answered), Arc::clone(&next));
            tokio::spawn(async move {
                let mut pace = interval(PACE);
                loop {
                    pace.tick().await;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if timeout(GIVEN_UP_AFTER, write(at, number)).await.unwrap_or(false) {
                        let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
                        answered.push((Instant::now(), number));
                    }
                }
            })
        };
        let tasks = members.iter().flat_map(|at| [*at; CLIENTS]).map(client).collect();
        Self { answered, tasks }
    }

    /// What has been answered so far.
    fn answered(&self) -> Vec<(Instant, u32)> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until more is answered.
    async fn go_on(&self) {
        let wanted = self.answered().len() + BETWEEN;
        let enough = async || (self.answered().len() >= wanted).then_some(());
        until_async("writes are answered", AGAIN_WITHIN, enough).await;
    }

    /// The longest time without an answer since a moment.
    fn gap_since(&self, moment: Instant) -> Duration {
        let mut last = moment;
        let later = self.answered().into_iter().map(|(at, _)| at).filter(|at| *at > moment);
        later.map(|at| at.duration_since(std::mem::replace(&mut last, at))).max().unwrap_or_default()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn address(number: u32) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

async fn keep(at: SocketAddr, number: u32) -> bool {
    let (service, ip) = (number / PER_SERVICE, address(number));
    let path = format!("/nacos/v1/ns/instance?serviceName=kept-{service}&ip={ip}&port=80&ephemeral=false");
    http::ask(at, "POST", &path).await.is_some_and(|(status, _)| status == 200)
}

async fn gaps(deaths: usize) -> Result<Vec<Duration>> {
    let (mut region, mut gaps) = (super::ready().await?, Vec::new());
    for _ in 0..deaths {
        let leader = region.leader().await;
        let rest = region.members().into_iter().filter(|member| *member != leader);
        let writers = Writers::start(&rest.map(|member| region.http(member)).collect::<Vec<_>>(), keep);
        writers.go_on().await;
        let killed = Instant::now();
        region.kill(leader)?;
        writers.go_on().await;
        gaps.push(writers.gap_since(killed));
        drop(writers);
        region.start(leader)?;
        region.ready(leader).await;
    }
    Ok(gaps)
}

async fn gaps_of_etcd(deaths: usize) -> Result<Option<Vec<Duration>>> {
    let Some(mut etcd) = Etcd::start()? else { return Ok(None) };
    let mut gaps = Vec::new();
    for _ in 0..deaths {
        let leader = etcd.leader().await;
        let rest = etcd.members().into_iter().filter(|member| *member != leader);
        let writers = Writers::start(&rest.map(|member| etcd.address(member)).collect::<Vec<_>>(), etcd::put);
        writers.go_on().await;
        let killed = Instant::now();
        etcd.kill(leader)?;
        writers.go_on().await;
        gaps.push(writers.gap_since(killed));
        drop(writers);
        etcd.start_one(leader)?;
    }
    Ok(Some(gaps))
}

/// How many writes were answered, and how many of these some member does not show in the end.
async fn lost(deaths: usize) -> Result<(usize, usize)> {
    let mut region = super::ready().await?;
    let members: Vec<_> = region.members().into_iter().map(|member| region.http(member)).collect();
    let writers = Writers::start(&members, keep);
    for _ in 0..deaths {
        writers.go_on().await;
        for member in region.members() {
            region.kill(member)?;
        }
        region.start_all()?;
    }
    writers.go_on().await;
    let answered = writers.answered();
    drop(writers);
    region.all_ready().await;
    let mut lost = 0;
    for member in region.members() {
        lost = lost.max(missing(&region, member, &answered).await);
    }
    Ok((answered.len(), lost))
}

/// How many of these a member that is asked in order (`linearizable`) does not show.
async fn missing(region: &Region, member: u16, answered: &[(Instant, u32)]) -> usize {
    let mut missing = 0;
    let mut of: std::collections::BTreeMap<u32, Vec<u32>> = std::collections::BTreeMap::new();
    for (_, number) in answered {
        of.entry(number / PER_SERVICE).or_default().push(*number);
    }
    for (service, numbers) in of {
        let path = format!("/nacos/v1/ns/instance/list?serviceName=kept-{service}");
        let wish = [("landbridge-consistency", "linearizable")];
        let list = until_async("the member answers", AGAIN_WITHIN, async || {
            let (status, text) = http::send(region.http(member), "GET", &path, &wish, "").await?;
            (status == 200).then_some(text)
        })
        .await;
        let is_there = |number: &&u32| list.contains(&format!("\"{}\"", address(**number)));
        missing += numbers.len() - numbers.iter().filter(is_there).count();
    }
    missing
}
