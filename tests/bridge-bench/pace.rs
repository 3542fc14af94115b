//! How late changes arrive at a pace and what they weigh on the wire, and what a mass restart costs the far side.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{authority::Authority, wait::within, wire::Wire};

use crate::{
    Choice,
    load::{self, Caller},
    place::{PATIENCE, Place},
    watcher::Watcher,
};

/// Instances that restart at once.
const RESTARTING: u32 = 100;

/// Nothing more comes once nothing has come for so long.
const QUIET: Duration = Duration::from_secs(3);

/// East with a bridge, west with some, a wire between them, and somebody who follows west's member.
pub struct Pair {
    pub authority: Authority,
    pub east: Place,
    pub west: Place,
    pub wire: Wire,
    pub watcher: Watcher,
}

impl Pair {
    /// Two regions whose link is up.
    pub async fn start(delay: Duration, west_bridges: usize) -> Result<Self> {
        let authority = Authority::new();
        let mut east = Place::new(&authority, "east", 1)?;
        let mut west = Place::new(&authority, "west", west_bridges)?;
        east.start_member().await?;
        west.start_member().await?;
        east.let_leave("west").await?;
        east.start_bridge(&authority, 0, &[("west", vec![]), ("north", vec![])])?;
        let wire = Wire::to(east.bridge_feeds(0), delay).await?;
        for at in 0..west_bridges {
            west.start_bridge(&authority, at, &[("east", vec![wire.port()])])?;
        }
        let watcher = Watcher::start(&authority, ("west", west.feeds()), "east");
        let pair = Self { authority, east, west, wire, watcher };
        let live = async || (pair.west.region_at(0, "east").await?["standing"] == "live").then_some(());
        within(PATIENCE, live).await.context("the link does not come up")?;
        Ok(pair)
    }

    /// Waits until the watcher has had nothing new for a while.
    pub async fn quiet(&self) -> Result<()> {
        let rests = async || {
            let latest = self.watcher.look(|seen| seen.latest);
            latest.is_some_and(|latest| latest.elapsed() >= QUIET).then_some(())
        };
        within(PATIENCE, rests).await.context("news never end")
    }
}

/// Propagation and bytes per change at a pace, then the bytes of a link on which nothing happens.
pub async fn measure(chosen: &Choice) -> Result<()> {
    let pair = Pair::start(chosen.delay, 1).await?;
    // The first second is for connections and first registrations.
    load::pace(pair.east.grpc(), chosen.rate, Duration::from_secs(1)).await?;
    pair.quiet().await?;
    pair.watcher.forget();
    let before = pair.wire.carried_bytes();
    let (made, took) = load::pace(pair.east.grpc(), chosen.rate, chosen.lasts).await?;
    let bytes = pair.wire.carried_bytes() - before;
    pair.quiet().await?;
    let (p50, p99, max, came) = pair
        .watcher
        .look(|seen| (seen.late_ms(0.5), seen.late_ms(0.99), seen.late_ms(1.0), seen.took_us.len()));
    println!(
        "propagation at {:.0} changes/s, {} ms each way: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms \
         (must 35 / 100 at 10,000/s; {made} made, {came} came one by one)",
        made as f64 / took.as_secs_f64(),
        chosen.delay.as_millis()
    );
    println!("bytes on the wire per registration: {:.0} (must 60, batched)", bytes as f64 / made as f64);
    let before = pair.wire.carried_bytes();
    let begun = Instant::now();
    let passed = async || (begun.elapsed() >= chosen.lasts).then_some(());
    within(2 * chosen.lasts, passed).await.context("time passes")?;
    let idle = (pair.wire.carried_bytes() - before) as f64 / begun.elapsed().as_secs_f64();
    println!("bytes on the wire when nothing changes: {idle:.0} a second, both ways (must 2,048)");
    Ok(())
}

/// 100 instances lose their connections and come back at once: how much the far side writes.
pub async fn restart(chosen: &Choice) -> Result<()> {
    let pair = Pair::start(chosen.delay, 1).await?;
    let callers = all_register(pair.east.grpc()).await?;
    let whole = async || pair.watcher.look(|seen| seen.records >= RESTARTING as usize).then_some(());
    within(PATIENCE, whole).await.context("the first registrations do not arrive")?;
    pair.quiet().await?;
    pair.watcher.forget();
    drop(callers);
    let _callers = all_register(pair.east.grpc()).await?;
    pair.quiet().await?;
    let (writes, removals, records) = pair.watcher.look(|seen| (seen.changes, seen.removals, seen.records));
    ensure!(records >= RESTARTING as usize, "{records} records came back, not {RESTARTING}");
    let made = u64::from(2 * RESTARTING);
    println!(
        "{RESTARTING} instances restarting at once: {writes} writes on the far side ({removals} removals) for {made} changes: {:.2} \
         each (must 1.1)",
        writes as f64 / made as f64
    );
    Ok(())
}

async fn all_register(grpc: u16) -> Result<Vec<Caller>> {
    let mut callers = Vec::new();
    for place in 0..RESTARTING {
        let mut caller = Caller::connect(grpc).await?;
        caller.register_one("restarting", &load::plain(place)).await?;
        callers.push(caller);
    }
    Ok(callers)
}
