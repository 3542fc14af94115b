//! A member that is cut off from the others: both sides answer and take what vouches for itself, and come together again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use landbridge_tests::{gate::Gate, http, region::Region, wait::until_async};

use crate::{
    clients::{address, persist, persisted, register, shown},
    forming::all_show,
};

/// The member that is cut off.
const FAR: u16 = 3;

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

pub async fn a_member_that_was_cut_off_comes_back_to_the_same_and_nothing_deleted_returns() -> Result<()> {
    let mut region = Region::new(3)?;
    let gates = doors(&mut region, &[(1, FAR), (2, FAR), (FAR, 1), (FAR, 2)]).await?;
    region.start_all()?;
    region.all_ready().await;
    for number in 1..4 {
        register(&region, FAR, "orders", number).await?;
    }
    all_show(&region, "orders", &[shown(1), shown(2), shown(3)]).await;

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

    gates.iter().for_each(|(_, gate)| gate.set(true));
    let healed = Instant::now();
    let mut together = [shown(2), shown(3), shown(10), shown(30)];
    together.sort();
    all_show(&region, "orders", &together).await;
    all_show(&region, "stays", &[shown(1)]).await;
    println!("  all catalogs were equal {:?} after the cut was mended", healed.elapsed());
    sees(&region, FAR, 1, "UP").await;
    all_show(&region, "orders", &together).await;
    Ok(())
}
