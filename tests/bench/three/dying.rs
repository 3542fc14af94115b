//! kill -9 under persistent writes: how long nobody is answered when the leader dies, beside etcd, and whether anything that was
//! answered is lost when all die.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use landbridge_tests::{
    etcd::Etcd,
    http,
    region::Region,
    wait::until_async,
    writing::{Writing, patient},
};

use super::{Scale, ms, percentile, verdict};

/// The must of the targets for the longest time without an answer.
const MUST: Duration = Duration::from_secs(1);

/// Clients that write at each member.
const CLIENTS: usize = 4;

/// A member answers within this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

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

fn address(number: u32) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

async fn keep(at: SocketAddr, number: u32) -> bool {
    let (service, ip) = (number / PER_SERVICE, address(number));
    let path = format!("/nacos/v1/ns/instance?serviceName=kept-{service}&ip={ip}&port=80&ephemeral=false");
    http::ask(at, "POST", &path).await.is_some_and(|(status, _)| status == 200)
}

async fn keep_patiently(at: SocketAddr, number: u32) -> bool {
    patient(keep(at, number)).await
}

async fn gaps(deaths: usize) -> Result<Vec<Duration>> {
    let (mut region, mut gaps) = (super::ready().await?, Vec::new());
    for _ in 0..deaths {
        let leader = region.leader().await;
        let rest = region.members().into_iter().filter(|member| *member != leader);
        let rest: Vec<_> = rest.map(|member| region.http(member)).collect();
        let writing = Writing::start(&rest, CLIENTS, keep_patiently);
        writing.goes_on().await;
        let killed = Instant::now();
        region.kill(leader)?;
        writing.goes_on().await;
        gaps.push(gap(&writing, killed));
        drop(writing);
        region.start(leader)?;
        region.ready(leader).await;
    }
    Ok(gaps)
}

async fn gaps_of_etcd(deaths: usize) -> Result<Option<Vec<Duration>>> {
    let Some(mut etcd) = Etcd::start()? else { return Ok(None) };
    etcd.deaths(deaths, CLIENTS, async |writing, killed| gap(writing, killed)).await.map(Some)
}

/// The longest time without an answer since a death.
fn gap(writing: &Writing, killed: Instant) -> Duration {
    writing.gap_since(killed).unwrap_or_default()
}

/// How many writes were answered, and how many of these some member does not show in the end.
async fn lost(deaths: usize) -> Result<(usize, usize)> {
    let mut region = super::ready().await?;
    let members: Vec<_> = region.members().into_iter().map(|member| region.http(member)).collect();
    let writing = Writing::start(&members, CLIENTS, keep_patiently);
    for _ in 0..deaths {
        writing.goes_on().await;
        for member in region.members() {
            region.kill(member)?;
        }
        region.start_all()?;
    }
    writing.goes_on().await;
    let answered = writing.end();
    region.all_ready().await;
    let mut lost = 0;
    for member in region.members() {
        lost = lost.max(missing(&region, member, &answered).await);
    }
    Ok((answered.len(), lost))
}

/// How many of these a member that is asked in order (`linearizable`) does not show.
async fn missing(region: &Region, member: u16, answered: &BTreeSet<u32>) -> usize {
    let mut missing = 0;
    let mut of: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for number in answered {
        of.entry(number / PER_SERVICE).or_default().push(*number);
    }
    for (service, numbers) in of {
        let path = format!("/nacos/v1/ns/instance/list?serviceName=kept-{service}");
        let wish = [("landbridge-consistency", "linearizable")];
        let list = until_async("the member answers", ANSWERED_WITHIN, async || {
            let (status, text) = http::send(region.http(member), "GET", &path, &wish, "").await?;
            (status == 200).then_some(text)
        })
        .await;
        let is_there = |number: &&u32| list.contains(&format!("\"{}\"", address(**number)));
        missing += numbers.len() - numbers.iter().filter(is_there).count();
    }
    missing
}
