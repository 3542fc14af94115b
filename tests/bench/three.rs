//! Three members on loopback, beside three of etcd where it is installed (Debian's `etcd-server`): forming, persistent
//! writes, how soon all members tell of a change, and kill -9 under writes and with instances.

mod dying;
mod etcd;
mod forming;
mod returning;
mod telling;
mod writing;

use std::time::Duration;

use anyhow::Result;
use landbridge_tests::region::Region;

/// How much is measured.
pub struct Scale {
    /// Rounds in which both kinds of servers take turns; the median counts.
    pub rounds: usize,
    /// Persistent writes of one round.
    pub writes: usize,
    /// Changes that are told.
    pub changes: usize,
    /// Connections that are closed.
    pub closings: usize,
    /// Regions that are started.
    pub starts: usize,
    /// Times that the leader, and times that all members are killed under writes.
    pub deaths: usize,
    /// Instances that come back after a kill.
    pub instances: u32,
}

/// What the targets ask for.
pub const WHOLE: Scale =
    Scale { rounds: 5, writes: 5_000, changes: 300, closings: 50, starts: 6, deaths: 10, instances: 5_000 };

/// Whether everything still runs; its figures mean nothing.
pub const QUICK: Scale =
    Scale { rounds: 1, writes: 60, changes: 5, closings: 2, starts: 1, deaths: 1, instances: 100 };

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    forming::measure(scale).await?;
    writing::measure(scale).await?;
    telling::measure(scale).await?;
    dying::measure(scale).await?;
    returning::measure(scale).await
}

/// Three members, none of which is started, with the paces of the default page.
fn region() -> Result<Region> {
    let mut region = Region::new(3)?;
    region.sets.retain(|set| !set.starts_with("raft."));
    region.sets.push("log.level=warn".to_owned());
    Ok(region)
}

/// A region of three that is ready.
async fn ready() -> Result<Region> {
    let mut region = region()?;
    region.start_all()?;
    region.all_ready().await;
    Ok(region)
}

/// The value below which so many percent of all are; values must not be empty.
pub fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// A time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Whether the must of a row holds, in words.
pub fn verdict(holds: bool) -> &'static str {
    if holds { "must held" } else { "MUST MISSED" }
}
