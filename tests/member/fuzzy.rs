//! Fuzzy watches over real connections: what a 3.x client is told of services that are there, come and go.

use std::time::Duration;

use landbridge_tests::sdk::{Connection, ask_well, connect, enrolment, service};
use landbridge_wire::nacos::grpc::{Payload, ask};
use serde_json::{Value, json};

use crate::one::One;

/// Everything here takes milliseconds; on a busy machine more.
const WITHIN: Duration = Duration::from_secs(20);

fn watch(pattern: &str, watch_type: &str, received: &[&str], initializing: bool) -> Payload {
    let body = json!({
        "headers": {}, "namespace": "public", "groupKeyPattern": pattern, "receivedGroupKeys": received,
        "watchType": watch_type, "module": "naming", "initializing": initializing,
    });
    Payload::new("NamingFuzzyWatchRequest", body.to_string())
}

/// The next message of a watch, acked as Java does.
async fn told(client: &mut Connection) -> Value {
    let heard = tokio::time::timeout(WITHIN, client.heard.message());
    let heard = heard.await.expect("a message comes").expect("the stream lives").expect("the stream goes on");
    let said: Value = serde_json::from_slice(heard.json()).expect("JSON");
    let id = said["requestId"].as_str().expect("an id");
    let kind = heard.type_name().replace("Request", "Response");
    let ack = json!({ "resultCode": 200, "errorCode": 0, "requestId": id, "success": true });
    client.words.send(Payload::new(&kind, ack.to_string())).await.expect("the stream takes acks");
    said
}

async fn register(client: &mut Connection, name: &str) {
    ask_well(&mut client.requests, ask::register(&service(name), &enrolment(1))).await.expect("registered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fuzzy_watch_is_told_what_is_there_and_then_what_comes() {
    let one = One::start().await;
    let mut provider = connect(one.grpc()).await.expect("a connection");
    let mut consumer = connect(one.grpc()).await.expect("a connection");
    for place in 0..11 {
        register(&mut provider, &format!("shop-{place:02}")).await;
    }
    register(&mut provider, "other").await;

    let asked = watch("public>>DEFAULT_GROUP>>shop-*", "WATCH", &[], true);
    ask_well(&mut consumer.requests, asked).await.expect("taken");
    let parts = [told(&mut consumer).await, told(&mut consumer).await, told(&mut consumer).await];
    register(&mut provider, "another").await;
    register(&mut provider, "shop-new").await;
    let came = told(&mut consumer).await;

    let counts = parts.each_ref().map(|part| part["contexts"].as_array().map_or(0, Vec::len));
    let kinds = parts.each_ref().map(|part| part["syncType"].as_str().expect("a text"));
    assert_eq!(counts, [10, 1, 0]);
    assert_eq!(
        kinds,
        ["FUZZY_WATCH_INIT_NOTIFY", "FUZZY_WATCH_INIT_NOTIFY", "FINISH_FUZZY_WATCH_INIT_NOTIFY"]
    );
    assert_eq!(
        (&came["serviceKey"], &came["changedType"]),
        (&"public@@DEFAULT_GROUP@@shop-new".into(), &"ADD_SERVICE".into())
    );
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_is_told_the_difference_and_patterns_are_bounded() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    register(&mut client, "here").await;

    let known = ["public@@DEFAULT_GROUP@@gone", "public@@DEFAULT_GROUP@@here"];
    let asked = watch("public>>*>>*", "WATCH", &known, false);
    ask_well(&mut client.requests, asked).await.expect("taken");
    let difference = told(&mut client).await;
    told(&mut client).await;
    ask_well(&mut client.requests, watch("public>>*>>*", "CANCEL_WATCH", &[], false)).await.expect("taken");
    register(&mut client, "unheard").await;
    for place in 0..20 {
        let asked = watch(&format!("public>>*>>none-{place}"), "WATCH", &[], true);
        ask_well(&mut client.requests, asked).await.expect("taken");
        assert_eq!(told(&mut client).await["syncType"], "FINISH_FUZZY_WATCH_INIT_NOTIFY");
    }
    let codes = [
        watch("public>>*>>none-20", "WATCH", &[], true),
        watch("*>>*>>*", "WATCH", &[], true),
        watch("public>>*>>*", "LOOK", &[], true),
    ];
    let mut refused = Vec::new();
    for asked in codes {
        let answer = client.requests.request(asked).await.expect("answered").into_inner();
        let said: Value = serde_json::from_slice(answer.json()).expect("JSON");
        refused.push((answer.type_name().to_owned(), said["errorCode"].as_u64().expect("a code")));
    }

    assert_eq!(difference["contexts"], json!([{ "serviceKey": known[0], "changedType": "DELETE_SERVICE" }]));
    assert_eq!(difference["syncType"], "FUZZY_WATCH_DIFF_SYNC_NOTIFY");
    let own = |code| ("NamingFuzzyWatchResponse".to_owned(), code);
    assert_eq!(refused, [own(50310), own(400), own(400)]);
    one.end().await.expect("ends in order");
}
