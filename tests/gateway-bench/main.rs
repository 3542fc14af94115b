//! Measures a gateway from outside, beside a bare relay and other proxies in the same run; says which musts hold.
//!
//! `cargo bench -p landbridge-tests --bench gateway [-- ROW ...]`, rows: `small`, `middle`, `large` (bodies of 100 B,
//! 10 KiB and 100 KiB over HTTP/1), `http2`, `pace` (open loop), `idle` (memory), and what the suite `gateway` counts:
//! `faults`, `smuggling`, `changes`; all unless named. `ROUNDS=1` makes the first six quick,
//! `ADAPTIVE=0` leaves adaptive admission out. Every proxy is a process of its own with one worker; its CPU is the kernel's
//! count for that process. haproxy and nginx are taken from the path, Envoy from the variable `ENVOY`; what is not there is `unavailable`.

mod load;
mod peers;
mod servers;
mod suite;
mod table;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use landbridge_tests::process::Process;
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use self::{
    load::{Done, Load},
    peers::{Peer, Version},
    table::{Must, Row, Verdict},
};

/// As the deployed program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds; the median counts, and the proxies take turns in each.
const ROUNDS: usize = 5;

/// Connections of the closed loop.
const CONNECTIONS: usize = 64;

/// HTTP/2 connections, and streams on each.
const SHARED: (usize, usize) = (4, 32);

/// Calls a second of the open loop.
const PACE: u32 = 2_000;

/// Connections that idle.
const IDLE: usize = 1_000;

/// How long they idle before they are weighed.
const IDLE_FOR: Duration = Duration::from_secs(3);

const ROWS: [&str; 9] =
    ["small", "middle", "large", "http2", "pace", "idle", "faults", "smuggling", "changes"];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let Some(role) = arguments.first().and_then(|word| word.strip_prefix("serve-")) {
        return servers::serve(role, &arguments[1..]);
    }
    if arguments.is_empty() {
        arguments = ROWS.map(str::to_owned).to_vec();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    if let Err(error) = tell_features() {
        println!("FAILED: {error:#}");
        return ExitCode::FAILURE;
    }
    let (mut failed, mut verdicts) = (false, Vec::new());
    for row in &arguments {
        match runtime.block_on(measure(row)) {
            Ok(found) => verdicts.extend(found),
            Err(error) => {
                println!("{row}: FAILED: {error:#}");
                failed = true;
            }
        }
    }
    println!("musts:");
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints what the measured gateway has switched on.
fn tell_features() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [listen, admin] = [1, 2].map(peers::loopback);
    let places = servers::Places { listen, admin, backends: [3, 4], http2: false };
    println!("on, in every row of the gateway:");
    for feature in servers::switched_on(&servers::page(&places, folder.path())?)? {
        println!("  {feature}");
    }
    Ok(())
}

fn rounds() -> Result<usize> {
    match std::env::var("ROUNDS") {
        Ok(text) => text.parse().context("ROUNDS is a number"),
        Err(_) => Ok(ROUNDS),
    }
}

async fn measure(row: &str) -> Result<Vec<Verdict>> {
    let closed = |path, body, calls| Load::Closed { path, body, calls, connections: CONNECTIONS };
    match row {
        "small" => {
            let musts = [Must("haproxy", 1.20), Must("envoy", 0.6), Must("relay", 1.15)];
            calls("100 B", Version::One, closed("/100", 100, 40_000), &musts).await
        }
        "middle" => {
            calls("10 KiB", Version::One, closed("/10240", 10_240, 20_000), &[Must("haproxy", 1.25)]).await
        }
        "large" => {
            calls("100 KiB", Version::One, closed("/102400", 102_400, 6_000), &[Must("haproxy", 0.9)]).await
        }
        "http2" => {
            let load = Load::Shared { path: "/100", body: 100, calls: 40_000, shared: SHARED };
            calls("h2 to h2", Version::Two, load, &[Must("haproxy", 1.8)]).await
        }
        "pace" => {
            let load = Load::Open { path: "/100", body: 100, per_second: PACE, seconds: 4 };
            calls("100 B at 2,000/s", Version::One, load, &[]).await
        }
        "idle" => idle().await,
        "faults" => suite::play("whatever --strict --rate 500 --watch 5 --jobs 1"),
        "smuggling" => suite::play("two_readers another_request"),
        "changes" => {
            suite::play("table_changes --strict --rate 500 --changes 1000 --pace 10 --services 5000")
        }
        other => bail!("no such row: {other} ({})", ROWS.join(", ")),
    }
}

/// A proxy that runs, and what it did.
struct Runner {
    peer: Peer,
    process: Process,
    address: SocketAddr,
    rounds: Vec<(f64, Done)>,
    _files: TempDir,
}

/// Starts the backends and every proxy there is.
async fn start(version: Version) -> Result<(Process, Vec<Runner>)> {
    let (backends, ports) = servers::backends().await?;
    let mut runners = Vec::new();
    for peer in Peer::ALL {
        match peer.start(version, &ports).await? {
            Ok((process, address, files)) => {
                runners.push(Runner { peer, process, address, rounds: Vec::new(), _files: files });
            }
            Err(why) => println!("  {}: unavailable: {why}", peer.name()),
        }
    }
    Ok((backends, runners))
}

/// Measures CPU per call and prints the row.
async fn calls(what: &str, version: Version, load: Load, musts: &[Must]) -> Result<Vec<Verdict>> {
    println!("{what}:");
    let (_backends, mut runners) = start(version).await?;
    for runner in &runners {
        load.brief()
            .run(runner.address)
            .await
            .with_context(|| format!("{} warming up", runner.peer.name()))?;
    }
    for _ in 0..rounds()? {
        for runner in &mut runners {
            let before = runner.process.cpu_s()?;
            let done = load.run(runner.address).await.context(runner.peer.name())?;
            let spent_us = (runner.process.cpu_s()? - before) * 1e6 / done.calls as f64;
            ensure!(done.failed == 0, "{}: {} calls failed", runner.peer.name(), done.failed);
            runner.rounds.push((spent_us, done));
        }
    }
    let rows: Vec<Row> = runners.iter().map(|runner| Row::of(runner.peer.name(), &runner.rounds)).collect();
    Ok(table::print(what, "CPU us/call", &rows, musts))
}

/// Measures memory of idle connections and prints the row.
async fn idle() -> Result<Vec<Verdict>> {
    println!("{IDLE} idle connections:");
    let (_backends, runners) = start(Version::One).await?;
    let mut rows = Vec::new();
    for runner in &runners {
        let load = Load::Closed { path: "/100", body: 100, calls: 2_000, connections: CONNECTIONS };
        load.run(runner.address).await?;
        let before = runner.process.rss_mib()?;
        let held = load::hold(runner.address, IDLE).await?;
        sleep_until(Instant::now() + IDLE_FOR).await;
        let mib = runner.process.rss_mib()? - before;
        drop(held);
        rows.push(Row::single(runner.peer.name(), mib));
    }
    Ok(table::print_absolute("1,000 idle connections", "MiB", &rows, 6.0))
}
