//! What the access log tells of calls.

use std::path::Path;

use http_body_util::BodyExt;
use landbridge_gateway::Config;
use serde_json::Value;

use crate::harness::{Endpoint, House, at, full, page, until};

fn with_log(endpoint: &Endpoint, file: &Path, share: &str, queue_max: usize) -> String {
    let log = format!("[access_log]\nshare = {share}\nqueue_max = {queue_max}\nfile = {file:?}\n");
    page(&[at(endpoint.address, "east", "b")], &log)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_line_tells_who_called_what_and_who_answered_how_but_not_the_query() {
    let endpoint = Endpoint::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.json");
    let house = House::open(&with_log(&endpoint, &file, "1.0", 16)).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = house
        .request("GET", "/orders/7?token=secret")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .body(full(""))
        .unwrap();

    house.send(request).await.into_body().collect().await.unwrap();

    until("the line is written", async || lines(&file).len() == 1).await;
    let line = &lines(&file)[0];
    for (key, value) in [
        ("event", "call"),
        ("method", "GET"),
        ("host", "web.test"),
        ("path", "/orders/7"),
        ("version", "HTTP/1.1"),
        ("caller", "127.0.0.1"),
        ("trace", trace),
        ("service", "static:web"),
        ("rung", "same_region"),
        ("endpoint", &endpoint.address.to_string()),
        ("region", "east"),
        ("zone", "b"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!((&line["status"], &line["bytes"], &line["whole"]), (&200.into(), &5.into(), &true.into()));
    assert!(line["total_us"].as_u64() >= line["first_byte_us"].as_u64(), "{line}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("secret"));
}

#[tokio::test]
async fn what_the_gateway_refuses_is_told_with_its_reason() {
    let endpoint = Endpoint::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.json");
    let house = House::open(&with_log(&endpoint, &file, "1.0", 16)).await;

    assert_eq!(house.by_path("/nowhere").await.0, 404);

    until("the line is written", async || lines(&file).len() == 1).await;
    let line = &lines(&file)[0];
    assert_eq!((&line["refusal"], &line["status"]), (&"no_route".into(), &404.into()));
    assert_eq!((&line["endpoint"], &line["service"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn about_the_configured_share_of_calls_is_told_and_a_reload_changes_it() {
    let endpoint = Endpoint::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.json");
    let house = House::open(&with_log(&endpoint, &file, "0.25", 1_024)).await;
    for _ in 0..400 {
        house.get("/").await;
    }
    let counted = async || {
        let page = house.ask("/metrics").await;
        let line = page.lines().find(|line| line.starts_with("landbridge_gateway_access_log_lines_total"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).unwrap_or_default()
    };
    let drawn = lines(&file).len();
    assert!((50..160).contains(&drawn), "{drawn} of 400");
    assert!(counted().await >= drawn);

    let moved = dir.path().join("access.1.json");
    std::fs::rename(&file, &moved).unwrap();
    let all = Config::read(&with_log(&endpoint, &file, "1.0", 1_024)).unwrap();
    house.gateway.as_ref().unwrap().reload(all).await.unwrap();

    until("every call is told, in the new file", async || {
        let before = lines(&file).len();
        for _ in 0..10 {
            house.get("/").await;
        }
        lines(&file).len() >= before + 10
    })
    .await;
}

#[tokio::test]
async fn lines_for_which_there_is_no_room_are_dropped_and_counted_and_calls_go_on() {
    let endpoint = Endpoint::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Held open on both sides and never read: the pipe fills, then the queue.
    let _held = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let house = House::open(&with_log(&endpoint, &pipe, "1.0", 2)).await;
    let long = "x".repeat(1_000);

    until("a line is dropped", async || {
        for _ in 0..20 {
            assert_eq!(house.get(&format!("/{long}")).await.0, 200);
        }
        house.ask("/metrics").await.contains("landbridge_gateway_access_log_dropped_total")
    })
    .await;
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_process_ends() {
    let endpoint = Endpoint::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.json");
    let mut house = House::open(&with_log(&endpoint, &file, "1.0", 1_024)).await;
    for _ in 0..50 {
        house.get("/").await;
    }

    house.shutdown.begin();
    house.gateway.take().unwrap().ended().await.unwrap();

    assert_eq!(lines(&file).len(), 50);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let endpoint = Endpoint::named("a").await;
    let page = with_log(&endpoint, Path::new("/nowhere/access.json"), "1.0", 1);
    let surroundings = landbridge_gateway::Surroundings {
        tables: tokio::sync::watch::channel(Default::default()).1,
        shutdown: landbridge_runtime::shutdown::Shutdown::new(),
        metrics: crate::harness::metrics(),
    };

    let refused = landbridge_gateway::Gateway::start(Config::read(&page).unwrap(), surroundings).await;

    assert!(refused.unwrap_err()[0].contains("/nowhere/access.json"));
}
