//! CPU of the server for each gRPC register and query, beside a bare tonic echo in the same run.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Result;
use landbridge_wire::nacos::{
    ClusterFilter,
    grpc::{Payload, RequestClient, ask},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::transport::Channel;

use landbridge_tests::{
    process::{Process, accepts, free_base},
    sdk::{Connection, ask_well, connect, dial, enrolment, service},
};

/// Connections that ask.
const CONNECTIONS: usize = 8;

/// Calls in flight on each.
const IN_FLIGHT: usize = 16;

/// Calls of one round.
const CALLS: usize = 40_000;

/// Rounds; the median counts, and the three servers take turns in each.
const ROUNDS: usize = 5;

/// Instances of the queried service.
const HOSTS: u32 = 10;

/// Measures and prints.
pub async fn measure() -> Result<()> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (echo_at, base) = (loopback(free_base()?), free_base()?);
    let data = tempfile::tempdir()?;
    let echo = Process::start("echo", &[echo_at.to_string()])?;
    let sets = [
        format!("data_dir={}", data.path().display()),
        format!("listen.http_port={base}"),
        "log.level=warn".to_owned(),
    ];
    let registry = Process::start("registry", &sets)?;
    accepts(echo_at).await?;
    accepts(loopback(base + 1000)).await?;

    let mut echoing = Vec::new();
    let mut talking: Vec<Connection> = Vec::new();
    for _ in 0..CONNECTIONS {
        echoing.push(RequestClient::new(dial(echo_at).await?));
        talking.push(connect(loopback(base + 1000)).await?);
    }
    let hosts: Vec<_> = (0..HOSTS).map(enrolment).collect();
    ask_well(&mut talking[0].requests, ask::register_batch(&service("ten"), &hosts)).await?;
    let clients: Vec<RequestClient<Channel>> = talking.iter().map(|held| held.requests.clone()).collect();
    let filter = ClusterFilter::default();
    let register = |round: usize| {
        move |place: usize| {
            ask::register(&service(&format!("orders-{round}-{place}")), &enrolment(place as u32))
        }
    };
    let renew = |place: usize| {
        let place = place % 1_000;
        ask::register(&service(&format!("orders-0-{place}")), &enrolment(place as u32))
    };
    let query = |_: usize| ask::query(&service("ten"), &filter, false);

    let mut rows = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        rows[0].push(cpu_us(&echo, &echoing, register(round)).await?);
        rows[1].push(cpu_us(&registry, &clients, register(round)).await?);
        rows[2].push(cpu_us(&registry, &clients, renew).await?);
        rows[3].push(cpu_us(&registry, &clients, query).await?);
    }
    let [echo_us, new_us, again_us, query_us] = rows.map(median);
    let row =
        |what: &str, us: f64| println!("{what:30} {us:6.1} CPU us per call, {:.2} x the echo", us / echo_us);
    row("bare tonic echo", echo_us);
    row("gRPC register, new instance", new_us);
    row("gRPC register, the same again", again_us);
    row(&format!("gRPC query of {HOSTS} hosts"), query_us);
    println!("memory with {} instances   {:6.1} MiB", CALLS * ROUNDS, registry.rss_mib()?);
    Ok(())
}

/// Makes one round of calls and divides the server's CPU by their number.
async fn cpu_us(
    server: &Process,
    clients: &[RequestClient<Channel>],
    payload: impl Fn(usize) -> Payload,
) -> Result<f64> {
    let before = server.cpu_s()?;
    let mut calls = JoinSet::new();
    let seats = Arc::new(Semaphore::new(clients.len() * IN_FLIGHT));
    for place in 0..CALLS {
        let seat = Arc::clone(&seats).acquire_owned().await?;
        let mut client = clients[place % clients.len()].clone();
        let payload = payload(place);
        calls.spawn(async move {
            let answer = client.request(payload).await;
            drop(seat);
            answer.map(|answer| answer.into_inner())
        });
        while let Some(done) = calls.try_join_next() {
            expect_taken(&done??)?;
        }
    }
    while let Some(done) = calls.join_next().await {
        expect_taken(&done??)?;
    }
    Ok((server.cpu_s()? - before) * 1e6 / CALLS as f64)
}

/// An echo comes back as it went; a registry's answer must be a success.
fn expect_taken(answer: &Payload) -> Result<()> {
    let refused = answer.json().windows(15).any(|part| part == br#""success":false"#);
    anyhow::ensure!(!refused, "refused: {}", String::from_utf8_lossy(answer.json()));
    Ok(())
}

/// The middle one; values must not be empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
