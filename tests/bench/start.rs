//! How long a first start takes until an SDK is answered, and what an idle member weighs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use anyhow::{Result, ensure};
use landbridge_wire::nacos::grpc::{RequestClient, ask};

use landbridge_tests::{
    process::{Process, free_base},
    sdk::{ask_well, dial},
};

/// First starts that are measured; the median counts.
const STARTS: usize = 5;

/// A start must be answered within.
const WITHIN_S: u64 = 20;

/// Measures and prints.
pub async fn measure() -> Result<()> {
    let mut took_ms = Vec::new();
    let mut idle_mib = Vec::new();
    for _ in 0..STARTS {
        let base = free_base()?;
        let data = tempfile::tempdir()?;
        let sets = [
            format!("data_dir={}", data.path().display()),
            format!("listen.http_port={base}"),
            "log.level=warn".to_owned(),
        ];
        let begun = Instant::now();
        let registry = Process::start("registry", &sets)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, base + 1000));
        while !answers(address).await {
            ensure!(begun.elapsed().as_secs() < WITHIN_S, "no answer to a ServerCheck");
            tokio::task::yield_now().await;
        }
        took_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        idle_mib.push(registry.rss_mib()?);
    }
    took_ms.sort_by(f64::total_cmp);
    idle_mib.sort_by(f64::total_cmp);
    println!("first start until a ServerCheck is answered {:6.1} ms", took_ms[STARTS / 2]);
    println!("idle memory                                 {:6.1} MiB", idle_mib[STARTS / 2]);
    Ok(())
}

/// Whether a ServerCheck succeeds.
async fn answers(address: SocketAddr) -> bool {
    match dial(address).await {
        Ok(channel) => ask_well(&mut RequestClient::new(channel), ask::server_check()).await.is_ok(),
        Err(_) => false,
    }
}
