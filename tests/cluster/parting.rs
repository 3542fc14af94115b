//! A member that is cut off from the others: both sides answer and take what vouches for itself, and come together again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use landbridge_tests::{gate::Gate, http, region::Region, wait::until_async};

use crate::{
    clients::{address, persist, persisted, register, shown},
    forming::all_show,
    registering::Registering,
};

/// The member that is cut off.
const FAR: u16 = 3;

/// After a cut was mended all catalogs are equal within this.
const EQUAL_WITHIN: Duration = Duration::from_secs(5);

/// What was deleted is looked for so long after that.
const LOOKED_FOR: Duration = Duration::from_secs(5);

/// Takes this long at most until a cut is noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// Doors for what members call each other, by caller and called; from the members' next start on they use them.
pub async fn doors(region: &mut Region, pairs: &[(u16, u16)]) -> Result<Vec<((u16, u16), Gate)>> {
    let mut gates = Vec::new();
    for (from, to) in pairs.iter().copied() {
        let (raft, feeds) = region.inner_ports(to);
        let (raft, feeds) = (Gate::to(raft).await?, Gate::to(feeds).await?);
        region.detour(from, to, raft.port(), feeds.port());
        gates.extend([((from, to), raft), ((from, to), feeds)]);
    }
    Ok(gates)
}

async fn sees(region: &Region, member: u16, other: usize, state: &str) {
    until_async(&format!("member {member} sees another one as {state}"), NOTICED_WITHIN, async || {
        let rows = region.page(member, "members").await?;
        (rows[other - 1]["state"] == state).then_some(())
    })
    .await;
}

/// Every service with its instances, as each member shows it.
async fn catalogs(region: &Region) -> Option<Vec<BTreeMap<String, Vec<String>>>> {
    let mut catalogs = Vec::new();
    for member in region.members() {
        let mut catalog = BTreeMap::new();
        for row in region.page(member, "services").await?.as_array()? {
            let service = row["service"].as_str()?.to_owned();
            let shown = region.shown(member, &service).await?;
            catalog.insert(service, shown);
        }
        catalogs.push(catalog);
    }
    Some(catalogs)
}

/// The members where an instance was deleted never show it again.
async fn near_lacks(region: &Region, gone: &String) {
    for member in region.members().into_iter().filter(|member| *member != FAR) {
        let shown = region.shown(member, "orders").await.unwrap_or_default();
        assert!(!shown.contains(gone), "what was deleted is back at member {member}");
    }
}

pub async fn a_member_that_was_cut_off_comes_back_to_the_same_and_nothing_deleted_returns() -> Result<()> {
    let mut region = Region::new(3)?;
    let gates = doors(&mut region, &[(1, FAR), (2, FAR), (FAR, 1), (FAR, 2)]).await?;
    region.start_all()?;
    region.all_ready().await;
    for number in 1..4 {
        register(&region, FAR, "orders", number).await?;
    }
    all_show(&region, "orders", &[shown(1), shown(2), shown(3)]).await;

    let everywhere: Vec<_> = region.members().into_iter().map(|member| region.http(member)).collect();
    let registering = Registering::start(&everywhere);
    gates.iter().for_each(|(_, gate)| gate.set(false));
    sees(&region, FAR, 1, "DOWN").await;
    sees(&region, 1, usize::from(FAR), "DOWN").await;
    register(&region, FAR, "orders", 30).await?;
    register(&region, 1, "orders", 10).await?;
    let (ip, port) = address(1);
    let path = format!("/nacos/v1/ns/instance?serviceName=orders&ip={ip}&port={port}");
    let gone = http::ask(region.http(1), "DELETE", &path).await;
    ensure!(gone.as_ref().is_some_and(|(status, _)| *status == 200), "not deregistered: {gone:?}");
    // The one that is cut off may have led.
    persisted(region.http(2), "stays", 1).await;
    ensure!(!persist(region.http(FAR), "stays", 2).await, "one of three is no majority");
    until_async("each side shows what it took", NOTICED_WITHIN, async || {
        let (near, far) = (region.shown(1, "orders").await?, region.shown(FAR, "orders").await?);
        let near = near.contains(&shown(10)) && !near.contains(&shown(1));
        (near && far.contains(&shown(30)) && far.contains(&shown(1))).then_some(())
    })
    .await;

    registering.end("on both sides of the cut")?;
    gates.iter().for_each(|(_, gate)| gate.set(true));
    let healed = Instant::now();
    let mut together = [shown(2), shown(3), shown(10), shown(30)];
    together.sort();
    let equal = until_async("all catalogs are equal", NOTICED_WITHIN, async || {
        near_lacks(&region, &shown(1)).await;
        let shown = catalogs(&region).await?;
        let is_whole = shown[0].get("orders").is_some_and(|orders| orders[..] == together);
        (is_whole && shown.iter().all(|other| *other == shown[0])).then(|| healed.elapsed())
    })
    .await;
    println!("  all catalogs were equal {equal:?} after the cut was mended");
    ensure!(equal <= EQUAL_WITHIN, "catalogs were equal {equal:?} after the cut was mended");
    all_show(&region, "stays", &[shown(1)]).await;
    until_async("nothing deleted returns", NOTICED_WITHIN, async || {
        near_lacks(&region, &shown(1)).await;
        let far = region.shown(FAR, "orders").await?;
        assert!(!far.contains(&shown(1)), "what was deleted is back at the member that was cut off");
        (healed.elapsed() > equal + LOOKED_FOR).then_some(())
    })
    .await;
    sees(&region, FAR, 1, "UP").await;
    all_show(&region, "orders", &together).await;
    Ok(())
}
