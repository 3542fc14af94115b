//! What holds while settings change and the process ends.

use std::{sync::Arc, time::Duration};

use http::Response;
use landbridge_gateway::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::harness::{Endpoint, House, PATIENCE, at, full, page, until};

#[tokio::test]
async fn new_settings_take_hold_without_losing_a_call() {
    let (one, two) = (Endpoint::named("one").await, Endpoint::named("two").await);
    let house = House::before(&[&one], "").await;
    assert_eq!(house.get("/").await.1, "one");
    let fresh = Config::read(&page(&[at(two.address, "east", "a")], "")).unwrap();

    house.gateway.as_ref().unwrap().reload(fresh).await.unwrap();

    assert_eq!(house.get("/").await.1, "two");
}

#[tokio::test]
async fn a_call_in_flight_ends_well_when_the_process_is_told_to_end() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let slow = Endpoint::start(move |_| {
        let opened = opened.clone();
        async move {
            opened.notified().await;
            Response::new(full("late"))
        }
    })
    .await;
    let mut house = House::before(&[&slow], "").await;
    let gateway = house.gateway.take().unwrap();
    let ending = async {
        until("the call is under way", async || slow.count() == 1).await;
        house.shutdown.begin();
        until("the port is closed", async || TcpStream::connect(house.address).await.is_err()).await;
        gate.notify_one();
        gateway.ended().await
    };

    let (answer, ended) = tokio::join!(house.get("/"), ending);

    assert_eq!(answer, (200, "late".to_owned()));
    assert_eq!(ended, Ok(()));
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once_though_clients_stay_connected() {
    let endpoint = Endpoint::named("a").await;
    let mut house = House::before(&[&endpoint], "").await;
    house.get("/").await;
    let begun = std::time::Instant::now();

    house.shutdown.begin();
    let ended = house.gateway.take().unwrap().ended().await;

    assert_eq!(ended, Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_busy_port_is_told_and_nothing_is_left_open() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let page = page(&[], "")
        .replace("listen = \"127.0.0.1:0\"\nby_path", &format!("listen = \"{}\"\nby_path", house.address));
    let surroundings = landbridge_gateway::Surroundings {
        tables: tokio::sync::watch::channel(Default::default()).1,
        shutdown: landbridge_runtime::shutdown::Shutdown::new(),
        metrics: crate::harness::metrics(),
    };

    let refused = landbridge_gateway::Gateway::start(Config::read(&page).unwrap(), surroundings).await;

    let mistakes = refused.unwrap_err();
    assert!(
        mistakes[0].contains("calls") && mistakes[0].contains(&house.address.to_string()),
        "{mistakes:?}"
    );
    assert_eq!(house.get("/").await.0, 200);
}

/// Long enough for a connection to give back what it needs for calls.
const REST: Duration = Duration::from_millis(1_200);

#[tokio::test]
async fn a_client_that_rested_calls_again_on_the_same_connection() {
    let endpoint = Endpoint::named("hello").await;
    let house = House::before(&[&endpoint], "").await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let pieces =
        ["GET / HTTP/1.1\r\nhost: web.test\r\n\r\n", "\r\n", "GET / HTT", "P/1.1\r\nhost: web.test\r\n\r\n"];
    for (number, piece) in pieces.into_iter().enumerate() {
        stream.write_all(piece.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while piece.ends_with("\r\n\r\n") && !answer.ends_with(b"\r\n\r\nhello") {
            let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await.unwrap().unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        }

        let more = tokio::time::timeout(REST, stream.read(&mut [0])).await;

        assert!(more.is_err(), "piece {number}: neither a byte nor an end comes while it rests");
    }
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn calls_that_come_at_once_are_all_answered_before_the_client_rests() {
    let endpoint = Endpoint::named("hello").await;
    let house = House::before(&[&endpoint], "").await;

    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all("GET / HTTP/1.1\r\nhost: web.test\r\n\r\n".repeat(40).as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    while String::from_utf8_lossy(&answers).matches("hello").count() < 40 {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answers)).await.unwrap().unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answers));
    }

    assert_eq!(endpoint.count(), 40);
}
