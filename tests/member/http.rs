//! What HTTP v1 clients rely on: texts, codes, beats, edits, lists and pushes by UDP.

use std::time::Duration;

use landbridge_tests::wait::until_async;
use serde_json::Value;
use tokio::net::UdpSocket;

use crate::one::One;

/// Everything here takes milliseconds; on a busy machine more.
const WITHIN: Duration = Duration::from_secs(20);

async fn list(one: &One, name: &str) -> Value {
    let (status, text) = one.get(&format!("/nacos/v1/ns/instance/list?serviceName={name}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("a list is JSON")
}

async fn instance(one: &One, method: &str, rest: &str) -> (u16, String) {
    one.ask(method, &format!("/nacos/v1/ns/instance{rest}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_registered_looked_at_edited_and_deregistered() {
    let one = One::start().await;
    let who = "serviceName=orders&ip=10.0.0.1&port=80";

    let registered = instance(&one, "POST", &format!("?{who}&metadata=a%3Db")).await;
    let looked = instance(&one, "GET", &format!("?{who}")).await;
    let edited = instance(&one, "PUT", &format!("?{who}&weight=5&enabled=true")).await;
    let weight = list(&one, "orders").await["hosts"][0]["weight"].clone();
    let deregistered = instance(&one, "DELETE", &format!("?{who}")).await;

    assert_eq!((registered.0, registered.1.as_str()), (200, "ok"));
    assert!(looked.1.contains(r#""ip":"10.0.0.1""#), "{}", looked.1);
    assert_eq!((edited.0, weight), (200, Value::from(5.0)), "{}", edited.1);
    assert_eq!((deregistered.0, deregistered.1.as_str()), (200, "ok"));
    assert_eq!(list(&one, "orders").await["hosts"], Value::Array(vec![]));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_light_beat_of_a_stranger_asks_it_to_register_and_a_full_one_registers_it() {
    let one = One::start().await;
    let beat = "%7B%22ip%22%3A%2210.0.0.2%22%2C%22port%22%3A81%7D";

    let light = instance(&one, "PUT", "/beat?serviceName=beating&ip=10.0.0.2&port=81").await.1;
    let full = instance(&one, "PUT", &format!("/beat?serviceName=beating&beat={beat}")).await.1;
    let again = instance(&one, "PUT", "/beat?serviceName=beating&ip=10.0.0.2&port=81").await.1;

    assert!(light.contains("20404"), "{light}");
    assert!(full.contains("10200") && again.contains("10200"), "{full} {again}");
    assert_eq!(list(&one, "beating").await["hosts"][0]["port"], 81);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deregistration_goes_by_ip_and_port_whatever_the_cluster_for_each_kind() {
    let one = One::start().await;

    for (name, said, other) in [("kept", "&ephemeral=false", ""), ("leased", "", "&ephemeral=false")] {
        let who = format!("serviceName={name}&ip=10.0.0.1&port=80");
        let registered = instance(&one, "POST", &format!("?{who}{said}&clusterName=None")).await;
        assert_eq!(registered.0, 200, "{}", registered.1);
        for others in [format!("?{who}{other}"), format!("?{who}1{said}")] {
            instance(&one, "DELETE", &others).await;
            assert_eq!(list(&one, name).await["hosts"][0]["clusterName"], "None", "{others}");
        }
        let deregistered = instance(&one, "DELETE", &format!("?{who}{said}")).await;
        assert_eq!((deregistered.0, deregistered.1.as_str()), (200, "ok"));
        assert_eq!(list(&one, name).await["hosts"], Value::Array(vec![]), "{name}");
    }
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persistent_instance_makes_an_ephemeral_one_of_its_service_impossible() {
    let one = One::start().await;
    let persistent = instance(&one, "POST", "?serviceName=kept&ip=10.0.0.1&port=80&ephemeral=false").await;

    let ephemeral = instance(&one, "POST", "?serviceName=kept&ip=10.0.0.2&port=80").await;

    assert_eq!(persistent.0, 200, "{}", persistent.1);
    assert_eq!(ephemeral.0, 400);
    assert!(
        ephemeral.1.contains("is persistent service, can't register ephemeral instance."),
        "{}",
        ephemeral.1
    );
    one.end().await.expect("ends in order");
}

/// Asks for a list as a Java 1.x client that listens at a port.
async fn listen(one: &One, socket: &UdpSocket, query: &str) -> String {
    let port = socket.local_addr().expect("an address").port();
    let request = format!(
        "GET /nacos/v1/ns/instance/list?{query}&udpPort={port}&clientIP=127.0.0.1 HTTP/1.1\r\nhost: x\r\nuser-agent: Nacos-Java-Client:v1.0.0\r\nconnection: close\r\n\r\n"
    );
    landbridge_tests::http::say(one.http(), request.as_bytes()).await.expect("answered")
}

/// The list of the next packet, which must be short enough to be plain.
async fn told(socket: &UdpSocket) -> Value {
    let mut packet = [0; 4096];
    let length =
        tokio::time::timeout(WITHIN, socket.recv(&mut packet)).await.expect("told").expect("received");
    let said: Value = serde_json::from_slice(&packet[..length]).expect("short packets are plain JSON");
    assert_eq!(said["type"], "dom");
    serde_json::from_str(said["data"].as_str().expect("a text")).expect("JSON inside")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_by_udp_is_told_of_a_change() {
    let one = One::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let listed = listen(&one, &socket, "serviceName=told").await;

    instance(&one, "POST", "?serviceName=told&ip=10.0.0.3&port=90").await;

    assert!(listed.contains(r#""hosts":[]"#), "{listed}");
    assert_eq!(told(&socket).await["hosts"][0]["port"], 90);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_socket_is_told_of_every_choice_of_clusters_that_it_asked_for() {
    let one = One::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    for clusters in ["blue", "green", "blue"] {
        listen(&one, &socket, &format!("serviceName=both&clusters={clusters}")).await;
    }

    instance(&one, "POST", "?serviceName=both&ip=10.0.0.3&port=90&clusterName=green").await;
    let mut heard = [told(&socket).await, told(&socket).await];
    heard.sort_by_key(|list| list["clusters"].to_string());

    assert_eq!(
        heard.map(|list| (list["clusters"].clone(), list["hosts"].as_array().map_or(9, Vec::len))),
        [(Value::from("blue"), 0), (Value::from("green"), 1)]
    );
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_no_datagram_holds_is_counted_and_its_client_polls() {
    let one = One::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut dice = 1_u64;
    let mut noise = || {
        let letter = |_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (dice >> 33) as u8 % 26)
        };
        (0..1_000).map(letter).collect::<String>()
    };
    for port in 1..=140 {
        let metadata = noise();
        let rest = format!("?serviceName=large&ip=10.0.0.3&port={port}&metadata=k%3D{metadata}");
        assert_eq!(instance(&one, "POST", &rest).await.0, 200);
    }

    let listed = listen(&one, &socket, "serviceName=large").await;
    instance(&one, "POST", "?serviceName=large&ip=10.0.0.3&port=999").await;

    until_async("the push that cannot be sent is counted", WITHIN, async || {
        let page = one.get("/metrics").await.1;
        let line = page.lines().find(|line| line.starts_with("landbridge_registry_udp_too_long_total "))?;
        (!line.ends_with(" 0")).then_some(())
    })
    .await;
    assert!(listed.contains(r#""cacheMillis":10000"#), "it asks again after 10 s");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_that_clients_and_probes_ask_are_there() {
    let one = One::start().await;

    for (path, wanted) in [
        ("/livez", "alive"),
        ("/readyz?verbose", "[+] naming"),
        ("/metrics", "landbridge_registry_ready "),
        ("/nacos/actuator/prometheus", "landbridge_build_info"),
        ("/nacos/v1/ns/operator/metrics", r#""status":"UP""#),
        ("/nacos/v1/console/health/liveness", "OK"),
        ("/nacos/v1/console/health/readiness", "OK"),
        ("/nacos/v1/cs/health", "UP"),
        ("/nacos/v1/console/server/state", "version"),
        ("/landbridge/v1/status", r#""phase":"ready""#),
        ("/landbridge/v1/regions", r#""own":true"#),
        ("/landbridge/v1/members", r#""member":1"#),
    ] {
        let (status, text) = one.get(path).await;
        assert!(status == 200 && text.contains(wanted), "{path}: {status} {text}");
    }
    let unknown = one.get("/nacos/v1/ns/nonsense").await;
    assert_eq!((unknown.0, unknown.1.as_str()), (501, "no such api:GET:/nacos/v1/ns/nonsense"));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_status_refuses_the_calls_it_names_and_no_others() {
    let one = One::start().await;
    let switch = "/nacos/v1/ns/operator/switches";

    for (said, reads, writes) in [
        ("DOWN", 503, 503),
        ("READ_ONLY", 200, 503),
        ("WRITE_ONLY", 503, 200),
        ("PAUSED", 503, 503),
        ("UP", 200, 200),
    ] {
        let set = one.ask("PUT", &format!("{switch}?entry=overriddenServerStatus&value={said}")).await;
        let read = instance(&one, "GET", "/list?serviceName=orders").await;
        let wrote = instance(&one, "POST", "?serviceName=orders&ip=10.0.0.1&port=80").await;
        let told = one.get("/nacos/v1/ns/operator/metrics").await;

        assert_eq!((set.0, read.0, wrote.0, told.0), (200, reads, writes, 200), "{said}: {}", read.1);
        for (_, text) in [read, wrote].iter().filter(|(status, _)| *status == 503) {
            let wanted = format!("server is {said} now, detailed error message: ");
            assert!(text.starts_with(&wanted), "{said}: {text}");
        }
        assert!(told.1.contains(&format!(r#""status":"{said}""#)), "{said}: {}", told.1);
        assert_eq!(one.get(switch).await.0, 200, "{said}");
    }
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_instances_alone_are_never_filled_up_by_the_protection_threshold() {
    let one = One::start().await;
    one.ask("POST", "/nacos/v1/ns/service?serviceName=guarded&protectThreshold=0.6").await;
    for (port, healthy) in [(80, true), (81, false)] {
        let who = format!("?serviceName=guarded&ip=10.0.0.1&port={port}&healthy={healthy}");
        assert_eq!(instance(&one, "POST", &who).await.0, 200);
    }

    let all = list(&one, "guarded").await;
    let healthy = list(&one, "guarded&healthyOnly=true").await;

    let shown = |list: &Value| -> Vec<(u64, bool)> {
        let hosts = list["hosts"].as_array().expect("hosts").iter();
        let one = |host: &Value| (host["port"].as_u64().expect("a port"), host["healthy"] == true);
        hosts.map(one).collect()
    };
    assert_eq!((shown(&all), &all["reachProtectionThreshold"]), (vec![(80, true), (81, true)], &true.into()));
    assert_eq!((shown(&healthy), &healthy["reachProtectionThreshold"]), (vec![(80, true)], &false.into()));
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_is_given_every_instance_with_labels_that_tell_it_apart() {
    let one = One::start().await;
    let said = "serviceName=scraped&clusterName=blue&weight=2&metadata=a.b%3Dx,zone%3Dz1";
    let ipv6 = "serviceName=scraped&groupName=OTHER&ip=fd00%3A%3A1&port=90&enabled=false";
    for who in [&format!("{said}&ip=10.0.0.1&port=80"), ipv6, "serviceName=another&ip=10.0.0.9&port=1"] {
        assert_eq!(instance(&one, "POST", &format!("?{who}")).await.0, 200, "{who}");
    }

    let (status, text) = one.get("/nacos/prometheus/namespaceId/public/service/scraped").await;
    let all = one.get("/nacos/prometheus").await.1;

    let rows: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, rows.as_array().map(Vec::len)), (200, Some(2)), "{text}");
    assert_eq!(
        (&rows[0]["targets"][0], &rows[1]["targets"][0]),
        (&"10.0.0.1:80".into(), &"[fd00::1]:90".into())
    );
    for (row, name, value) in [
        (0, "__meta_clusterName", "blue"),
        (0, "a_b", "x"),
        (0, "__meta_landbridge_zone", "z1"),
        (0, "__meta_landbridge_weight", "2"),
        (0, "__meta_landbridge_namespace", "public"),
        (0, "__meta_landbridge_group", "DEFAULT_GROUP"),
        (0, "__meta_landbridge_service", "scraped"),
        (0, "__meta_landbridge_healthy", "true"),
        (0, "__meta_landbridge_enabled", "true"),
        (1, "__meta_clusterName", "DEFAULT"),
        (1, "__meta_landbridge_group", "OTHER"),
        (1, "__meta_landbridge_enabled", "false"),
        (1, "__meta_landbridge_ephemeral", "true"),
    ] {
        assert_eq!(rows[row]["labels"][name], value, "{name} of {row}: {text}");
    }
    assert!(all.contains("10.0.0.9:1") && all.contains("[fd00::1]:90"), "{all}");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_server_names_every_listed_member_and_never_an_unspecified_address() {
    let listed = One::start_with(&["cluster.members=1@10.0.0.7:8848"]).await;
    for path in ["/nacos/serverlist", "/product/serverlist", "/nacos/serverlist?namespace=public"] {
        assert_eq!(listed.get(path).await, (200, "10.0.0.7:8848\n".to_owned()), "{path}");
    }
    assert_eq!((listed.get("/nacos/unknown").await.0, listed.get("/product/unknown").await.0), (404, 404));
    listed.ask("POST", "/nacos/v1/as/nodes?product=product&cluster=mine&ips=10.0.0.8").await;
    assert_eq!(listed.get("/product/mine").await, (200, "10.0.0.8\n".to_owned()));
    assert_eq!(listed.get("/nacos/mine").await.0, 404);
    listed.end().await.expect("ends in order");

    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "a secret of operators that is long enough").expect("written");
    let file = format!("admin.token_file={}", secret.path().display());
    let open = One::start_with(&["listen.host=0.0.0.0", &file]).await;
    let request = "GET /nacos/serverlist HTTP/1.1\r\nhost: registry.example:80\r\nconnection: close\r\n\r\n";
    let answer = landbridge_tests::http::say(open.http(), request.as_bytes()).await.expect("answered");
    let wanted = format!("\r\n\r\nregistry.example:{}\n", open.http().port());
    assert!(answer.ends_with(&wanted), "{answer}");
    open.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_and_the_raft_group_are_told_as_they_are_and_what_is_not_done_says_so() {
    let one = One::start().await;
    let raft = format!("127.0.0.1:{}", one.http().port() - 1000);

    let loads: Value = serde_json::from_str(&one.get("/nacos/v2/core/loader/cluster").await.1).expect("JSON");
    let smart = one.get("/nacos/v2/core/loader/smartReloadCluster").await;
    let myself = one.get("/nacos/v2/core/cluster/node/self").await.1;
    let stranger =
        one.ask("POST", "/nacos/v2/core/ops/raft?command=transferLeader&value=10.0.0.1:7848").await;
    let known =
        one.ask("POST", &format!("/nacos/v2/core/ops/raft?command=transferLeader&value={raft}")).await;

    assert_eq!((&loads["memberCount"], &loads["completed"]), (&1.into(), &true.into()), "{loads}");
    assert_eq!(smart.0, 501, "{}", smart.1);
    let wanted = format!(r#""leader":"{raft}","raftGroupMember":["{raft}"]"#);
    assert!(myself.contains(&wanted), "{myself}");
    assert!(stranger.0 == 400 && stranger.1.contains("raftPort"), "{} {}", stranger.0, stranger.1);
    assert_ne!(known.0, 400, "{}", known.1);
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_parameters_are_named() {
    let one = One::start().await;

    for (rest, wanted) in [
        ("?serviceName=x&port=80", "ip"),
        ("?serviceName=x&ip=10.0.0.1&port=99999", "port"),
        ("?serviceName=a%0d%0ab&ip=10.0.0.1&port=80", "service"),
        ("?serviceName=x&ip=10.0.0.1&port=80&enabled=perhaps", "enabled"),
    ] {
        let (status, text) = instance(&one, "POST", rest).await;
        assert!(status == 400 && text.contains(wanted), "{rest}: {status} {text}");
    }
    one.end().await.expect("ends in order");
}
