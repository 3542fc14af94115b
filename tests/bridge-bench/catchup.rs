//! How long a region that knows nothing needs for all of another one, how long one that missed a part, and what a bridge weighs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landbridge_tests::{
    wait::within,
    wire::{Flow, Wire},
};

use crate::{
    Choice, load,
    pace::Pair,
    place::{PATIENCE, Place},
    watcher::Watcher,
};

/// Instances registered while the link is cut and the log is kept.
const MISSED: u32 = 8_000;

/// Measures and prints.
pub async fn measure(chosen: &Choice) -> Result<()> {
    for count in &chosen.counts {
        whole(chosen.delay, *count).await?;
    }
    missed(chosen.delay).await
}

/// A region that has never heard of the other one.
async fn whole(delay: Duration, count: u32) -> Result<()> {
    let pair = Pair::start(delay, 1).await?;
    let idle_mib = pair.west.bridge_mib(0)?;
    let _held = load::fill(pair.east.grpc(), "whole", count).await?;
    reached(&pair.watcher, count).await.context("west does not get all of it")?;
    let mib = pair.west.bridge_mib(0)? - idle_mib;
    println!(
        "memory of an importing bridge: {:.0} B per instance (must 256)",
        mib * 1_048_576.0 / f64::from(count)
    );

    // North starts with nothing, and its wire opens when all of it is ready.
    let wire = Wire::to(pair.east.bridge_feeds(0), delay).await?;
    wire.set(Flow::Cut);
    let mut north = Place::new(&pair.authority, "north", 1)?;
    north.start_member().await?;
    pair.east.let_leave("north").await?;
    north.start_bridge(&pair.authority, 0, &[("east", vec![wire.port()])])?;
    let follows = async || north.region_at(0, "north").await.map(drop);
    within(PATIENCE, follows).await.context("north's bridge does not follow its member")?;
    let near = Watcher::start(&pair.authority, ("north", north.bridge_feeds(0)), "east");
    let far = Watcher::start(&pair.authority, ("north", north.feeds()), "east");
    let before = wire.carried_bytes();
    wire.set(Flow::Open);
    let at_bridge = reached(&near, count).await.context("the bridge does not catch up")?;
    let at_member = reached(&far, count).await.context("the member does not catch up")?;
    let joined = wire.joined().context("the link came up")?.into_std();
    let bytes = (wire.carried_bytes() - before) as f64 / f64::from(count);
    println!(
        "catch-up of {count}, log lost: a follower of the far bridge {:.2} s, of the far member {:.2} s after the connection \
         ({bytes:.1} B each on the wire; must 1 s for 100,000, 8 s for 1,000,000)",
        (at_bridge - joined).as_secs_f64(),
        (at_member - joined).as_secs_f64()
    );
    Ok(())
}

/// A region that was cut off for a while.
async fn missed(delay: Duration) -> Result<()> {
    let pair = Pair::start(delay, 1).await?;
    let _first = load::fill(pair.east.grpc(), "first", MISSED).await?;
    reached(&pair.watcher, MISSED).await.context("west does not get the first part")?;
    let known = pair.watcher.look(|seen| seen.records);
    pair.wire.set(Flow::Cut);
    let _second = load::fill(pair.east.grpc(), "second", MISSED).await?;
    pair.watcher.forget();
    pair.wire.set(Flow::Open);
    let whole = u32::try_from(known).context("few enough")? + MISSED;
    let level = reached(&pair.watcher, whole).await.context("what was missed does not come")?;
    let joined = pair.wire.joined().context("the link came up")?.into_std();
    println!(
        "catch-up of {MISSED} missed, log kept: a follower of the far member {:.2} s after the connection (must 0.5 s for 10,000)",
        (level - joined).as_secs_f64()
    );
    Ok(())
}

/// When a watcher had so many records.
async fn reached(watcher: &Watcher, count: u32) -> Option<Instant> {
    let has = |seen: &crate::watcher::Seen| (seen.records >= count as usize).then_some(seen.latest).flatten();
    within(PATIENCE, async || watcher.look(has)).await
}
