//! A table that shrinks too much: what is gone is kept, marked and told, until it returns or an operator lets it go.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use landbridge_client::Table;
use landbridge_model::ServiceKey;

use crate::harness::{Endpoint, House, PATIENCE, listed, page, until};

/// Small enough for a test.
const GUARD: &str = "[protection]\nshare_max = 0.5\nendpoints_floor = 4\nwindow_ms = 10000\n";

async fn twelve() -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for _ in 0..12 {
        endpoints.push(Endpoint::named("here").await);
    }
    endpoints
}

fn table(endpoints: &[Endpoint]) -> Arc<Table> {
    let key = ServiceKey::parse("", "", "orders").unwrap();
    let endpoints = endpoints.iter().map(|one| listed(one.address, &[])).collect();
    Arc::new(Table { services: [(key, endpoints)].into(), ..Table::default() })
}

async fn endpoints(house: &House) -> Vec<serde_json::Value> {
    let told = house.ask("/landbridge/v1/endpoints?service=public@@DEFAULT_GROUP@@orders").await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    told["endpoints"].as_array().cloned().unwrap_or_default()
}

async fn unverified(house: &House) -> usize {
    endpoints(house).await.iter().filter(|one| one["unverified"] == true).count()
}

#[tokio::test]
async fn a_table_that_shrinks_too_much_is_held_until_an_operator_lets_it_go() {
    let all = twelve().await;
    let house = House::open(&page(&[], GUARD)).await;
    house.tables.send(table(&all)).unwrap();
    until("all are known", async || endpoints(&house).await.len() == 12).await;

    house.tables.send(Arc::default()).unwrap();

    until("those that are gone are marked", async || unverified(&house).await == 12).await;
    for _ in 0..20 {
        assert_eq!(house.by_path("/svc/orders/").await, (200, "here".to_owned()));
    }
    let released = house.tell("POST", "/landbridge/v1/table/release", "").await;
    assert_eq!(released, "{\"released_endpoints\":12}");
    until("the table is what the registry says", async || endpoints(&house).await.is_empty()).await;
    assert_eq!(house.tell("POST", "/landbridge/v1/table/release", "").await, "{\"released_endpoints\":0}");
}

#[tokio::test]
async fn what_was_held_and_comes_back_is_no_longer_marked() {
    let all = twelve().await;
    let house = House::open(&page(&[], GUARD)).await;
    house.tables.send(table(&all)).unwrap();
    until("all are known", async || endpoints(&house).await.len() == 12).await;
    house.tables.send(table(&all[..2])).unwrap();
    until("those that are gone are marked", async || unverified(&house).await == 10).await;

    house.tables.send(table(&all)).unwrap();

    until("none is marked", async || unverified(&house).await == 0).await;
    assert_eq!(endpoints(&house).await.len(), 12);
}

#[tokio::test]
async fn a_table_that_shrinks_a_little_is_followed_at_once() {
    let all = twelve().await;
    let house = House::open(&page(&[], GUARD)).await;
    house.tables.send(table(&all)).unwrap();
    until("all are known", async || endpoints(&house).await.len() == 12).await;

    house.tables.send(table(&all[..8])).unwrap();

    until("four are gone", async || endpoints(&house).await.len() == 8).await;
    assert_eq!(unverified(&house).await, 0);
}

#[tokio::test]
async fn an_endpoint_that_comes_back_at_once_is_called_on_the_connection_it_had() {
    let all = [Endpoint::named("stays").await, Endpoint::named("leaves").await];
    let (both, one) = (table(&all), table(&all[..1]));
    let house = House::open(&page(&[], "")).await;
    let called = async || {
        let before = all[1].count();
        until("it is called", async || {
            house.by_path("/svc/orders/").await;
            all[1].count() > before
        })
        .await;
    };
    let listed = async |table: &Arc<Table>, count| {
        house.tables.send(table.clone()).unwrap();
        until("the table is known", async || endpoints(&house).await.len() == count).await;
    };
    listed(&both, 2).await;
    let begun = Instant::now();
    loop {
        called().await;
        let (left, connections) = (Instant::now(), all[1].connections.load(Relaxed));

        listed(&one, 1).await;
        listed(&both, 2).await;
        called().await;

        // On a machine that stood still for longer it has not come back at once.
        if left.elapsed() < Duration::from_secs(2) {
            assert_eq!(all[1].connections.load(Relaxed), connections);
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "this machine is too slow");
    }
}
