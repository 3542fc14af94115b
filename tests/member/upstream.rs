//! A member with a Nacos behind it that keeps configs: what clients ask of configs reaches it, and what it says comes back.

mod nacos;

use std::time::Duration;

use landbridge_tests::{
    http::send,
    sdk::{Connection, connect},
    wait::until_async,
};
use landbridge_wire::nacos::grpc::Payload;
use serde_json::{Value, json};

use self::nacos::Nacos;
use crate::{
    auth::{ROOT, call, login, user, with_admin_at},
    one::One,
};

/// Everything here takes milliseconds; on a busy machine more.
const WITHIN: Duration = Duration::from_secs(20);

const NONE: &[(&str, &str)] = &[];

async fn house() -> (Nacos, One) {
    let nacos = Nacos::start(None).await;
    let one = One::start_with(&[&nacos.setting()]).await;
    (nacos, one)
}

async fn told(one: &One, method: &str, path: &str, form: &str) -> (u16, String) {
    send(one.http(), method, &format!("/nacos{path}"), NONE, form).await.expect("answered")
}

fn config(type_name: &str, members: Value) -> Payload {
    Payload::new(type_name, members.to_string())
}

async fn asked(client: &mut Connection, payload: Payload) -> Value {
    let answer = client.requests.request(payload).await.expect("answered").into_inner();
    serde_json::from_slice(answer.json()).expect("answers are JSON")
}

fn query() -> Payload {
    config("ConfigQueryRequest", json!({ "dataId": "app", "group": "g", "tenant": "" }))
}

fn publish(content: &str) -> Payload {
    config("ConfigPublishRequest", json!({ "dataId": "app", "group": "g", "tenant": "", "content": content }))
}

fn listen() -> Payload {
    let contexts = json!([{ "dataId": "app", "group": "g", "tenant": "", "md5": "" }]);
    config("ConfigBatchListenRequest", json!({ "listen": true, "configListenContexts": contexts }))
}

/// The next word on the stream.
async fn heard(client: &mut Connection) -> Option<Payload> {
    let heard = tokio::time::timeout(WITHIN, client.heard.message());
    heard.await.expect("a word, or the end").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_is_written_read_and_removed_through_a_member() {
    let (nacos, one) = house().await;
    let one_config = "/v1/cs/configs?dataId=app&group=g";

    let before = told(&one, "GET", one_config, "").await;
    let written = told(&one, "POST", "/v1/cs/configs", "dataId=app&group=g&content=a%3D1").await;
    let after = told(&one, "GET", one_config, "").await;
    let removed = told(&one, "DELETE", one_config, "").await;
    let other = told(&one, "PUT", "/v3/admin/cs/anything/else?x=y", "z=1").await;

    assert_eq!((before.0, before.1.trim()), (404, "config data not exist"));
    assert_eq!((written.1.as_str(), after), ("true", (200, "a=1".to_owned())));
    assert_eq!((removed.1.as_str(), nacos.configs()), ("true", 0));
    assert_eq!(other, (200, "PUT /nacos/v3/admin/cs/anything/else?x=y z=1".to_owned()));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_for_changes_hangs_until_there_is_one() {
    let (nacos, one) = house().await;
    let waiting = async {
        let form = "Listening-Configs=app%02g%02%01";
        let headers = [("Long-Pulling-Timeout", "30000")];
        send(one.http(), "POST", "/nacos/v1/cs/configs/listener", &headers, form).await.expect("answered")
    };
    let changing = async {
        until_async("the question hangs", WITHIN, async || (nacos.hanging() == 1).then_some(())).await;
        told(&one, "POST", "/v1/cs/configs", "dataId=app&group=g&content=new").await
    };

    let (answer, written) = tokio::join!(waiting, changing);

    assert_eq!(written.1, "true");
    assert_eq!(answer, (200, "app%02g%01".to_owned()));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_over_grpc_is_told_of_a_change_and_its_answer_comes_back() {
    let (nacos, one) = house().await;
    let mut listener = connect(one.grpc()).await.expect("a connection");
    let mut writer = connect(one.grpc()).await.expect("a connection");

    let missing = asked(&mut listener, query()).await;
    let listening = asked(&mut listener, listen()).await;
    let written = asked(&mut writer, publish("b=2")).await;
    let word = heard(&mut listener).await.expect("a word");
    let said: Value = serde_json::from_slice(word.json()).expect("JSON");
    let ack = json!({ "resultCode": 200, "errorCode": 0, "requestId": said["requestId"], "success": true });
    listener.words.send(config("ConfigChangeNotifyResponse", ack)).await.expect("sent");
    let read = asked(&mut listener, query()).await;

    assert_eq!((&missing["errorCode"], &listening["success"]), (&300.into(), &true.into()));
    assert_eq!((&written["success"], word.type_name()), (&true.into(), "ConfigChangeNotifyRequest"));
    assert_eq!((&said["dataId"], &read["content"]), (&"app".into(), &"b=2".into()));
    until_async("the answer comes back", WITHIN, async || (nacos.acked() == 1).then_some(())).await;
    assert_eq!(nacos.set_ups(), 2, "each client has a connection of its own");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_down_is_named_and_naming_goes_on() {
    let (nacos, one) = house().await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    assert_eq!(asked(&mut client, listen()).await["success"], true);

    let port = nacos.end().await;
    let word = heard(&mut client).await;
    let http = told(&one, "GET", "/v1/cs/configs?dataId=app&group=g", "").await;
    let mut again = connect(one.grpc()).await.expect("a connection");
    let grpc = asked(&mut again, query()).await;
    let naming = told(&one, "POST", "/v1/ns/instance?serviceName=a&ip=10.0.0.1&port=1", "").await;

    assert!(word.is_none(), "a client that was listening is sent to listen again: {word:?}");
    assert!(http.0 == 502 && http.1.contains("takes no connection"), "{http:?}");
    assert_eq!((&grpc["resultCode"], &grpc["success"]), (&500.into(), &false.into()));
    assert!(grpc["message"].as_str().is_some_and(|text| text.contains("cannot be reached")), "{grpc}");
    assert_eq!(naming.0, 200);

    let _nacos = Nacos::start(Some(port)).await;
    assert_eq!(asked(&mut again, query()).await["errorCode"], 300, "it is asked again once it is back");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_users_the_right_for_each_config_is_asked_for_and_no_token_leaves() {
    let nacos = Nacos::start(None).await;
    let (one, root) = with_admin_at(&[&nacos.setting()]).await;
    let reader = user(&one, &root, ("reader", "a password of reader"), "public:g:config/*", "r").await;
    let config = "/v1/cs/configs?dataId=app&group=g";

    let nobody = call(&one, "", "GET", config, "").await.0;
    let missing = call(&one, &reader, "GET", config, "").await.0;
    let write = call(&one, &reader, "POST", "/v1/cs/configs", "dataId=app&group=g&content=x").await.0;
    let other = call(&one, &reader, "GET", "/v1/cs/configs?dataId=app&group=h", "").await.0;
    let search = call(&one, &reader, "GET", &format!("{config}&search=blur"), "").await.0;
    let admin = call(&one, &login(&one, ROOT).await, "GET", "/v3/admin/cs/echo?accessToken=t&a=b", "").await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    let grpc = asked(&mut client, query()).await;

    assert_eq!((nobody, missing, write, other, search), (403, 404, 403, 403, 403));
    assert_eq!(admin, (200, "GET /nacos/v3/admin/cs/echo?a=b ".to_owned()));
    assert_eq!(grpc["errorCode"], 403);
    assert_eq!(nacos.tokens(), 0, "what this region's callers show stays here");
    one.end().await.expect("ends in order");
}
