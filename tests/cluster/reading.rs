//! Reads of what the region has decided: each says how old it may be, and one that asks for everything gets it or a refusal.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landbridge_tests::{
    http,
    region::Region,
    sdk::{connect, service},
    wait::until_async,
};
use landbridge_wire::nacos::{ClusterFilter, grpc::ask};

use crate::{
    clients::{persisted, shown},
    forming::{SEEN_WITHIN, three},
};

/// A local read counts as fresh below this: heartbeats are made once a second, and a slow machine.
const FRESH_MS: u64 = 6_000;

/// How old a read must be said to be before a cut member is believed to say so.
const OLD_MS: u64 = 8_000;

/// An answer: its status, how consistent and how old it says that it is, and its body.
struct Read {
    status: u16,
    consistency: Option<String>,
    staleness_ms: Option<u64>,
    body: String,
}

async fn read(region: &Region, member: u16, consistency: &str, path: &str) -> Option<Read> {
    let at = region.http(member);
    let wish = match consistency {
        "" => String::new(),
        word => format!("landbridge-consistency: {word}\r\n"),
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{wish}\r\n");
    let answer = http::say(at, request.as_bytes()).await?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    Some(Read {
        status: head.split_whitespace().nth(1)?.parse().ok()?,
        consistency: header("landbridge-consistency"),
        staleness_ms: header("landbridge-staleness-ms").and_then(|ms| ms.parse().ok()),
        body: body.to_owned(),
    })
}

pub async fn a_read_says_how_old_it_may_be_and_one_that_wants_everything_needs_a_majority() -> Result<()> {
    let mut region = three().await?;
    let list = "/nacos/v1/ns/instance/list?serviceName=stays";
    for number in 0..20 {
        persisted(region.http(1), "stays", number).await;
        let read = read(&region, 3, "linearizable", list).await.context("member 3 answers")?;
        ensure!(read.status == 200, "refused: {}", read.body);
        ensure!((read.consistency.as_deref(), read.staleness_ms) == (Some("linearizable"), Some(0)));
        let (ip, port) = crate::clients::address(number);
        let is_there = read.body.contains(&format!(r#""{ip}""#)) && read.body.contains(&port.to_string());
        ensure!(
            is_there,
            "{} was answered by member 1 and is not shown by member 3: {}",
            shown(number),
            read.body
        );
    }
    for path in [list, "/landbridge/v1/policies/export", "/nacos/v1/console/namespaces"] {
        until_async("a local read is fresh, and says so", SEEN_WITHIN, async || {
            let read = read(&region, 2, "", path).await?;
            let is_fresh = read.staleness_ms.is_some_and(|ms| ms < FRESH_MS);
            (read.consistency.as_deref() == Some("local") && is_fresh).then_some(())
        })
        .await;
    }
    for path in ["/landbridge/v1/status", "/nacos/v2/core/cluster/node/list", "/nacos/v1/ns/operator/metrics"]
    {
        let read = read(&region, 2, "linearizable", path).await.context("member 2 answers")?;
        ensure!(read.status == 200, "{path} was answered with {}", read.status);
        let told = (read.consistency, read.staleness_ms);
        ensure!(told == (None, None), "{path} shows nothing that was decided, and says {told:?}");
    }
    let mut sdk = connect(region.grpc(2)).await?;
    let query = ask::query(&service("stays"), &ClusterFilter::default(), false);
    let answered = sdk.requests.request(query).await?;
    let told =
        answered.metadata().get("landbridge-staleness-ms").and_then(|ms| ms.to_str().ok()?.parse().ok());
    ensure!(told.is_some_and(|ms: u64| ms < FRESH_MS), "over gRPC a read says {told:?}");
    let odd = read(&region, 2, "strong", list).await.context("member 2 answers")?;
    ensure!(odd.status == 400, "an unknown wish was answered with {}", odd.status);

    region.kill(1)?;
    region.kill(3)?;

    until_async("what is left says that it grows old", Duration::from_secs(120), async || {
        let read = read(&region, 2, "", list).await?;
        (read.status == 200 && read.staleness_ms.is_some_and(|ms| ms > OLD_MS)).then_some(())
    })
    .await;
    let refused = read(&region, 2, "linearizable", list).await.context("member 2 answers")?;
    ensure!(refused.status == 503, "without a majority it was answered with {}", refused.status);
    Ok(())
}
