//! Users, roles, permissions, tokens and owners, as SDKs and consoles meet them over real sockets.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use landbridge_tests::{
    http::send,
    sdk::{Connection, ask_well, connect, enrolment, service},
    wait::until_async,
};
use landbridge_wire::nacos::{
    ClusterFilter,
    grpc::{Payload, ask},
};
use ring::hmac;
use serde_json::Value;

use crate::one::{One, READY_WITHIN, TOKEN_KEY};

pub const ROOT: (&str, &str) = ("nacos", "the first admin's");
const ALICE: (&str, &str) = ("alice", "a password of alice");
const BOB: (&str, &str) = ("bob", "a password of bob");

/// Calls with a token, if there is one; the parameters go as a form.
pub async fn call(one: &One, token: &str, method: &str, path: &str, form: &str) -> (u16, String) {
    let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("accessToken", token)] };
    send(one.http(), method, &format!("/nacos{path}"), headers, form).await.expect("answered")
}

async fn login_at(one: &One, path: &str, (name, password): (&str, &str)) -> (u16, Value) {
    let form = format!("username={name}&password={}", password.replace(' ', "+"));
    let (status, text) = call(one, "", "POST", path, &form).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub async fn login(one: &One, who: (&str, &str)) -> String {
    let (status, said) = login_at(one, "/v1/auth/login", who).await;
    assert_eq!(status, 200, "{said}");
    said["accessToken"].as_str().expect("a token").to_owned()
}

/// A member with an admin; gives the admin's token.
async fn with_admin() -> (One, String) {
    with_admin_at(&[]).await
}

/// The same with further settings.
pub async fn with_admin_at(more: &[&str]) -> (One, String) {
    let one = One::start_guarded(more).await;
    let secret = std::fs::read_to_string(one.data().join("admin-bootstrap")).expect("a secret");
    let form = format!("password={}&secret={secret}", ROOT.1.replace(' ', "+"));
    let (status, text) = call(&one, "", "POST", "/v1/auth/users/admin", &form).await;
    assert_eq!(status, 200, "{text}");
    let token = login(&one, ROOT).await;
    (one, token)
}

/// Makes a user with a role that may do this with that.
pub async fn user(
    one: &One,
    root: &str,
    (name, password): (&str, &str),
    resource: &str,
    action: &str,
) -> String {
    let password_form = password.replace(' ', "+");
    for (path, form) in [
        ("/v1/auth/users", format!("username={name}&password={password_form}")),
        ("/v1/auth/roles", format!("username={name}&role=role-of-{name}")),
        ("/v1/auth/permissions", format!("role=role-of-{name}&resource={resource}&action={action}")),
    ] {
        let (status, text) = call(one, root, "POST", path, &form).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
    login(one, (name, password)).await
}

fn register(name: &str, port: u16) -> String {
    format!("serviceName={name}&ip=10.0.0.1&port={port}")
}

/// A payload with these headers.
fn with(mut payload: Payload, headers: &[(&str, &str)]) -> Payload {
    let metadata = payload.metadata.as_mut().expect("our payloads have metadata");
    metadata.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    payload
}

async fn code(client: &mut Connection, payload: Payload) -> (String, i64) {
    let answer = client.requests.request(payload).await.expect("answered").into_inner();
    let said: Value = serde_json::from_slice(answer.json()).expect("JSON");
    (answer.type_name().to_owned(), said["errorCode"].as_i64().expect("a code"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_admin_is_made_once_by_whoever_reads_the_secret() {
    let one = One::start_guarded(&[]).await;
    let file = one.data().join("admin-bootstrap");
    let secret = std::fs::read_to_string(&file).expect("a secret");

    let without = call(&one, "", "POST", "/v1/auth/users/admin", "password=long+enough").await;
    let wrong = call(&one, "", "POST", "/v1/auth/users/admin", "password=long+enough&secret=nacos").await;
    let header = [("x-landbridge-bootstrap", secret.as_str())];
    let right = send(one.http(), "POST", "/nacos/v3/auth/user/admin", &header, "").await.expect("answered");
    let again = call(&one, "", "POST", "/v1/auth/users/admin", &format!("secret={secret}")).await;

    assert_eq!((without.0, wrong.0, right.0, again.0), (403, 403, 200, 409), "{} {}", right.1, again.1);
    let said: Value = serde_json::from_str(&right.1).expect("JSON");
    let password = said["data"]["password"].as_str().expect("a drawn password");
    assert_eq!(password.len(), 32);
    assert!(!file.exists());
    assert_eq!(login_at(&one, "/v1/auth/login", ("nacos", password)).await.0, 200);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_login_path_gives_a_token_that_every_way_of_sending_it_takes() {
    let (one, root) = with_admin().await;
    user(&one, &root, ALICE, "public:*:*", "rw").await;

    for path in ["/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login"] {
        let (status, said) = login_at(&one, path, ALICE).await;
        assert_eq!(
            (status, &said["tokenTtl"], &said["username"]),
            (200, &18_000.into(), &"alice".into()),
            "{said}"
        );
        assert_eq!(said["globalAdmin"], false);
        let token = said["accessToken"].as_str().expect("a token");
        let list = "/nacos/v1/ns/instance/list?serviceName=orders";
        let bearer = format!("Bearer {token}");
        for (headers, more) in [
            (vec![("Authorization", bearer.as_str())], String::new()),
            (vec![("accessToken", token)], String::new()),
            (vec![], format!("&accessToken={token}")),
            (vec![], format!("&username=alice&password={}", ALICE.1.replace(' ', "%20"))),
        ] {
            let answer =
                send(one.http(), "GET", &format!("{list}{more}"), &headers, "").await.expect("answered");
            assert_eq!(answer.0, 200, "{}", answer.1);
        }
    }
    for wrong in [("alice", "wrong password"), ("nobody", "a password of alice"), ("", "")] {
        assert_eq!(login_at(&one, "/v1/auth/login", wrong).await.0, 403);
    }
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_reaches_as_far_as_its_namespace_group_and_verb() {
    let (one, root) = with_admin().await;
    let alice = user(&one, &root, ALICE, "public:DEFAULT_GROUP:naming/orders*", "rw").await;
    let bob = user(&one, &root, BOB, "public:*:*", "r").await;
    let list = |token: &str, query: &str| format!("/v1/ns/instance/list?{query}&accessToken={token}");

    for (wanted, answer) in [
        (200, call(&one, &alice, "POST", "/v1/ns/instance", &register("orders", 80)).await),
        (200, call(&one, &alice, "POST", "/v2/ns/instance", &register("orders-v2", 80)).await),
        (403, call(&one, &alice, "POST", "/v1/ns/instance", &register("users", 80)).await),
        (403, call(&one, &alice, "POST", "/v1/ns/instance", &register("other@@orders", 80)).await),
        (403, call(&one, &alice, "POST", "/v1/ns/instance?namespaceId=dev", &register("orders", 80)).await),
        (403, call(&one, &alice, "GET", "/v1/ns/service/list?pageNo=1&pageSize=9", "").await),
        (403, call(&one, &bob, "POST", "/v1/ns/instance", &register("orders", 80)).await),
        (403, call(&one, &bob, "DELETE", "/v1/ns/instance", &register("orders", 80)).await),
        (403, call(&one, &bob, "PUT", "/v1/ns/instance/beat", &register("orders", 80)).await),
        (200, call(&one, &bob, "GET", "/v1/ns/service/list?pageNo=1&pageSize=9", "").await),
        (200, call(&one, "", "GET", &list(&bob, "serviceName=orders"), "").await),
        (403, call(&one, "", "GET", &list(&bob, "serviceName=orders&namespaceId=dev"), "").await),
        (403, call(&one, &bob, "GET", "/v1/ns/service/names", "").await),
        (403, call(&one, &bob, "GET", "/v1/auth/users?pageNo=1&pageSize=9", "").await),
        (403, call(&one, &bob, "POST", "/v1/auth/roles", "role=ROLE_ADMIN&username=bob").await),
        (403, call(&one, &bob, "PUT", "/v1/ns/operator/switches", "entry=pushEnabled&value=false").await),
        (
            403,
            call(&one, &bob, "POST", "/v1/console/namespaces", "customNamespaceId=x&namespaceName=x").await,
        ),
        (
            200,
            call(&one, &root, "POST", "/v1/console/namespaces", "customNamespaceId=x&namespaceName=x").await,
        ),
        (200, call(&one, &root, "GET", "/v1/ns/service/names", "").await),
    ] {
        assert_eq!(answer.0, wanted, "{}", answer.1);
    }
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc_a_call_without_the_right_is_refused_in_its_own_type_with_403() {
    let (one, root) = with_admin().await;
    let alice = user(&one, &root, ALICE, "public:DEFAULT_GROUP:naming/orders", "rw").await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    let token = [("accessToken", alice.as_str())];
    let everything = ClusterFilter::default();

    let register = ask::register(&service("orders"), &enrolment(1));
    assert_eq!(code(&mut client, register.clone()).await, ("InstanceResponse".to_owned(), 403));
    let bad = with(register.clone(), &[("accessToken", &alice[1..])]);
    assert_eq!(code(&mut client, bad).await, ("InstanceResponse".to_owned(), 403));
    ask_well(&mut client.requests, with(register, &token)).await.expect("registered");
    let by_name = [("username", ALICE.0), ("password", ALICE.1)];
    let query = ask::query(&service("orders"), &everything, false);
    ask_well(&mut client.requests, with(query, &by_name)).await.expect("answered");
    for (payload, kind) in [
        (ask::register(&service("users"), &enrolment(1)), "InstanceResponse"),
        (ask::register_batch(&service("users"), &[enrolment(1)]), "BatchInstanceResponse"),
        (ask::query(&service("users"), &everything, false), "QueryServiceResponse"),
        (ask::subscribe(&service("users"), &everything, true), "SubscribeServiceResponse"),
    ] {
        assert_eq!(code(&mut client, with(payload, &token)).await, (kind.to_owned(), 403));
    }
    assert_eq!(code(&mut client, ask::health_check()).await.1, 0);
    one.end().await.expect("ends in order");
}

/// Signs a header and claims with a key, as a forger who knows it would.
fn signed(header: &str, claims: &str, key: &hmac::Key) -> String {
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let tag = hmac::sign(key, signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(tag))
}

/// Tokens made from a good one, none of which is good.
fn bad_tokens(good: &str) -> Vec<String> {
    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let (header, claims) = head.split_once('.').expect("three parts");
    let text = String::from_utf8(BASE64.decode(claims).expect("base64")).expect("text");
    let ours = hmac::Key::new(hmac::HMAC_SHA256, TOKEN_KEY.as_bytes());
    let longer = hmac::Key::new(hmac::HMAC_SHA512, TOKEN_KEY.as_bytes());
    let other = hmac::Key::new(hmac::HMAC_SHA256, b"another key of thirty-two bytes!!");
    assert_eq!(signed(HEADER, &text, &ours), good, "a forger with the key makes what the server makes");
    let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let said: Value = serde_json::from_str(&text).expect("JSON");
    let expired = text.replace(&said["exp"].to_string(), "1");
    let mut bad = vec![
        String::new(),
        "..".to_owned(),
        "null".to_owned(),
        "AUTH_DISABLED".to_owned(),
        format!("Bearer {good}"),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        signed(r#"{"alg":"HS512","typ":"JWT"}"#, &text, &longer),
        signed(HEADER, &text, &other),
        signed(HEADER, &text, &hmac::Key::new(hmac::HMAC_SHA256, b"")),
        head.to_owned(),
        format!("{head}."),
        good[..good.len() - 1].to_owned(),
        good[1..].to_owned(),
        format!("{good}="),
        format!("{good}A"),
        format!("{good}.{signature}"),
        format!("{header}.{}.{signature}", BASE64.encode(text.replace("alice", "nacos"))),
        format!("{header}.{claims}.{}", BASE64.encode([0; 32])),
        format!("{header}.{claims}.{}", "A".repeat(1 << 17)),
        good.replace('.', "\u{2024}"),
    ];
    let odd_heads = [
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"RS256","typ":"JWT"}"#,
        r#"{"alg":"hs256","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"JWT","crit":["x"]}"#,
        r#"{"alg":"HS256","jwk":{"kty":"oct","k":""}}"#,
        r#"{"alg":"HS256","kid":"../../dev/null","typ":"JWT"}"#,
    ];
    bad.extend(odd_heads.map(|odd| signed(odd, &text, &ours)));
    let odd_claims = [
        "{}",
        "not json",
        r#"{"sub":"alice"}"#,
        r#"{"sub":"alice","exp":99999999999,"pwd":""}"#,
        r#"{"sub":"alice","exp":"99999999999","pwd":"x"}"#,
        r#"{"sub":["alice"],"exp":99999999999,"pwd":"x"}"#,
        &text.replace("alice", "nacos"),
        &text.replace("alice", "nobody"),
        &expired,
    ];
    bad.extend(odd_claims.map(|odd| signed(HEADER, odd, &ours)));
    bad
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bad_token_is_taken_from_a_header_a_bearer_a_parameter_or_grpc_metadata() {
    let (one, root) = with_admin().await;
    let good = user(&one, &root, ALICE, "public:*:*", "rw").await;
    let mut client = connect(one.grpc()).await.expect("a connection");
    let list = "/nacos/v1/ns/instance/list?serviceName=orders";
    let query = ask::query(&service("orders"), &ClusterFilter::default(), false);
    let bad = bad_tokens(&good);
    assert!(bad.len() > 30);

    for (token, taken) in bad.iter().map(|token| (token, false)).chain([(&good, true)]) {
        let bearer = format!("Bearer {token}");
        let escaped: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let shown: String = token.chars().take(120).collect();
        for (way, headers, more) in [
            ("header", vec![("accessToken", token.as_str())], String::new()),
            ("bearer", vec![("Authorization", bearer.as_str())], String::new()),
            ("parameter", vec![], format!("&accessToken={escaped}")),
        ] {
            let answer = send(one.http(), "GET", &format!("{list}{more}"), &headers, "").await;
            // A token that is too long for a head ends the call before anybody looks at it.
            let status = answer.map_or(0, |(status, _)| status);
            let refused = status == 403 || (token.len() > 65_536 && [0, 400, 414, 431].contains(&status));
            assert_eq!((status == 200, refused), (taken, !taken), "{way} {shown}: {status}");
        }
        for headers in [("accessToken", token.as_str()), ("Authorization", bearer.as_str())] {
            let wanted = if taken { 0 } else { 403 };
            assert_eq!(code(&mut client, with(query.clone(), &[headers])).await.1, wanted, "gRPC {shown}");
        }
    }
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_from_operators_calls_and_logins_stands_in_the_list_of_deeds() {
    let (one, root) = with_admin().await;
    let alice = user(&one, &root, ALICE, "public:*:*", "rw").await;

    let grant = call(&one, &alice, "POST", "/v1/auth/roles", "role=ROLE_ADMIN&username=alice").await;
    let stranger = call(&one, "", "PUT", "/v1/ns/operator/switches", "entry=pushEnabled&value=false").await;
    let login = login_at(&one, "/v1/auth/login", ("mallory", "a wrong one")).await;
    let away = call(&one, &root, "GET", "/v2/core/loader/reloadCurrent?count=1000", "").await;
    let deeds: Value = serde_json::from_str(&one.get("/landbridge/v1/audit").await.1).expect("JSON");

    assert_eq!((grant.0, stranger.0, login.0, away.0), (403, 403, 403, 200));
    for (who, verb, target, outcome) in [
        ("user alice at 127.0.0.1", "/v1/auth/roles", "username=alice role=ROLE_ADMIN", "refused"),
        ("anyone at 127.0.0.1", "/v1/ns/operator/switches", "entry=pushEnabled", "refused"),
        ("anyone at 127.0.0.1", "/v1/auth/login", "username=mallory", "refused"),
        ("user nacos", "/v2/core/loader/reloadCurrent", "", "done"),
    ] {
        let is = |row: &Value| {
            row["who"] == who && row["verb"] == verb && row["target"] == target && row["outcome"] == outcome
        };
        assert!(deeds.as_array().is_some_and(|rows| rows.iter().any(is)), "{who} {verb}: {deeds}");
    }
    assert!(!deeds.to_string().contains("a wrong one"));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_neither_overwrites_nor_removes_an_instance() {
    let (one, root) = with_admin().await;
    let alice = user(&one, &root, ALICE, "public:*:*", "rw").await;
    let bob = user(&one, &root, BOB, "public:*:*", "rw").await;
    let of_alice = register("orders", 80);
    assert_eq!(call(&one, &alice, "POST", "/v1/ns/instance", &of_alice).await.0, 200);
    let mut client = connect(one.grpc()).await.expect("a connection");
    let by_alice = with(ask::register(&service("orders"), &enrolment(1)), &[("accessToken", &alice)]);
    ask_well(&mut client.requests, by_alice).await.expect("registered");
    let claimed = format!("{of_alice}&metadata=landbridge.owner%3Dbob");
    let beat = format!("{of_alice}&beat=%7B%22ip%22%3A%2210.0.0.1%22%2C%22port%22%3A80%7D");

    for (method, path, form) in [
        ("POST", "/v1/ns/instance", &of_alice),
        ("POST", "/v1/ns/instance", &claimed),
        ("DELETE", "/v1/ns/instance", &of_alice),
        ("PUT", "/v1/ns/instance", &claimed),
        ("PATCH", "/v1/ns/instance", &claimed),
        ("PUT", "/v1/ns/instance/beat", &of_alice),
        ("PUT", "/v1/ns/instance/beat", &beat),
        ("PUT", "/v1/ns/instance/metadata/batch", &claimed),
        ("POST", "/v3/client/ns/instance", &of_alice),
    ] {
        let (status, text) = call(&one, &bob, method, path, form).await;
        assert_eq!(status, 403, "{method} {path} {form}: {text}");
    }
    let mut of_bob = connect(one.grpc()).await.expect("a connection");
    let by_bob = with(ask::register(&service("orders"), &enrolment(1)), &[("accessToken", &bob)]);
    assert_eq!(code(&mut of_bob, by_bob).await, ("InstanceResponse".to_owned(), 403));

    for (method, form) in [("PUT", &claimed), ("PUT", &of_alice), ("DELETE", &of_alice)] {
        let (status, text) = call(&one, &alice, method, "/v1/ns/instance", form).await;
        assert_eq!(status, 200, "{method} {form}: {text}");
        if method == "PUT" {
            assert_eq!(call(&one, &bob, "DELETE", "/v1/ns/instance", &of_alice).await.0, 403);
        }
    }
    assert_eq!(call(&one, &bob, "POST", "/v1/ns/instance", &of_alice).await.0, 200);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_with_the_password_and_the_user_and_the_last_admin_stays() {
    let (one, root) = with_admin().await;
    let alice = user(&one, &root, ALICE, "public:*:*", "rw").await;
    let list = "/v1/ns/instance/list?serviceName=orders";
    assert_eq!(call(&one, &alice, "GET", list, "").await.0, 200);

    let others = call(&one, &alice, "PUT", "/v1/auth/users", "username=nacos&newPassword=taken-over").await;
    let own = call(&one, &alice, "PUT", "/v1/auth/users", "username=alice&newPassword=another-one").await;
    assert_eq!((others.0, own.0), (403, 200));
    assert_eq!(call(&one, &alice, "GET", list, "").await.0, 403);
    let alice = login(&one, ("alice", "another-one")).await;
    assert_eq!(call(&one, &root, "DELETE", "/v1/auth/users", "username=alice").await.0, 200);
    assert_eq!(call(&one, &alice, "GET", list, "").await.0, 403);

    let last = call(&one, &root, "DELETE", "/v1/auth/users", "username=nacos").await;
    let role = call(&one, &root, "DELETE", "/v1/auth/roles", "role=ROLE_ADMIN&username=nacos").await;
    assert_eq!((last.0, role.0), (400, 400), "{} {}", last.1, role.1);
    let users = call(&one, &root, "GET", "/v1/auth/users?pageNo=1&pageSize=9", "").await.1;
    assert!(
        users.contains(r#""username":"nacos""#) && !users.contains("$2") && !users.contains("assword"),
        "{users}"
    );
    let deeds = one.get("/landbridge/v1/audit").await.1;
    assert!(deeds.contains("user nacos") && deeds.contains("username=alice"), "{deeds}");
    assert!(!deeds.contains("another-one") && !deeds.contains("password"), "{deeds}");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_asks_for_names_a_login_still_succeeds_and_says_so() {
    let one = One::start().await;

    let (status, said) = login_at(&one, "/v1/auth/users/login", ("nacos", "whatever")).await;
    let state = one.get("/nacos/v1/console/server/state").await.1;

    assert_eq!(
        (status, &said["accessToken"], &said["globalAdmin"]),
        (200, &"AUTH_DISABLED".into(), &false.into())
    );
    assert!(state.contains(r#""auth_enabled":"false""#), "{state}");
    one.end().await.expect("ends in order");
    // The page is the process's: a member of another test may have started since, and have put its own word there.
    let off = async || {
        let one = One::start().await;
        let page = one.get("/metrics").await.1;
        one.end().await.expect("ends in order");
        page.contains("landbridge_registry_auth_enabled 0").then_some(())
    };
    until_async("a page that says that nobody is asked", READY_WITHIN, off).await;
}
