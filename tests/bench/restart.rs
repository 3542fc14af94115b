//! kill -9 and restart with thousands of instances, while a consumer keeps asking: no answer may lack one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use landbridge_wire::nacos::grpc::ask;

use landbridge_tests::{
    process::{Process, accepts, free_base},
    sdk::{ask_well, connect, enrolment, service},
    wait::until_async,
};

/// Instances registered over gRPC, in batches of one connection each.
const BY_CONNECTION: u32 = 2_500;

/// Instances registered over HTTP with beats.
const BY_BEAT: u32 = 2_500;

/// Services they are spread over.
const SERVICES: u32 = 50;

/// Copies reach the disk within this (500 ms at most) after the last change; twice that, to be sure.
const CHECKPOINTED: Duration = Duration::from_millis(1_000);

/// After the restart the consumer asks for so long: the clients are gone, but their records stay for longer.
const WATCH: Duration = Duration::from_secs(8);

/// A first start answers within this.
const STARTED_WITHIN: Duration = Duration::from_secs(10);

type Http = Client<HttpConnector, Empty<Bytes>>;

/// Registers, kills, restarts, and asks without pause.
pub async fn measure() -> Result<()> {
    let base = free_base()?;
    let data = tempfile::tempdir()?;
    let sets = [
        format!("data_dir={}", data.path().display()),
        format!("listen.http_port={base}"),
        "log.level=warn".to_owned(),
    ];
    let mut registry = Process::start("registry", &sets)?;
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    accepts(loopback(base + 1000)).await?;
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let answers = async || hosts(&http, base, 0).await.ok().flatten();
    until_async("the registry has started", STARTED_WITHIN, answers).await;

    let mut connections = Vec::new();
    for part in 0..SERVICES {
        let mut connection = connect(loopback(base + 1000)).await?;
        let range = part * (BY_CONNECTION / SERVICES)..(part + 1) * (BY_CONNECTION / SERVICES);
        let set: Vec<_> = range.map(enrolment).collect();
        ask_well(&mut connection.requests, ask::register_batch(&name(part), &set)).await?;
        connections.push(connection);
    }
    for place in 0..BY_BEAT {
        let held = enrolment(BY_CONNECTION + place);
        let service = place % SERVICES;
        let path = format!("instance?serviceName=svc-{service}&ip={}&port={}", held.key.ip, held.key.port);
        let (status, said) = call(&http, base, Method::POST, &path).await?;
        ensure!(status.is_success(), "a registration was refused: {said}");
    }
    let whole = ((BY_CONNECTION + BY_BEAT) / SERVICES) as usize;
    for part in 0..SERVICES {
        let seen = hosts(&http, base, part).await?.context("the registry answers")?;
        ensure!(seen == whole, "svc-{part} has {seen} instances before the kill, not {whole}");
    }
    let registered = Instant::now();
    let saved = async || (registered.elapsed() >= CHECKPOINTED).then_some(());
    until_async("the copies are on disk", 2 * CHECKPOINTED, saved).await;

    registry.kill()?;
    let killed = Instant::now();
    let _registry = Process::start("registry", &sets)?;
    let (mut answers, mut refused, mut first) = (0_u64, 0_u64, None);
    let mut part = 0;
    while killed.elapsed() < WATCH {
        match hosts(&http, base, part).await {
            Ok(Some(seen)) => {
                first.get_or_insert(killed.elapsed());
                ensure!(
                    seen == whole,
                    "after {:?} svc-{part} has {seen} instances, not {whole}",
                    killed.elapsed()
                );
                answers += 1;
                part = (part + 1) % SERVICES;
            }
            // Not there yet, or says that it is starting: no wrong answer.
            Ok(None) | Err(_) => refused += 1,
        }
    }
    let first = first.context("the restarted registry never answered")?;
    println!(
        "kill -9 with {} instances: whole again after {:.0} ms; {answers} answers, none without them ({refused} refused)",
        BY_CONNECTION + BY_BEAT,
        first.as_secs_f64() * 1000.0
    );
    Ok(())
}

fn name(part: u32) -> landbridge_model::ServiceKey {
    service(&format!("svc-{part}"))
}

/// How many instances a list answer has; none if the registry says that it is starting.
async fn hosts(http: &Http, base: u16, part: u32) -> Result<Option<usize>> {
    let (status, said) =
        call(http, base, Method::GET, &format!("instance/list?serviceName=svc-{part}")).await?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return Ok(None);
    }
    ensure!(status.is_success(), "a list was refused: {said}");
    let answer: serde_json::Value = serde_json::from_str(&said)?;
    Ok(Some(answer["hosts"].as_array().context("a list has hosts")?.len()))
}

async fn call(http: &Http, base: u16, method: Method, path: &str) -> Result<(StatusCode, String)> {
    let uri = format!("http://127.0.0.1:{base}/nacos/v1/ns/{path}");
    let answer = http.request(Request::builder().method(method).uri(uri).body(Empty::new())?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
