//! Members that are killed: nothing alive is missing from the answers of those that are ready.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use landbridge_tests::wait::until_async;

use crate::{
    clients::{Beating, Looking, persisted, register, shown},
    forming::{SEEN_WITHIN, all_show, three},
};

/// Clients that beat.
const CLIENTS: u32 = 20;

/// After a leader's death writes go on within this, on a machine that does other things too.
pub const WRITES_WITHIN: Duration = Duration::from_secs(20);

fn names(numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut names: Vec<_> = numbers.map(shown).collect();
    names.sort();
    names
}

pub async fn beating_clients_of_a_killed_member_are_taken_over_and_it_comes_back() -> Result<()> {
    let mut region = three().await?;
    // They know the victim first, so that their records stand in its feed.
    let order = [2, 3, 1].map(|member| region.http(member)).to_vec();
    let beating = Beating::start(order, "orders", 0..CLIENTS, Duration::from_secs(2));
    all_show(&region, "orders", &names(0..CLIENTS)).await;
    let looking = Looking::start(&region, vec![("orders".to_owned(), CLIENTS as usize)]);

    region.kill(2)?;
    // Longer than a lease (30 s): whoever was not taken over would be gone.
    let killed = Instant::now();
    until_async("a lease and a half pass", Duration::from_secs(60), async || {
        (killed.elapsed() > Duration::from_secs(40)).then_some(())
    })
    .await;
    all_show(&region, "orders", &names(0..CLIENTS)).await;
    until_async("member 2 is dead to member 3, and in Nacos's list of nodes", SEEN_WITHIN, async || {
        let status = region.page(3, "members").await?;
        let (_, down) = region.ask(3, "GET", "/nacos/v1/core/cluster/nodes?state=DOWN").await;
        (status[1]["state"] == "DOWN" && down.contains(&region.http(2).to_string())).then_some(())
    })
    .await;
    region.start(2)?;
    region.ready(2).await;
    all_show(&region, "orders", &names(0..CLIENTS)).await;

    looking.end().await?;
    beating.stop().await;
    Ok(())
}

pub async fn a_killed_leader_stops_no_registration_and_writes_go_on_soon() -> Result<()> {
    let mut region = three().await?;
    persisted(region.http(1), "stays", 1).await;
    let leader = region.leader().await;
    let rest: Vec<u16> = region.members().into_iter().filter(|member| *member != leader).collect();

    region.kill(leader)?;
    let killed = Instant::now();
    for (member, number) in rest.iter().zip(10..) {
        register(&region, *member, "orders", number).await?;
    }
    persisted(region.http(rest[0]), "stays", 2).await;
    println!("  the first write after the leader's death took {:?}", killed.elapsed());

    all_show(&region, "stays", &names(1..3)).await;
    all_show(&region, "orders", &names(10..12)).await;
    region.start(leader)?;
    region.ready(leader).await;
    all_show(&region, "stays", &names(1..3)).await;
    let leaders = until_async("one leads", SEEN_WITHIN, async || {
        let rows = region.page(leader, "members").await?;
        let leaders = rows.as_array()?.iter().filter(|row| row["raft"] == "leader").count();
        (leaders > 0).then_some(leaders)
    });
    ensure!(leaders.await == 1, "one leads");
    Ok(())
}
