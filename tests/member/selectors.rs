//! Label selectors by what consumers are shown: lists, queries, subscriptions and pushes follow the consumer's own labels.

use std::time::Duration;

use landbridge_model::Metadata;
use landbridge_tests::sdk::{Connection, ask_well, connect, enrolment, service};
use landbridge_wire::nacos::{ClusterFilter, Enrolment, grpc::ask};
use serde_json::Value;
use tokio::net::UdpSocket;

use crate::one::One;

/// Everything here takes milliseconds; on a busy machine more.
const WITHIN: Duration = Duration::from_secs(20);

/// `{"type":"label","expression":"CONSUMER.label.zone = PROVIDER.label.zone"}`
const BY_ZONE: &str = "selector=%7B%22type%22%3A%22label%22%2C%22expression%22%3A%22CONSUMER.label.zone%20%3D%20PROVIDER.label.zone%22%7D";

/// `{"type":"none"}`
const NONE: &str = "selector=%7B%22type%22%3A%22none%22%7D";

async fn told(one: &One, method: &str, path: &str) -> String {
    let (status, text) = one.ask(method, &format!("/nacos{path}")).await;
    assert_eq!(status, 200, "{method} {path}: {text}");
    text
}

/// Registers by HTTP in a zone.
async fn register(one: &One, name: &str, ip: &str, port: u16, zone: &str) {
    let query = format!("serviceName={name}&ip={ip}&port={port}&metadata=zone%3D{zone}");
    told(one, "POST", &format!("/v1/ns/instance?{query}")).await;
}

/// A service `shop` with an instance in zone a (port 1) and two in zone b (ports 2 and 3), and a consumer in zone b.
async fn shop(selector: &str) -> One {
    let one = One::start().await;
    told(&one, "POST", &format!("/v1/ns/service?serviceName=shop&{selector}")).await;
    for (port, zone) in [(1, "a"), (2, "b"), (3, "b")] {
        register(&one, "shop", "10.0.0.1", port, zone).await;
    }
    register(&one, "consumer", "10.0.0.9", 80, "b").await;
    one
}

fn ports(hosts: &Value) -> Vec<u64> {
    hosts.as_array().expect("a list").iter().filter_map(|host| host["port"].as_u64()).collect()
}

/// What an HTTP consumer at this address is shown.
async fn list(one: &One, ip: &str, more: &str) -> Vec<u64> {
    let text = told(one, "GET", &format!("/v1/ns/instance/list?serviceName=shop&clientIP={ip}{more}")).await;
    ports(&serde_json::from_str::<Value>(&text).expect("JSON")["hosts"])
}

async fn query(client: &mut Connection) -> Vec<u64> {
    let asked = ask::query(&service("shop"), &ClusterFilter::default(), false);
    let answer = ask_well(&mut client.requests, asked).await.expect("answered");
    ports(&serde_json::from_slice::<Value>(answer.json()).expect("JSON")["serviceInfo"]["hosts"])
}

/// The next push: its ports and its `lastRefTime`.
async fn push(client: &mut Connection) -> (Vec<u64>, u64) {
    let heard = tokio::time::timeout(WITHIN, client.heard.message());
    let heard = heard.await.expect("a push comes").expect("the stream lives").expect("the stream goes on");
    let said: Value = serde_json::from_slice(heard.json()).expect("JSON");
    client.words.send(ask::notified(said["requestId"].as_str().expect("an id"))).await.expect("acked");
    (ports(&said["serviceInfo"]["hosts"]), said["serviceInfo"]["lastRefTime"].as_u64().expect("a number"))
}

async fn subscribed(one: &One) -> Connection {
    let mut client = connect(one.grpc()).await.expect("a connection");
    let wish = ask::subscribe(&service("shop"), &ClusterFilter::default(), true);
    ask_well(&mut client.requests, wish).await.expect("subscribed");
    client
}

/// The consumer's own registration, in a zone.
fn own(zone: &str) -> Enrolment {
    let mut own = enrolment(7);
    own.instance.metadata = Metadata::new([("zone".into(), zone.into())]).expect("within bounds");
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_consumer_is_shown_its_own_zone_and_a_stranger_everything() {
    let one = shop(BY_ZONE).await;

    assert_eq!(list(&one, "10.0.0.9", "").await, [2, 3]);
    assert_eq!(list(&one, "10.0.0.9", "&healthyOnly=true").await, [2, 3]);
    assert_eq!(list(&one, "10.0.0.8", "").await, [1, 2, 3], "nobody knows where it is");
    let v3 = told(&one, "GET", "/v3/client/ns/instance/list?serviceName=shop&clientIP=10.0.0.9").await;
    assert_eq!(ports(&serde_json::from_str::<Value>(&v3).expect("JSON")["data"]), [2, 3]);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_can_come_later_and_go_and_a_zone_without_anybody_healthy_holds_nobody() {
    let one = shop(NONE).await;
    let before = list(&one, "10.0.0.9", "").await;

    told(&one, "PUT", &format!("/v1/ns/service?serviceName=shop&{BY_ZONE}")).await;
    let chosen = list(&one, "10.0.0.9", "").await;
    for port in [2, 3] {
        told(&one, "DELETE", &format!("/v1/ns/instance?serviceName=shop&ip=10.0.0.1&port={port}")).await;
    }
    let alone = list(&one, "10.0.0.9", "").await;
    register(&one, "shop", "10.0.0.1", 2, "b").await;
    let back = list(&one, "10.0.0.9", "").await;
    told(&one, "PUT", &format!("/v1/ns/service?serviceName=shop&{NONE}")).await;
    let after = list(&one, "10.0.0.9", "").await;

    assert_eq!(before, [1, 2, 3]);
    assert_eq!((chosen, alone, back, after), (vec![2, 3], vec![1], vec![2], vec![1, 2]));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_shown_and_told_its_own_zone_from_its_registration_on() {
    let one = shop(BY_ZONE).await;
    let mut client = subscribed(&one).await;
    let (first, first_at) = push(&mut client).await;

    ask_well(&mut client.requests, ask::register(&service("me"), &own("a"))).await.expect("registered");
    let (second, second_at) = push(&mut client).await;
    let queried = query(&mut client).await;
    register(&one, "shop", "10.0.0.1", 4, "a").await;
    let (third, third_at) = push(&mut client).await;
    ask_well(&mut client.requests, ask::register(&service("me"), &own("b"))).await.expect("registered");
    let (moved, _) = push(&mut client).await;
    ask_well(&mut client.requests, ask::deregister(&service("me"), &own("b"))).await.expect("taken back");
    let (nobody, _) = push(&mut client).await;

    assert_eq!((first, second, queried), (vec![1, 2, 3], vec![1], vec![1]));
    assert_eq!((third, moved, nobody), (vec![1, 4], vec![2, 3], vec![1, 2, 3, 4]));
    assert!(first_at < second_at && second_at < third_at, "Go and Python drop what is not newer");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_selector_is_told_to_subscribers() {
    let one = shop(NONE).await;
    let mut client = subscribed(&one).await;
    push(&mut client).await;
    ask_well(&mut client.requests, ask::register(&service("me"), &own("b"))).await.expect("registered");

    told(&one, "PUT", &format!("/v1/ns/service?serviceName=shop&{BY_ZONE}")).await;

    assert_eq!(push(&mut client).await.0, [2, 3]);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_by_udp_holds_the_zone_of_the_listener() {
    let one = shop(BY_ZONE).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    let request = format!(
        "GET /nacos/v1/ns/instance/list?serviceName=shop&udpPort={port}&clientIP=10.0.0.9 HTTP/1.1\r\nhost: x\r\nuser-agent: Nacos-Java-Client:v1.0.0\r\nconnection: close\r\n\r\n"
    );
    landbridge_tests::http::say(one.http(), request.as_bytes()).await.expect("answered");

    told(&one, "DELETE", "/v1/ns/instance?serviceName=shop&ip=10.0.0.1&port=3").await;
    let mut packet = [0; 4096];
    let length =
        tokio::time::timeout(WITHIN, socket.recv(&mut packet)).await.expect("told").expect("received");

    let said: Value = serde_json::from_slice(&packet[..length]).expect("short packets are plain JSON");
    let data: Value = serde_json::from_str(said["data"].as_str().expect("a text")).expect("JSON");
    assert_eq!(ports(&data["hosts"]), [2]);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_of_another_namespace_are_none() {
    let one = shop(BY_ZONE).await;
    let elsewhere = "serviceName=consumer&namespaceId=other&ip=10.0.0.7&port=80&metadata=zone%3Da";
    told(&one, "POST", &format!("/v1/ns/instance?{elsewhere}")).await;

    assert_eq!(list(&one, "10.0.0.7", "").await, [1, 2, 3]);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expression_that_cannot_be_read_is_refused_and_changes_nothing() {
    let one = shop(BY_ZONE).await;
    let wrong = "selector=%7B%22type%22%3A%22label%22%2C%22expression%22%3A%22zone%22%7D";

    let (status, text) = one.ask("PUT", &format!("/nacos/v1/ns/service?serviceName=shop&{wrong}")).await;

    assert!(status == 400 && text.contains("CONSUMER.label.X = PROVIDER.label.X"), "{status} {text}");
    assert_eq!(list(&one, "10.0.0.9", "").await, [2, 3]);
    one.end().await.expect("ends in order");
}
