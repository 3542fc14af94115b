//! Members that are killed again and again under writes: nothing that was answered is lost, and writes go on soon.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use landbridge_tests::{region::Region, wait::until_async};

use crate::{clients::register, forming::three, losing::WRITES_WITHIN, writers::Writing};

/// Times that all members are killed at once, unless `ALL_KILLS` says otherwise.
const ALL_KILLS: u32 = 10;

/// Times that the leader is killed, unless `LEADER_KILLS` says otherwise.
const LEADER_KILLS: u32 = 3;

/// Writes that are answered between two kills.
const WRITES_BETWEEN: usize = 30;

/// After such a kill writes go on within this, the members' start counted in.
const AGAIN_WITHIN: Duration = Duration::from_secs(120);

/// What the environment says, or what is done unless it says something.
pub fn times(name: &str, unless_said: u32) -> u32 {
    std::env::var(name).ok().and_then(|said| said.parse().ok()).unwrap_or(unless_said)
}

async fn more_are_answered(writing: &Writing) {
    let (before, _) = writing.counts();
    until_async("writes are answered", AGAIN_WITHIN, async || {
        (writing.counts().0 >= before + WRITES_BETWEEN).then_some(())
    })
    .await;
}

pub async fn no_answered_write_is_lost_though_all_are_killed_again_and_again() -> Result<()> {
    let mut region = three().await?;
    let members: Vec<_> = region.members().into_iter().map(|member| region.http(member)).collect();
    let writing = Writing::start(&members);

    let rounds = times("ALL_KILLS", ALL_KILLS);
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..rounds {
        more_are_answered(&writing).await;
        let killed = Instant::now();
        for member in region.members() {
            region.kill(member)?;
        }
        region.start_all()?;
        more_are_answered(&writing).await;
        longest = longest.max(writing.gap_since(killed).unwrap_or_default());
    }
    region.all_ready().await;

    let (_, refused) = writing.counts();
    let answered = writing.end(&region).await?;
    let took = begun.elapsed().as_secs_f64();
    println!(
        "  {rounds} kills of all: {answered} answered, 0 lost, {refused} refused, longest gap {longest:?}, {took:.0} s"
    );
    Ok(())
}

pub async fn writes_go_on_soon_after_each_death_of_the_leader() -> Result<()> {
    let mut region = Region::new(3)?;
    // The paces that members are given by default, not those that are patient with a busy machine.
    region.sets.retain(|set| !set.starts_with("raft."));
    region.start_all()?;
    region.all_ready().await;
    let mut gaps = Vec::new();

    for round in 0..times("LEADER_KILLS", LEADER_KILLS) {
        let leader = region.leader().await;
        let rest: Vec<u16> = region.members().into_iter().filter(|member| *member != leader).collect();
        let writing = Writing::start(&rest.iter().map(|member| region.http(*member)).collect::<Vec<_>>());
        more_are_answered(&writing).await;
        let killed = Instant::now();
        region.kill(leader)?;
        for (member, number) in rest.iter().zip(0..) {
            register(&region, *member, "orders", round * 10 + number).await?;
        }
        more_are_answered(&writing).await;
        gaps.push(writing.gap_since(killed).unwrap_or_default());
        region.start(leader)?;
        region.ready(leader).await;
        writing.end(&region).await?;
    }

    gaps.sort();
    println!("  gaps between answered writes around a leader's death: {gaps:?}");
    let worst = gaps.last().copied().unwrap_or_default();
    ensure!(worst < WRITES_WITHIN, "writes stood still for {worst:?}");
    Ok(())
}
