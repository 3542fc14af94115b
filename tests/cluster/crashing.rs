//! Members that are killed again and again under writes: nothing that was answered is lost, and writes go on soon.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use landbridge_tests::{
    region::Region,
    wait::until_async,
    writing::{AGAIN_WITHIN, GIVEN_UP_AFTER, Writing, patient},
};

use crate::{
    NotRun, beside,
    forming::three,
    losing::WRITES_WITHIN,
    registering::Registering,
    writers::{all_kept, keep, keeping},
};

/// Times that all members are killed at once, unless `ALL_KILLS` says otherwise.
const ALL_KILLS: u32 = 10;

/// Times that the leader is killed, unless `LEADER_KILLS` says otherwise.
const LEADER_KILLS: u32 = 3;

/// Clients that write at each member that is left when a leader is killed.
pub const CLIENTS: usize = 4;

/// So long after a leader's death no write is refused or given up, on a machine that does nothing else.
const CALM_AFTER: Duration = Duration::from_secs(3);

/// What the environment says, or what is done unless it says something.
pub fn times(name: &str, unless_said: u32) -> u32 {
    std::env::var(name).ok().and_then(|said| said.parse().ok()).unwrap_or(unless_said)
}

pub async fn no_answered_write_is_lost_though_all_are_killed_again_and_again() -> Result<()> {
    let mut region = three().await?;
    let members: Vec<_> = region.members().into_iter().map(|member| region.http(member)).collect();
    let writing = keeping(&members);

    let rounds = times("ALL_KILLS", ALL_KILLS);
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..rounds {
        writing.goes_on().await;
        let killed = Instant::now();
        for member in region.members() {
            region.kill(member)?;
        }
        region.start_all()?;
        writing.goes_on().await;
        longest = longest.max(writing.gap_since(killed).unwrap_or_default());
    }
    region.all_ready().await;

    let (_, refused) = writing.counts();
    let answered = all_kept(writing, &region).await?;
    let took = begun.elapsed().as_secs_f64();
    println!(
        "  {rounds} kills of all: {answered} answered, 0 lost, {refused} refused, longest gap {longest:?}, {took:.0} s"
    );
    Ok(())
}

/// What the death of a leader cost those that write at the others.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// The longest time without an answer.
    silent: Duration,
    /// How long after the death a write was last refused or given up.
    refused_until: Duration,
}

impl Gap {
    /// What it cost so far; where it is held against something, looks until nothing can fail for the death's sake any more.
    pub async fn of(writing: &Writing, killed: Instant) -> Self {
        if times("BESIDE_ETCD", 0) > 0 || times("GAP_MAX_MS", 0) > 0 {
            let calm = async || (killed.elapsed() > CALM_AFTER + GIVEN_UP_AFTER).then_some(());
            until_async("the death is over", AGAIN_WITHIN, calm).await;
        }
        Self {
            silent: writing.gap_since(killed).unwrap_or_default(),
            refused_until: writing.refused_until(killed).unwrap_or_default(),
        }
    }
}

async fn keep_patiently(at: SocketAddr, number: u32) -> bool {
    patient(keep(at, number)).await
}

/// One row of the table: who, how many deaths, the worst, the middle and the least gap, and the last failure after a death.
fn tell(who: &str, gaps: &[Gap]) -> Duration {
    let mut silent: Vec<_> = gaps.iter().map(|gap| gap.silent).collect();
    silent.sort();
    let until = gaps.iter().map(|gap| gap.refused_until).max().unwrap_or_default();
    let (least, worst) = (silent.first().copied().unwrap_or_default(), silent.last().copied());
    let middle = silent.get(silent.len() / 2).copied().unwrap_or_default();
    println!(
        "  {who:<12} {:>6} {:>11} {:>11} {:>11} {:>20}",
        gaps.len(),
        format!("{:.0} ms", worst.unwrap_or_default().as_secs_f64() * 1e3),
        format!("{:.0} ms", middle.as_secs_f64() * 1e3),
        format!("{:.0} ms", least.as_secs_f64() * 1e3),
        format!("{:.0} ms", until.as_secs_f64() * 1e3),
    );
    worst.unwrap_or_default()
}

async fn gaps_of_ours(rounds: u32) -> Result<Vec<Gap>> {
    let mut region = Region::new(3)?;
    // The paces that members are given by default, not those that are patient with a busy machine.
    region.sets.retain(|set| !set.starts_with("raft."));
    region.start_all()?;
    region.all_ready().await;
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        let leader = region.leader().await;
        let rest: Vec<u16> = region.members().into_iter().filter(|member| *member != leader).collect();
        let at: Vec<_> = rest.iter().map(|member| region.http(*member)).collect();
        let writing = Writing::start(&at, CLIENTS, keep_patiently);
        writing.goes_on().await;
        let (registering, killed) = (Registering::start(&at), Instant::now());
        region.kill(leader)?;
        writing.goes_on().await;
        gaps.push(Gap::of(&writing, killed).await);
        registering.end("while nobody led")?;
        region.start(leader)?;
        region.ready(leader).await;
        all_kept(writing, &region).await?;
    }
    Ok(gaps)
}

pub async fn writes_go_on_soon_after_each_death_of_the_leader() -> Result<()> {
    let rounds = times("LEADER_KILLS", LEADER_KILLS);
    let ours = gaps_of_ours(rounds).await?;
    let theirs = match times("BESIDE_ETCD", 0) {
        0 => None,
        _ => Some(beside::gaps(rounds).await),
    };

    println!("  without an answer  deaths       worst      middle       least   last failure after");
    let worst = tell("landbridge", &ours);
    match theirs {
        None => {}
        Some(Ok(gaps)) => {
            tell("etcd", &gaps);
        }
        Some(Err(error)) if error.is::<NotRun>() => println!("  etcd         {error}"),
        Some(Err(error)) => return Err(error),
    }
    ensure!(worst < WRITES_WITHIN, "writes stood still for {worst:?}");
    let judged = u64::from(times("GAP_MAX_MS", 0));
    if judged > 0 {
        let until = ours.iter().map(|gap| gap.refused_until).max().unwrap_or_default();
        ensure!(worst <= Duration::from_millis(judged), "writes stood still for {worst:?}, not {judged} ms");
        ensure!(until <= CALM_AFTER, "a write failed {until:?} after a leader's death");
    }
    Ok(())
}
