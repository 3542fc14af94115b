//! Prints what a lone member's store costs here: its starts, its memory, and one durable proposal.
//!
//! `cargo run --release -p landbridge-store --example cost [directory to keep]`

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use landbridge_model::{
    Address, Cluster, Era, Instance, InstanceKey, MemberId, Metadata, Region, ServiceKey,
};
use landbridge_registry_core::Command;
use landbridge_store::{Applied, GroupId, NoPeers, Store, StoreConfig, StoreLimits, Timing, Work};
use tokio::sync::mpsc;

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        dir: dir.to_owned(),
        member: MemberId(1),
        group: GroupId { deployment: "cost".into(), region: Region::parse("here").expect("a valid name") },
        voters: BTreeMap::from([(MemberId(1), "127.0.0.1:7848".into())]),
        era: Era(1),
        disk: 1,
        limits: StoreLimits::ORDINARY,
        timing: Timing::ORDINARY,
        work: Work::Threads,
    }
}

/// A persistent instance with a usual amount of metadata.
fn put(number: u32) -> Command {
    let [_, b, c, d] = number.to_be_bytes();
    let metadata = [("version", "1.2.3"), ("zone", "a"), ("team", "payments")];
    let metadata = metadata.map(|(key, value)| (key.into(), value.into()));
    Command::PutPersistent {
        service: ServiceKey::parse("public", "pay", "orders").expect("a valid key"),
        key: InstanceKey {
            ip: Address::parse(&format!("10.{b}.{c}.{d}")).expect("a valid address"),
            port: 8080,
            cluster: Cluster::parse("DEFAULT").expect("a valid label"),
        },
        instance: Arc::new(Instance::plain(Metadata::new(metadata).expect("a small metadata"))),
    }
}

/// A number of `/proc/self/status`, in KiB.
fn memory_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// CPU time of this process, all threads, in clock ticks of 10 ms.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

async fn open(dir: &Path, what: &str) -> (Store, mpsc::Receiver<Applied>) {
    let started = Instant::now();
    let opened = Store::open(config(dir), Arc::new(NoPeers)).await.expect("the store opens");
    println!("{what:<34} {:>9.1} ms until it can commit", started.elapsed().as_secs_f64() * 1e3);
    opened
}

async fn measure(store: &Store, writers: u32, each: u32, from: u32) {
    let (started, used, commits) = (Instant::now(), cpu(), store.commits());
    let writers_tasks = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..each {
                store.propose(&put(from + writer * each + number)).await.expect("a majority answers");
            }
        })
    });
    for task in writers_tasks.collect::<Vec<_>>() {
        task.await.expect("no writer panics");
    }
    let (took, count) = (started.elapsed(), f64::from(writers * each));
    let synced = store.commits();
    println!(
        "{writers:>3} writers: {:>7.0} proposals/s, {:>6.1} us CPU each, {:>5.1} entries a sync, resident {:.1} MiB",
        count / took.as_secs_f64(),
        (cpu() - used).as_secs_f64() * 1e6 / count,
        (synced.1 - commits.1) as f64 / (synced.0 - commits.0).max(1) as f64,
        memory_kib("VmRSS") as f64 / 1024.0,
    );
}

#[tokio::main]
async fn main() {
    let passing = tempfile::tempdir().expect("a directory");
    let dir = std::env::args().nth(1).map_or_else(|| passing.path().to_owned(), PathBuf::from);
    let before = memory_kib("VmRSS");
    let (store, mut applied) = open(&dir, "start").await;
    tokio::spawn(async move { while applied.recv().await.is_some() {} });
    let used = cpu();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!(
        "idle: resident {:.1} MiB ({:.1} before the store), {:.2} % of one processor",
        memory_kib("VmRSS") as f64 / 1024.0,
        before as f64 / 1024.0,
        (cpu() - used).as_secs_f64() / 5.0 * 100.0
    );
    measure(&store, 1, 2_000, 0).await;
    measure(&store, 16, 500, 10_000).await;
    measure(&store, 256, 100, 50_000).await;
    store.shutdown().await.expect("it closes");

    let (store, _applied) = open(&dir, "restart with 35,600 instances").await;
    println!("resident {:.1} MiB", memory_kib("VmRSS") as f64 / 1024.0);
    store.shutdown().await.expect("it closes");
}
