//! Members that end in order: their clients move first, and nobody misses anything meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use landbridge_tests::region::Region;

use crate::{
    clients::{Beating, Looking, persisted, shown},
    forming::all_show,
    refilling::{all_vote, group},
    writers::keeping,
};

/// Clients that beat.
const CLIENTS: u32 = 20;

fn names() -> Vec<String> {
    let mut names: Vec<_> = (0..CLIENTS).map(shown).collect();
    names.sort();
    names
}

/// A region of three whose members never end because they have waited long enough.
async fn patient() -> Result<Region> {
    let mut region = Region::new(3)?;
    region.sets.push("cluster.drain_ms=3600000".to_owned());
    region.start_all()?;
    region.all_ready().await;
    Ok(region)
}

pub async fn a_member_that_ends_hands_its_clients_over_and_nobody_blinks() -> Result<()> {
    let mut region = patient().await?;
    let leaver = region.leader().await;
    let mut order: Vec<u16> = region.members();
    order.sort_by_key(|member| *member != leaver);
    let order: Vec<_> = order.into_iter().map(|member| region.http(member)).collect();
    let others: Vec<u16> = region.members().into_iter().filter(|member| *member != leaver).collect();
    let beating = Beating::start(order, "orders", 0..CLIENTS, Duration::from_secs(2));
    all_show(&region, "orders", &names()).await;
    let looking = Looking::start(&region, vec![("orders".to_owned(), CLIENTS as usize)]);

    let asked = Instant::now();
    region.ask_to_end(leaver)?;
    region.ended(leaver).await?;
    println!("  it ended after {:?}", asked.elapsed());
    persisted(region.http(others[0]), "stays", 1).await;
    region.start(leaver)?;
    region.ready(leaver).await;

    all_show(&region, "orders", &names()).await;
    looking.end().await?;
    beating.stop().await;
    Ok(())
}

/// After so long without a leader the members of the next test elect another one, at the earliest.
const ELECTION: Duration = Duration::from_secs(5);

pub async fn a_leader_that_ends_hands_leadership_over_and_writes_do_not_wait_for_an_election() -> Result<()> {
    let mut region = Region::new(3)?;
    let election_ms = ELECTION.as_millis();
    region.sets.extend([
        format!("raft.election_min_ms={election_ms}"),
        format!("raft.election_max_ms={}", election_ms + 1_000),
        format!("raft.answer_ms={}", 2 * election_ms),
    ]);
    region.start_all()?;
    region.all_ready().await;
    all_vote(&region, 3).await;
    let leader = region.leader().await;
    let rest: Vec<u16> = region.members().into_iter().filter(|member| *member != leader).collect();
    let before = group(&region, rest[0]).await.and_then(|group| group["term"].as_u64());
    let before = before.context("it tells its term")?;
    let writing = keeping(&rest.iter().map(|member| region.http(*member)).collect::<Vec<_>>());
    writing.goes_on().await;

    let asked = Instant::now();
    region.ask_to_end(leader)?;
    region.ended(leader).await?;
    writing.goes_on().await;

    let gap = writing.gap_since(asked).context("writes were answered")?;
    let (_, refused) = writing.counts();
    drop(writing);
    println!(
        "  the longest gap between writes was {gap:?}, {refused} were refused; a death costs {ELECTION:?} and more"
    );
    let log = region.log(leader);
    ensure!(log.contains("leadership_handed_over"), "it handed nothing over:\n{log}");
    ensure!(gap < ELECTION, "writes waited {gap:?}, as long as for an election");
    let terms = group(&region, rest[0]).await.context("it tells its term")?["term"].as_u64();
    ensure!(terms == Some(before + 1), "it took more than one election: from term {before} to {terms:?}");
    Ok(())
}

pub async fn members_that_all_end_at_once_do_not_wait_for_each_other() -> Result<()> {
    let mut region = patient().await?;
    for number in 0..CLIENTS {
        persisted(region.http(1), "stays", number).await;
    }
    all_show(&region, "stays", &names()).await;

    let asked = Instant::now();
    for member in region.members() {
        region.ask_to_end(member)?;
    }
    for member in region.members() {
        region.ended(member).await?;
    }
    println!("  all ended within {:?}", asked.elapsed());
    region.start_all()?;
    region.all_ready().await;

    all_show(&region, "stays", &names()).await;
    Ok(())
}
