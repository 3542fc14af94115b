//! Bridges that die, regions that die, and peers that stand still beside one that does not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{
    wait::within,
    wire::{Flow, Wire},
};

use crate::{
    Choice, load,
    pace::Pair,
    place::{PATIENCE, Place},
};

/// Changes a second while something dies.
const UNDER_WAY: u32 = 200;

/// How long they go on.
const AROUND: Duration = Duration::from_secs(20);

/// When in that time something dies.
const DIES_AFTER: Duration = Duration::from_secs(5);

/// Instances of a region that dies.
const HELD: u32 = 1_000;

/// What a thin wire carries, bytes a second.
const THIN_BYTES_PER_S: u32 = 1_024;

/// Kill -9 of the bridge that imports: how long nothing came, and whether anything is missing afterwards.
pub async fn takeover(chosen: &Choice) -> Result<()> {
    let mut pair = Pair::start(chosen.delay, 2).await?;
    let importer = pair.west.importer("east").await?;
    load::pace(pair.east.grpc(), UNDER_WAY, Duration::from_secs(1)).await?;
    pair.quiet().await?;
    pair.watcher.forget();
    let grpc = pair.east.grpc();
    let loading = tokio::spawn(async move { load::pace(grpc, UNDER_WAY, AROUND).await });
    let begun = Instant::now();
    let later = async || (begun.elapsed() >= DIES_AFTER).then_some(());
    within(AROUND, later).await.context("time passes")?;
    pair.west.bridges[importer].take().context("it runs")?.kill()?;
    let (made, _) = loading.await.context("the load panicked")??;
    pair.quiet().await?;
    let (gap, came) = pair.watcher.look(|seen| (seen.longest_gap, seen.took_us.len()));
    println!(
        "the importing bridge killed under {UNDER_WAY} changes/s: nothing came for {:.2} s (must 5 s); {made} made, {came} came one \
         by one, the others within a later one",
        gap.as_secs_f64()
    );
    level(&pair, 1 - importer).await
}

/// Both sides of a link hold the same: nothing was lost.
async fn level(pair: &Pair, bridge: usize) -> Result<()> {
    let level = async || {
        let (there, here) =
            (pair.east.region_at(0, "east").await?, pair.west.region_at(bridge, "east").await?);
        let is_level = here["lag_seqs"] == 0 && here["records"].as_u64()? + 8 >= there["records"].as_u64()?;
        is_level.then(|| here["records"].as_u64())?
    };
    let records = within(PATIENCE, level).await.context("something was lost")?;
    println!("  nothing lost: the far side is level with the writer, {records} records");
    Ok(())
}

/// A whole region dies: how long until it is called frozen, and whether all of it is still there.
pub async fn dead(chosen: &Choice) -> Result<()> {
    let mut pair = Pair::start(chosen.delay, 1).await?;
    let _held = load::fill(pair.east.grpc(), "held", HELD).await?;
    pair.quiet().await?;
    let before = pair.watcher.look(|seen| seen.records);
    pair.east.bridges[0].take().context("it runs")?.kill()?;
    pair.east.member.take().context("it runs")?.kill()?;
    let killed = Instant::now();
    let is_frozen = async || (pair.west.region_at(0, "east").await?["standing"] == "frozen").then_some(());
    within(PATIENCE, is_frozen).await.context("it is never called frozen")?;
    let took = killed.elapsed();
    let after = pair.watcher.look(|seen| seen.records);
    ensure!(before == after && after >= HELD as usize, "{before} records before, {after} after");
    println!(
        "a whole region dead: frozen after {:.1} s (must 15 s), {after} of {before} records kept",
        took.as_secs_f64()
    );
    Ok(())
}

/// Another peer stands still, or hangs on a thin wire: how late changes arrive at this one.
pub async fn apart(chosen: &Choice) -> Result<()> {
    let pair = Pair::start(chosen.delay, 1).await?;
    let wire = Wire::to(pair.east.bridge_feeds(0), chosen.delay).await?;
    let mut north = Place::new(&pair.authority, "north", 1)?;
    north.start_member().await?;
    pair.east.let_leave("north").await?;
    north.start_bridge(&pair.authority, 0, &[("east", vec![wire.port()])])?;
    let live = async || (north.region_at(0, "east").await?["standing"] == "live").then_some(());
    within(PATIENCE, live).await.context("north's link does not come up")?;
    let mut first = None;
    for (flow, what) in [
        (Flow::Open, "well"),
        (Flow::Held, "standing still"),
        (Flow::Slow(THIN_BYTES_PER_S), "on a wire of 1 KB/s"),
    ] {
        wire.set(flow);
        pair.watcher.forget();
        load::pace(pair.east.grpc(), chosen.rate, chosen.lasts).await?;
        pair.quiet().await?;
        let (p50, p99) = pair.watcher.look(|seen| (seen.late_ms(0.5), seen.late_ms(0.99)));
        let well = *first.get_or_insert(p99);
        let mib = pair.east.bridge_mib(0)?;
        println!(
            "beside a peer {what}: p50 {p50:.1} ms, p99 {p99:.1} ms ({:+.0} %; must 10), the exporting bridge {mib:.0} MiB",
            (p99 / well - 1.0) * 100.0
        );
    }
    Ok(())
}
