//! What an SDK relies on over gRPC, said by the codecs of the wire but over real connections.

use std::time::{Duration, Instant};

use landbridge_model::Cluster;
use landbridge_tests::{
    sdk::{Connection, ask_well, connect, dial, enrolment, service},
    wait::until_async,
};
use landbridge_wire::nacos::{
    ClusterFilter, Enrolment, codes,
    grpc::{Payload, RequestClient, ask},
};
use serde_json::Value;

use crate::one::One;

/// Everything here takes milliseconds; on a busy machine more.
const WITHIN: Duration = Duration::from_secs(20);

fn json(payload: &Payload) -> Value {
    serde_json::from_slice(payload.json()).expect("answers are JSON")
}

fn ports(service_info: &Value) -> Vec<u64> {
    let hosts = service_info["hosts"].as_array().expect("hosts is an array");
    hosts.iter().filter_map(|host| host["port"].as_u64()).collect()
}

/// The next push, acked as SDKs do.
async fn push(connection: &mut Connection) -> Value {
    let heard = tokio::time::timeout(WITHIN, connection.heard.message());
    let heard = heard.await.expect("a push comes").expect("the stream lives").expect("the stream goes on");
    assert_eq!(heard.type_name(), "NotifySubscriberRequest");
    let said = json(&heard);
    let id = said["requestId"].as_str().expect("a push has an id");
    connection.words.send(ask::notified(id)).await.expect("the stream takes acks");
    said["serviceInfo"].clone()
}

async fn query(connection: &mut Connection, name: &str) -> Value {
    let asked = ask::query(&service(name), &ClusterFilter::default(), false);
    json(&ask_well(&mut connection.requests, asked).await.expect("a query is answered"))["serviceInfo"]
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_its_own_registration_at_once() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");

    ask_well(&mut client.requests, ask::register(&service("own"), &enrolment(1))).await.expect("registered");

    assert_eq!(ports(&query(&mut client, "own").await), [1025]);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_of_a_change_and_of_a_removal_with_rising_times() {
    let one = One::start().await;
    let mut consumer = connect(one.grpc()).await.expect("a connection");
    let mut provider = connect(one.grpc()).await.expect("a connection");
    let wish = ask::subscribe(&service("watched"), &ClusterFilter::default(), true);
    ask_well(&mut consumer.requests, wish).await.expect("subscribed");
    let first = push(&mut consumer).await;

    ask_well(&mut provider.requests, ask::register(&service("watched"), &enrolment(7)))
        .await
        .expect("registered");
    let second = push(&mut consumer).await;
    drop(provider);
    let third = push(&mut consumer).await;

    assert_eq!((ports(&first), ports(&second), ports(&third)), (vec![], vec![1031], vec![]));
    let times = [&first, &second, &third].map(|info| info["lastRefTime"].as_u64().expect("a number"));
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_registration_on_a_connection_replaces_the_first_and_a_batch_is_the_whole_set() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    for place in [1, 2] {
        ask_well(&mut client.requests, ask::register(&service("set"), &enrolment(place)))
            .await
            .expect("registered");
    }
    let after_two = ports(&query(&mut client, "set").await);

    let batch: Vec<_> = [3, 4, 5].map(enrolment).into();
    ask_well(&mut client.requests, ask::register_batch(&service("set"), &batch)).await.expect("registered");
    let after_batch = ports(&query(&mut client, "set").await);
    ask_well(&mut client.requests, ask::deregister(&service("set"), &enrolment(99)))
        .await
        .expect("taken back");
    let after_all = ports(&query(&mut client, "set").await);

    assert_eq!((after_two, after_batch, after_all), (vec![1026], vec![1027, 1028, 1029], vec![]));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persistent_instance_is_deregistered_by_ip_and_port_whatever_the_cluster() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    let mut blue = Enrolment { ephemeral: false, ..enrolment(1) };
    blue.key.cluster = Cluster::parse("blue").expect("a cluster");
    ask_well(&mut client.requests, ask::register(&service("kept"), &blue)).await.expect("registered");
    let before = ports(&query(&mut client, "kept").await);

    let mut green = blue.clone();
    green.key.cluster = Cluster::parse("green").expect("a cluster");
    ask_well(&mut client.requests, ask::deregister(&service("kept"), &green)).await.expect("deregistered");

    assert_eq!((before, ports(&query(&mut client, "kept").await)), (vec![1025], vec![]));
    one.end().await.expect("ends in order");
}

/// A client of Java and Go goes when it is told; this one stays, as Python and Rust do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_ignores_where_it_is_sent_is_closed_after_three_seconds_and_its_instances_go() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    ask_well(&mut client.requests, ask::register(&service("sent"), &enrolment(1))).await.expect("registered");
    let connections = one.get("/nacos/v2/core/loader/current").await.1;
    let connections: Value = serde_json::from_str(&connections).expect("JSON");
    let id = connections.as_object().and_then(|all| all.keys().next()).expect("a connection").clone();
    let mut staying = connect(one.grpc()).await.expect("a connection");

    let sent = Instant::now();
    let to = format!("connectionId={id}&redirectAddress=10.1.2.3:8848");
    let asked = one.get(&format!("/nacos/v2/core/loader/reloadClient?{to}")).await;
    let heard = tokio::time::timeout(WITHIN, client.heard.message()).await.expect("told");
    let told = heard.expect("the stream lives").expect("the stream goes on");
    let ended = tokio::time::timeout(WITHIN, client.heard.message()).await.expect("closed");
    let stayed = sent.elapsed();

    assert_eq!((asked.0, told.type_name()), (200, "ConnectResetRequest"), "{}", asked.1);
    assert_eq!((&json(&told)["serverIp"], &json(&told)["serverPort"]), (&"10.1.2.3".into(), &"8848".into()));
    assert!(!matches!(ended, Ok(Some(_))), "the server said more instead of closing");
    assert!(stayed >= Duration::from_secs(3), "closed after {stayed:?}");
    until_async("its instance is gone", WITHIN, async || {
        ports(&query(&mut staying, "sent").await).is_empty().then_some(())
    })
    .await;
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_its_set_up_a_connection_is_told_so_and_unknown_types_are_told_too() {
    let one = One::start().await;
    let mut raw = RequestClient::new(dial(one.grpc()).await.expect("a channel"));
    let mut client = connect(one.grpc()).await.expect("a connection");

    let check = json(&raw.request(ask::server_check()).await.expect("answered").into_inner());
    let early =
        json(&raw.request(ask::register(&service("x"), &enrolment(1))).await.expect("answered").into_inner());
    for name in codes::BETWEEN_SERVERS {
        let inner = Payload::new(name, &b"{}"[..]);
        let inner = json(&client.requests.request(inner).await.expect("answered").into_inner());
        assert_eq!((&inner["resultCode"], &inner["errorCode"]), (&500.into(), &502.into()));
        assert_eq!(inner["message"], format!(" invoke {name} from sdk is forbidden"));
    }
    let unknown = Payload::new("LockOperationRequest", &b"{}"[..]);
    let unknown = json(&client.requests.request(unknown).await.expect("answered").into_inner());
    let garbage = Payload::new("InstanceRequest", &b"{not json"[..]);
    let garbage = client.requests.request(garbage).await.expect("answered").into_inner();

    assert_eq!(check["resultCode"], 200);
    assert_eq!((&early["resultCode"], &early["errorCode"]), (&500.into(), &301.into()));
    assert_eq!((&unknown["resultCode"], &unknown["errorCode"]), (&500.into(), &302.into()));
    assert_eq!(garbage.type_name(), "ErrorResponse");
    assert_ne!(json(&garbage)["errorCode"], 0);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_beyond_the_members_limit_is_refused_with_both_numbers() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    let mut large = enrolment(1);
    large.instance.metadata = landbridge_model::Metadata::new([("k".into(), "v".repeat(2_000).into())])
        .expect("within the model's bound");

    let answer = client.requests.request(ask::register(&service("x"), &large)).await.expect("answered");

    let said = json(&answer.into_inner());
    assert_eq!((&said["errorCode"], &said["success"]), (&400.into(), &false.into()));
    let message = said["message"].as_str().expect("a message");
    assert!(message.contains("2001") && message.contains("1024"), "{message}");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_takes_its_instances_along() {
    let one = One::start().await;
    let mut staying = connect(one.grpc()).await.expect("a connection");
    let mut leaving = connect(one.grpc()).await.expect("a connection");
    ask_well(&mut leaving.requests, ask::register(&service("gone"), &enrolment(1)))
        .await
        .expect("registered");
    assert_eq!(ports(&query(&mut staying, "gone").await), [1025]);

    drop(leaving);

    until_async("the instance is gone", WITHIN, async || {
        ports(&query(&mut staying, "gone").await).is_empty().then_some(())
    })
    .await;
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_write_a_config_is_told_so_in_words_that_keep_the_connection() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");

    for (kind, answered) in
        [("ConfigPublishRequest", "ConfigPublishResponse"), ("ConfigRemoveRequest", "ConfigRemoveResponse")]
    {
        let asked = Payload::new(kind, br#"{"dataId":"a","group":"g","content":"b"}"#.to_vec());
        let answer = client.requests.request(asked).await.expect("an answer").into_inner();
        assert_eq!(answer.type_name(), answered);
        assert_eq!((&json(&answer)["success"], &json(&answer)["errorCode"]), (&false.into(), &501.into()));
    }

    ask_well(&mut client.requests, ask::register(&service("own"), &enrolment(1))).await.expect("registered");
    one.end().await.expect("ends in order");
}
