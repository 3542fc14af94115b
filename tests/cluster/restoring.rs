//! A region that lost its majority for good: one member starts it anew, and the others join it.

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::{Result, ensure};
use landbridge_model::{Era, MemberId, Region as RegionName};
use landbridge_store::{GroupId, Source, StoreConfig, StoreLimits, Timing, Work, restore};
use landbridge_tests::{
    region::Region,
    wait::{until_async, within},
};

use serde_json::Value;

use crate::{
    clients::shown,
    forming::{all_show, three},
    refilling::{SOON, all_vote, persist_at_last},
};

fn names(numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut names: Vec<_> = numbers.map(shown).collect();
    names.sort();
    names
}

/// What a member is told at its start, for a deed while it does not run.
pub fn config(region: &Region, member: u16) -> Result<StoreConfig> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let voters: BTreeMap<_, _> = region.members().into_iter().map(|id| (MemberId(id), "".into())).collect();
    Ok(StoreConfig {
        dir: region.data(member).join("raft"),
        member: MemberId(member),
        group: GroupId { deployment: "demo".into(), region: RegionName::parse("east")? },
        voters,
        era: Era(now.as_millis() as u64),
        disk: now.subsec_nanos().into(),
        limits: StoreLimits::ORDINARY,
        timing: Timing::ORDINARY,
        work: Work::Threads,
    })
}

async fn era(region: &Region, member: u16) -> u64 {
    until_async("a member tells its era", SOON, async || {
        region.page(member, "regions").await?[0]["era"].as_u64().filter(|era| *era > 0)
    })
    .await
}

/// Waits until a member holds these instances. Its clients are answered later: a region that was started anew settles first.
async fn all_held(region: &Region, member: u16, instances: &[String]) {
    let mut held = Vec::new();
    let whole = async || {
        let rows =
            region.page(member, "instances?namespace=public&group=DEFAULT_GROUP&service=stays").await?;
        let name = |row: &Value| format!("{}:{}", row["ip"].as_str().unwrap_or_default(), row["port"]);
        held = rows.as_array()?.iter().map(name).collect();
        held.sort();
        (held == instances).then_some(())
    };
    if within(SOON, whole).await.is_none() {
        panic!("member {member} holds {held:?}, not {instances:?}\n{}", region.tell_all().await);
    }
}

pub async fn the_last_member_starts_a_region_anew_and_the_others_join_whatever_they_hold() -> Result<()> {
    let mut region = three().await?;
    all_vote(&region, 3).await;
    for number in 0..4 {
        persist_at_last(&region, 1, "stays", number).await;
    }
    all_show(&region, "stays", &names(0..4)).await;
    let before = era(&region, 3).await;
    for member in 1..=3 {
        region.kill(member)?;
    }
    std::fs::remove_dir_all(region.data(2))?;

    let restored = restore(&config(&region, 3)?, &Source::OwnDisk)?;
    ensure!(restored.era.0 > before, "era {:?} does not come after {before}", restored.era);
    region.start(3)?;
    persist_at_last(&region, 3, "stays", 4).await;

    // One comes with an empty disk, the other with what it held before; that counts no more.
    region.start(2)?;
    region.start(1)?;
    until_async("the one of before notices and ends", SOON, async || {
        region.ended_by_itself(1).ok().flatten()
    })
    .await;
    ensure!(region.log(1).contains("was started anew"), "it said:\n{}", region.log(1));
    region.kill(1)?;
    region.start(1)?;
    all_vote(&region, 3).await;
    for member in 1..=3 {
        all_held(&region, member, &names(0..5)).await;
        ensure!(era(&region, member).await == restored.era.0, "member {member} is of another era");
    }
    Ok(())
}
