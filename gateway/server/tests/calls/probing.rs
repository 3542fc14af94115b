//! Endpoints that are asked how they are.

use http::Response;

use crate::harness::{Endpoint, House, full, until};

const PROBE: &str = "[[probes]]\nservices = [\"static:web\"]\ninterval_ms = 100\ntimeout_ms = 90\n";

async fn told(house: &House, what: &str) -> bool {
    house.ask("/landbridge/v1/endpoints?service=static:web").await.contains(what)
}

#[tokio::test]
async fn an_endpoint_whose_probes_fail_leaves_the_rotation_without_costing_a_call() {
    let ill = Endpoint::failing(500).await;
    let house = House::before(&[&ill], &format!("{PROBE}path = \"/health\"\n")).await;

    until("the endpoint is out of rotation", async || told(&house, "\"breaker\":\"open\"").await).await;

    assert!(ill.asked().iter().all(|asked| asked.uri.path() == "/health"));
    until("the metrics tell of it", async || {
        let page = house.ask("/metrics").await;
        page.contains("landbridge_gateway_probes_total{") && page.contains("outcome=\"failed\"")
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_passes_its_probe_is_tried_again_long_before_its_ejection_ends() {
    let health = |asked: crate::harness::Asked| async move {
        let status = if asked.uri.path() == "/health" { 200 } else { 503 };
        Response::builder().status(status).body(full("")).unwrap()
    };
    let ill = Endpoint::start(health).await;
    let eject =
        "[health]\neject_ms = 600000\neject_max_ms = 600000\nfailures_max = 1\n[retries]\ntries_max = 1\n";
    let house = House::before(&[&ill], &format!("{eject}{PROBE}path = \"/health\"\n")).await;

    assert_eq!(house.get("/").await.0, 503);

    until("it is on probation", async || told(&house, "\"breaker\":\"probation\"").await).await;
}

#[tokio::test]
async fn a_connection_is_enough_where_no_path_is_given() {
    let (silent, gone) = (Endpoint::silent().await, Endpoint::nobody().await);
    let well = House::before(&[&silent], PROBE).await;
    let places = [crate::harness::at(gone, "east", "a")];
    let ill = House::open(&crate::harness::page(&places, PROBE)).await;

    until("the port without a listener is out", async || told(&ill, "\"breaker\":\"open\"").await).await;

    assert!(silent.connections.load(std::sync::atomic::Ordering::SeqCst) > 0, "it was asked too");
    assert!(told(&well, "\"breaker\":\"closed\"").await);
}
