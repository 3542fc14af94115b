//! A table that changes under load, and rests in between: no call may notice which.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use landbridge_client::{Endpoint as Listed, Table};
use landbridge_model::{Address, Cluster, Metadata, Region, ServiceKey, Zone};
use landbridge_tests::wait::until_async;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    endpoint::Endpoint,
    house::{House, page},
    load::{CALL_WITHIN, Load},
    size::Size,
};

/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Endpoints of every service that is only listed.
const ENDPOINTS: u16 = 20;

/// Services that lose and gain endpoints with each change.
const TOUCHED: u32 = 10;

/// Changes at a stretch; then the table rests as long.
const CHANGES_PER_WINDOW: usize = 20;

/// Publishes one table after another while calls run, counts what fails, and tells how long calls took in and between.
pub(crate) fn changing(size: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let failed = runtime.unwrap().block_on(change(size)).unwrap();
    assert!(failed.is_empty(), "{} calls failed, the first with {}", failed.len(), failed[0]);
}

async fn change(size: &Size) -> Result<Vec<String>> {
    let called = [Endpoint::start("east/a/1")?, Endpoint::start("east/a/2")?, Endpoint::start("east/b/1")?];
    let ports = called.each_ref().map(|one| one.address.port());
    let house = House::open(&page(&[], "")).await?;
    let mut table = Table::default();
    for number in 0..size.services {
        table.services.insert(key(&format!("listed-{number}")), listed(1_024..1_024 + ENDPOINTS));
    }
    table.services.insert(key("called"), listed(ports));
    house.tables.send_replace(Arc::new(table.clone()));
    let load = Load::start(house.address, "any.test", "/svc/called/", size.rate);
    until_async("the service is known", PATIENCE, async || (load.answered() > 0).then_some(())).await;

    let mut pace = interval(Duration::from_secs(1) / size.pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = Instant::now();
    let mut windows = Vec::new();
    for first in (0..size.changes).step_by(CHANGES_PER_WINDOW) {
        for changing in [true, false] {
            for turn in first..size.changes.min(first + CHANGES_PER_WINDOW as u32) {
                pace.tick().await;
                if changing {
                    alter(&mut table, size, turn, &ports);
                    house.tables.send_replace(Arc::new(table.clone()));
                }
            }
            windows.push((Instant::now(), changing));
        }
    }
    let took = begun.elapsed();
    load.stop();
    let calls = until_async("every call has ended", PATIENCE + CALL_WITHIN, async || {
        load.settled().filter(|calls| calls.len() as u64 >= load.sent())
    });
    // Calls from before the table was known are none of its changes.
    let calls: Vec<_> = calls.await.into_iter().filter(|call| call.sent >= begun).collect();
    println!(
        "tables: {} changes in {:.1} s over {} services of {ENDPOINTS} endpoints, windows of {CHANGES_PER_WINDOW}",
        size.changes,
        took.as_secs_f64(),
        size.services,
    );
    for (what, changing) in [("changing", true), ("quiet", false)] {
        let within = |sent: Instant| windows.iter().find(|window| sent < window.0).map(|window| window.1);
        let calls = calls.iter().filter(|call| within(call.sent) == Some(changing));
        let mut times: Vec<_> = calls.map(|call| call.took).collect();
        times.sort();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        println!("  {what:<10} {} calls, p50 {:?}, p99 {:?}", times.len(), at(50), at(99));
    }
    Ok(calls.into_iter().filter_map(|call| call.outcome.err()).collect())
}

/// Takes one endpoint from the service that is called, never the same twice running, and alters some others.
fn alter(table: &mut Table, size: &Size, turn: u32, ports: &[u16]) {
    let missing = ports[turn as usize % ports.len()];
    let left = ports.iter().copied().filter(|port| *port != missing);
    table.services.insert(key("called"), listed(left));
    for touched in 0..TOUCHED.min(size.services) {
        let number = (turn * TOUCHED + touched) % size.services;
        let count = ENDPOINTS - 1 + (turn % 2) as u16;
        table.services.insert(key(&format!("listed-{number}")), listed(1_024..1_024 + count));
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::parse("", "", name).unwrap()
}

fn listed(ports: impl IntoIterator<Item = u16>) -> Arc<[Listed]> {
    let one = |port| Listed {
        ip: Address::parse("127.0.0.1").unwrap(),
        port,
        cluster: Cluster::parse("").unwrap(),
        origin: Region::parse("east").unwrap(),
        zone: Zone::parse("a").unwrap(),
        weight: 1.0,
        healthy: true,
        enabled: true,
        unverified: false,
        stale: false,
        metadata: Metadata::default(),
    };
    ports.into_iter().map(one).collect()
}
