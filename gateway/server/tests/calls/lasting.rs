//! What holds while settings change and the process ends.

use std::{sync::Arc, time::Duration};

use http::Response;
use landbridge_gateway::Config;
use tokio::{net::TcpStream, sync::Notify};

use crate::harness::{Endpoint, House, at, full, page, until};

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
