//! A member that joins a region with many instances: it is ready soon, shows all of them at once, and nobody is evicted.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use landbridge_tests::{
    region::Region,
    sdk::{Connection, ask_well, connect, enrolment, service},
    wait::until_async,
};
use landbridge_wire::nacos::grpc::ask;

use crate::{
    clients::{Beating, Looking, count},
    crashing::times,
    forming::all_are_seen,
};

/// Instances that the region has, unless `JOIN_INSTANCES` says otherwise.
const INSTANCES: u32 = 2_000;

/// Instances of one service.
const PER_SERVICE: u32 = 100;

/// Connections that publish them.
const CONNECTIONS: u32 = 8;

/// Clients that beat meanwhile; whoever is evicted would be missed.
const BEATS: u32 = 20;

fn name(place: u32) -> String {
    format!("crowd-{place}")
}

/// Publishes all instances at the first two members.
async fn publish(region: &Region, services: u32) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        connections.push(connect(region.grpc(1 + number as u16 % 2)).await?);
    }
    for place in 0..services {
        let set: Vec<_> = (place * PER_SERVICE..(place + 1) * PER_SERVICE).map(enrolment).collect();
        let connection = &mut connections[(place % CONNECTIONS) as usize];
        ask_well(&mut connection.requests, ask::register_batch(&service(&name(place)), &set)).await?;
    }
    Ok(connections)
}

pub async fn a_member_that_joins_shows_everything_at_once_and_nobody_is_evicted() -> Result<()> {
    let mut region = Region::new(3)?;
    region.start(1)?;
    region.start(2)?;
    region.all_ready().await;
    let services = times("JOIN_INSTANCES", INSTANCES).div_ceil(PER_SERVICE);
    let begun = Instant::now();
    let connections = publish(&region, services).await?;
    println!("  {} instances were published in {:?}", services * PER_SERVICE, begun.elapsed());
    let http = [1, 2].map(|member| region.http(member)).to_vec();
    let beating = Beating::start(http, "orders", 0..BEATS, Duration::from_secs(4));
    let wanted = [("orders".to_owned(), BEATS as usize), (name(services - 1), PER_SERVICE as usize)];
    all_are_seen(&region, &wanted).await;
    let looking = Looking::start(&region, wanted.to_vec());

    let begun = Instant::now();
    region.start(3)?;
    region.ready(3).await;
    let ready = begun.elapsed();

    for place in 0..services {
        let shown = until_async("it answers", Duration::from_secs(60), async || {
            count(region.http(3), &name(place)).await
        });
        ensure!(shown.await == PER_SERVICE as usize, "{} lacks somebody when it is ready", name(place));
    }
    let seen = looking.end().await?;
    println!("  it was ready after {ready:?} with all of them; {} whole answers meanwhile", seen.whole);
    beating.stop().await;
    drop(connections);
    Ok(())
}
