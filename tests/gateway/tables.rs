//! A table that changes all the time under load: no call may notice.

use std::{sync::Arc, time::Duration};

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

/// Publishes one table after another while calls run, and counts what fails.
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
    let begun = std::time::Instant::now();
    for turn in 0..size.changes {
        pace.tick().await;
        // Each turn one endpoint is missing, never the same twice running.
        let missing = ports[turn as usize % ports.len()];
        table.services.insert(key("called"), listed(ports.into_iter().filter(|port| *port != missing)));
        for touched in 0..TOUCHED.min(size.services) {
            let number = (turn * TOUCHED + touched) % size.services;
            let count = ENDPOINTS - 1 + (turn % 2) as u16;
            table.services.insert(key(&format!("listed-{number}")), listed(1_024..1_024 + count));
        }
        house.tables.send_replace(Arc::new(table.clone()));
    }
    let took = begun.elapsed();
    load.stop();
    let calls = until_async("every call has ended", PATIENCE + CALL_WITHIN, async || {
        load.settled().filter(|calls| calls.len() as u64 >= load.sent())
    });
    // Calls from before the table was known are none of its changes.
    let calls: Vec<_> = calls.await.into_iter().filter(|call| call.sent >= begun).collect();
    let mut times: Vec<_> = calls.iter().map(|call| call.took).collect();
    times.sort();
    println!(
        "tables: {} changes in {:.1} s over {} services of {ENDPOINTS} endpoints, {} calls, p50 {:?}, p99 {:?}",
        size.changes,
        took.as_secs_f64(),
        size.services,
        calls.len(),
        times.get(times.len() / 2).copied().unwrap_or_default(),
        times.get(times.len() * 99 / 100).copied().unwrap_or_default(),
    );
    Ok(calls.into_iter().filter_map(|call| call.outcome.err()).collect())
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
