//! The page that dashboards made for Nacos scrape: each of Nacos's names, with the figure that was brought about.

use std::{collections::BTreeMap, time::Duration};

use landbridge_tests::{
    sdk::{ask_well, connect, enrolment, service},
    wait::until_async,
};
use landbridge_wire::nacos::{ClusterFilter, grpc::ask};
use serde_json::Value;

use crate::one::One;

/// A push and its ack take milliseconds; on a busy machine more.
const WITHIN: Duration = Duration::from_secs(20);

/// The samples whose names begin with `nacos_`.
async fn page(one: &One) -> BTreeMap<String, f64> {
    let (status, text) = one.get("/nacos/actuator/prometheus").await;
    assert_eq!(status, 200, "{text}");
    let samples = text.lines().filter(|line| line.starts_with("nacos_"));
    let samples = samples.map(|line| line.rsplit_once(' ').expect("a name and a value"));
    samples.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

fn naming(name: &str) -> String {
    format!(r#"nacos_monitor{{module="naming",name="{name}"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboards_of_nacos_see_a_registration_a_subscription_and_a_push() {
    let one = One::start().await;
    let before = page(&one).await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    ask_well(&mut client.requests, ask::subscribe(&service("seen"), &ClusterFilter::default(), true))
        .await
        .expect("subscribed");
    ask_well(&mut client.requests, ask::register(&service("seen"), &enrolment(1))).await.expect("registered");
    one.ask("POST", "/nacos/v1/ns/instance?serviceName=beaten&ip=10.0.0.9&port=80").await;
    let words = client.words.clone();
    let acking = tokio::spawn(async move {
        while let Ok(Some(push)) = client.heard.message().await {
            let said: Value = serde_json::from_slice(push.json()).expect("pushes are JSON");
            let id = said["requestId"].as_str().unwrap_or_default();
            words.send(ask::notified(id)).await.expect("the stream takes acks");
        }
    });

    let seen = until_async("a push was acked", WITHIN, async || {
        let seen = page(&one).await;
        (seen[&naming("totalPushCountForAvg")] >= 1.0 && seen[&naming("serviceCount")] == 2.0).then_some(seen)
    })
    .await;

    assert_eq!((before[&naming("avgPushCost")], before[&naming("ipCount")]), (-1.0, 0.0));
    for (name, wanted) in [
        ("serviceCount", 2.0),
        ("domCount", 2.0),
        ("ipCount", 2.0),
        ("subscriberCount", 1.0),
        ("failedPush", 0.0),
        ("leaderStatus", 1.0),
    ] {
        assert_eq!(seen[&naming(name)], wanted, "{name}: {seen:?}");
    }
    for name in ["totalPush", "avgPushCost", "maxPushCost", "totalPushCostForAvg", "pushPendingTaskCount"] {
        assert!(seen[&naming(name)] >= 0.0, "{name}: {seen:?}");
    }
    assert!(seen[&naming("totalPush")] >= 1.0, "{seen:?}");
    for (name, wanted) in [
        (r#"nacos_monitor{module="core",name="longConnection"}"#, 1.0),
        (r#"nacos_monitor{module="config",name="configCount"}"#, 0.0),
        (r#"nacos_naming_publisher{module="naming",version="v1"}"#, 1.0),
        (r#"nacos_naming_publisher{module="naming",version="v2"}"#, 1.0),
        (r#"nacos_naming_subscriber{module="naming",version="v1"}"#, 0.0),
        (r#"nacos_naming_subscriber{module="naming",version="v2"}"#, 1.0),
    ] {
        assert_eq!(seen.get(name), Some(&wanted), "{name}: {seen:?}");
    }
    acking.abort();
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_takes_no_more_connections_than_its_share() {
    let one = One::start_with(&["limits.connections_max=9", "limits.connections_per_address=2"]).await;
    let mut held = Vec::new();

    let refused = loop {
        match connect(one.grpc()).await {
            Ok(connection) if held.len() < 9 => held.push(connection),
            Ok(_) => break false,
            Err(_) => break true,
        }
    };

    // The one that looked whether the port is open may still count for a moment.
    assert!(refused && (1..=2).contains(&held.len()), "{} connections", held.len());
    let metrics = one.get("/metrics").await.1;
    let counted = metrics.lines().any(|line| {
        line.starts_with("landbridge_registry_connections_closed_total")
            && line.contains(r#"reason="connections_per_address""#)
    });
    assert!(counted, "{metrics}");
    held.clear();
    until_async("the place is free again", WITHIN, async || connect(one.grpc()).await.ok()).await;
    one.end().await.expect("ends in order");
}
