//! Names, numbers and metadata beyond their bounds, over HTTP v1, v2 and v3 and over gRPC: each refused, with the right code.

use landbridge_tests::{
    http::send,
    sdk::{ask_well, connect, enrolment, service},
    wait::until_async,
};
use landbridge_wire::nacos::grpc::{Payload, ask};
use serde_json::{Value, json};

use crate::one::{One, READY_WITHIN};

/// What stands in a registration unless a row says otherwise.
const GOOD: [(&str, &str); 4] =
    [("serviceName", "s"), ("ip", "10.0.0.1"), ("port", "80"), ("metadata", "a=b")];

fn repeated(times: usize) -> String {
    "a".repeat(times)
}

/// Member of a registration, a value that breaks its rule, and the code that v2 and v3 say.
fn table() -> Vec<(&'static str, String, u64)> {
    let text = |name: &'static str, wrong: &str, code| (name, wrong.to_owned(), code);
    let mut rows = Vec::new();
    for name in ["serviceName", "groupName", "namespaceId", "clusterName", "ip"] {
        for wrong in [
            "a\r\nb",
            "a\nset-cookie: x",
            "a\0b",
            "a b",
            "a\u{7f}",
            "caf\u{e9}",
            "\u{202e}a",
            "\u{1f600}",
            "a\u{2028}b",
            "a<b>\u{0}",
        ] {
            rows.push(text(name, wrong, 20002));
        }
    }
    rows.extend([
        ("serviceName", repeated(513), 20002),
        ("groupName", repeated(129), 20002),
        ("namespaceId", repeated(65), 20002),
        ("clusterName", repeated(65), 20002),
        ("ip", repeated(129), 20002),
        ("serviceName", repeated(1 << 20), 20002),
    ]);
    rows.extend([
        text("serviceName", "@x", 20002),
        text("serviceName", "g@@@@x", 20002),
        text("groupName", "a/b", 20002),
        text("groupName", "../a", 20002),
        text("namespaceId", "../public", 20002),
        text("namespaceId", "a.b", 20002),
        text("clusterName", "a,b", 20002),
        text("ip", "10.0.0.1/24", 20002),
        text("ip", "http://10.0.0.1", 20002),
        text("port", "-1", 20002),
        text("port", "65536", 20002),
        text("port", "1.5", 20002),
        text("port", "0x50", 20002),
        text("port", "99999999999999999999", 20002),
        text("weight", "-0.1", 21001),
        text("weight", "10000.1", 21001),
        text("weight", "NaN", 21001),
        text("weight", "inf", 21001),
        text("weight", "1e999", 21001),
        text("weight", "heavy", 20002),
        text("enabled", "perhaps", 20002),
        text("ephemeral", "2", 20002),
        text("metadata", "no pair at all", 20002),
        text("metadata", "{\"a\":", 20002),
        text("metadata", "{\"a\\nb\":\"c\"}", 21002),
        text("metadata", "{\"a\":\"\\u0000\"}", 21002),
        text("metadata", "{\"a\":\"\\u001b[31m\"}", 21002),
        ("metadata", format!("a={}", repeated(1_024)), 21002),
        ("metadata", format!("{{\"{}\":\"\"}}", repeated(1_025)), 21002),
        text("metadata", "preserved.heart.beat.interval=9000,preserved.heart.beat.timeout=1000", 21004),
        text("metadata", "preserved.heart.beat.interval=9000,preserved.ip.delete.timeout=1000", 21004),
    ]);
    rows
}

/// Percent-encodes all but letters and digits.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn form(name: &str, wrong: &str) -> String {
    let others = GOOD.iter().filter(|(other, _)| *other != name);
    let pairs = others.copied().chain([(name, wrong)]);
    pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_beyond_a_bound_is_refused_over_http_with_its_code() {
    let one = One::start().await;
    let mut strange = Vec::new();
    let rows = table();

    for (name, wrong, code) in &rows {
        for path in ["/nacos/v1/ns/instance", "/nacos/v2/ns/instance", "/nacos/v3/client/ns/instance"] {
            let (status, text) =
                send(one.http(), "POST", path, &[], &form(name, wrong)).await.unwrap_or_default();
            let said: Value = serde_json::from_str(&text).unwrap_or_default();
            let as_said = path.contains("v1") || said["code"] == *code;
            let echoes = text.len() > 2_000 || text.contains(['\r', '\n', '\0', '\u{1b}', '\u{202e}']);
            if status != 400 || !as_said || echoes {
                let shown: String = wrong.chars().take(40).flat_map(char::escape_default).collect();
                let text: String = text.chars().take(200).flat_map(char::escape_default).collect();
                strange.push(format!("{path} {name}={shown} wants {code}: {status} {text}"));
            }
        }
    }

    assert!(strange.is_empty(), "{} of {}:\n{}", strange.len(), rows.len() * 3, strange.join("\n"));
    let services = one.get("/nacos/v1/ns/service/list?pageNo=1&pageSize=9").await.1;
    assert!(services.contains(r#""count":0"#), "{services}");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_beyond_a_bound_is_refused_over_grpc_with_400() {
    let one = One::start().await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    let mut strange = Vec::new();

    for (name, wrong, _) in table() {
        // Numbers and flags are typed in JSON; their rows are HTTP's.
        let parts = match name {
            "serviceName" | "groupName" => (json!({ name: wrong }), json!({})),
            "namespaceId" => (json!({ "namespace": wrong }), json!({})),
            "clusterName" | "ip" => (json!({}), json!({ name: wrong })),
            "metadata" => {
                let Ok(metadata) = serde_json::from_str::<Value>(&wrong) else { continue };
                (json!({}), json!({ "metadata": metadata }))
            }
            _ => continue,
        };
        let mut instance = json!({ "ip": "10.0.0.1", "port": 80 });
        let mut body =
            json!({ "namespace": "", "serviceName": "s", "groupName": "", "type": "registerInstance" });
        merge(&mut instance, parts.1);
        merge(&mut body, parts.0);
        body["instance"] = instance;
        let payload = Payload::new("InstanceRequest", body.to_string());
        let answer = client.requests.request(payload).await.expect("answered").into_inner();
        let said: Value = serde_json::from_slice(answer.json()).expect("JSON");
        if (answer.type_name(), said["errorCode"].as_u64()) != ("InstanceResponse", Some(400)) {
            let shown: String = wrong.chars().take(40).flat_map(char::escape_default).collect();
            strange.push(format!("{name}={shown}: {} {said}", answer.type_name()));
        }
    }

    assert!(strange.is_empty(), "{}:\n{}", strange.len(), strange.join("\n"));
    ask_well(&mut client.requests, ask::register(&service("s"), &enrolment(1)))
        .await
        .expect("still registers");
    one.end().await.expect("ends in order");
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_more_than_the_bound_is_closed_and_one_that_ends_makes_room() {
    let one = One::start_with(&["limits.connections_max=2"]).await;
    let room = async || connect(one.grpc()).await.ok();
    let mut first = until_async("a connection", READY_WITHIN, room).await;
    let second = until_async("another connection", READY_WITHIN, room).await;

    let third = tokio::time::timeout(READY_WITHIN, connect(one.grpc())).await.expect("it is told");
    assert!(third.is_err(), "a third connection was taken");
    ask_well(&mut first.requests, ask::register(&service("s"), &enrolment(1))).await.expect("registered");
    drop(second);

    until_async("room for another", READY_WITHIN, room).await;
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_too_many_parameters_or_too_long_a_head_is_refused() {
    let one = One::start().await;
    let many: String = (0..65).map(|place| format!("&p{place}=1")).collect();
    let long = repeated(70_000);

    let parameters = one.get(&format!("/nacos/v1/ns/instance/list?serviceName=s{many}")).await;
    let head =
        send(one.http(), "GET", "/nacos/v1/ns/instance/list?serviceName=s", &[("x-long", &long)], "").await;
    let uri = one.get(&format!("/nacos/v1/ns/instance/list?serviceName=s&x={long}")).await;

    assert_eq!(parameters.0, 400, "{}", parameters.1);
    assert!(head.is_none_or(|(status, _)| status == 431));
    assert!([0, 414, 431].contains(&uri.0), "{}", uri.0);
    assert_eq!(one.get("/livez").await.0, 200);
    one.end().await.expect("ends in order");
}
