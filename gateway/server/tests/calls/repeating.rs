//! What of the rules for second tries is configurable, and how many second tries there may be at most.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use http::Response;
use tokio::{task::JoinSet, time::sleep_until};

use crate::harness::{Asked, Endpoint, House, at, full, page};

/// One endpoint that fails in the gateway's zone, and a good one in the next.
async fn ill_and_well(status: u16, more: &str) -> (Endpoint, Endpoint, House) {
    let (ill, well) = (Endpoint::failing(status).await, Endpoint::named("well").await);
    let places = [at(ill.address, "east", "a"), at(well.address, "east", "b")];
    let house = House::open(&page(&places, more)).await;
    (ill, well, house)
}

#[tokio::test]
async fn only_the_configured_methods_are_repeated() {
    let (ill, well, house) =
        ill_and_well(503, "[retries]\nmethods = [\"POST\"]\n[health]\nfailures_max = 0\n").await;

    assert_eq!(house.call("POST", "/", "again").await, (200, "well".to_owned()));
    assert_eq!((ill.count(), well.count()), (1, 1));
    assert_eq!(house.get("/").await.0, 503, "a method that is not listed is sent once");
    assert_eq!((ill.count(), well.count()), (2, 1));
}

#[tokio::test]
async fn only_the_configured_statuses_count_as_failures() {
    let more = "[retries]\nstatuses = [500]\n[health]\nfailures_max = 1\n";
    let (ill, well, house) = ill_and_well(503, more).await;
    for _ in 0..10 {
        assert_eq!(house.get("/").await.0, 503, "a status that is not listed is an answer like any other");
    }
    assert_eq!((ill.count(), well.count()), (10, 0));

    let (ill, well, house) = ill_and_well(500, more).await;
    for _ in 0..10 {
        assert_eq!(house.get("/").await, (200, "well".to_owned()));
    }
    assert_eq!((ill.count(), well.count()), (1, 10), "one failure, and it is out of rotation");
}

/// An endpoint that answers at once until it is told to take its time.
async fn tiring(tired: &Arc<AtomicBool>, pause: Duration) -> Endpoint {
    let tired = tired.clone();
    Endpoint::start(move |_: Asked| {
        let tired = tired.clone();
        async move {
            if tired.load(SeqCst) {
                sleep_until(tokio::time::Instant::now() + pause).await;
            }
            Response::new(full("done"))
        }
    })
    .await
}

/// Callers at once; each calls again when it is answered.
const CALLERS: usize = 20;

/// Calls of each.
const CALLS: usize = 20;

#[tokio::test]
async fn tries_beside_others_stay_within_their_budget_though_everything_is_slow() {
    const BURST: usize = 10;
    let tired = Arc::<AtomicBool>::default();
    let slow = Duration::from_millis(120);
    let (one, two) = (tiring(&tired, slow).await, tiring(&tired, slow).await);
    let budget = format!("budget_percent = 5\nbudget_per_second = 0\nbudget_burst = {BURST}\n");
    let more = format!("[hedging]\ndelay_min_ms = 20\ndelay_max_ms = 20\n{budget}");
    let house = Arc::new(House::before(&[&one, &two], &more).await);
    for _ in 0..100 {
        assert_eq!(house.get("/").await.0, 200);
    }
    let before = one.count() + two.count();
    tired.store(true, SeqCst);

    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let house = house.clone();
        callers.spawn(async move {
            for _ in 0..CALLS {
                assert_eq!(house.get("/").await.0, 200);
            }
        });
    }
    callers.join_all().await;

    let calls = CALLERS * CALLS;
    // What the calls before earned is kept beside the burst. Until the pace is known again, at most two calls of each
    // caller, an endpoint that became slow looks like one that died, and overtaking it is free.
    let earned = BURST + (100 + calls) * 5 / 100 + 2 * CALLERS;
    let beside = one.count() + two.count() - before - calls;
    println!("{beside} tries beside {calls} calls, {earned} allowed");
    assert!(beside > 0, "none was tried beside another: nothing was shown");
    assert!(beside <= earned, "{beside} tries beside others for {calls} calls, {earned} were earned");
}

#[tokio::test]
async fn a_rewritten_path_is_what_the_endpoint_sees() {
    let endpoint = Endpoint::named("a").await;
    let route = "[[listeners.routes]]\nid = \"api\"\nhosts = [\"api.test\"]\npath_prefix = \"/api/v1\"\n\
                 rewrite_prefix = \"/v2\"\nstatic = \"web\"\n\
                 [[listeners.routes]]\nid = \"root\"\nhosts = [\"root.test\"]\npath_prefix = \"/shop\"\n\
                 rewrite_prefix = \"/\"\nstatic = \"web\"\n";
    let house = House::before(&[&endpoint], route).await;
    let cases = [
        ("api.test", "/api/v1/orders/7?full=/api/v1", "/v2/orders/7?full=/api/v1", 200),
        ("api.test", "/api/v1?a=b", "/v2?a=b", 200),
        ("api.test", "/api/v1", "/v2", 200),
        ("api.test", "/api/v10/orders", "", 404),
        ("root.test", "/shop/cart", "/cart", 200),
        ("root.test", "/shop", "/", 200),
        ("root.test", "/shop?x", "/?x", 200),
    ];
    for (host, asked, seen, status) in cases {
        let before = endpoint.count();

        let request = http::Request::get(format!("http://{}{asked}", house.address)).header("host", host);
        let answer = house.send(request.body(full("")).unwrap()).await;

        assert_eq!(answer.status(), status, "{host}{asked}");
        let arrived: Vec<_> = endpoint.asked()[before..].iter().map(|asked| asked.uri.to_string()).collect();
        let expected: &[&str] = if seen.is_empty() { &[] } else { &[seen] };
        assert_eq!(arrived, expected, "{host}{asked}");
    }
}

/// Calls that come at once, on connections of their own.
async fn burst(house: &Arc<House>, calls: usize) -> usize {
    let mut running = JoinSet::new();
    for _ in 0..calls {
        let house = house.clone();
        // A connection of its own each: the kernel spreads them over the threads.
        running.spawn(async move {
            let answer = house.raw(b"GET / HTTP/1.1\r\nhost: web.test\r\nconnection: close\r\n\r\n").await;
            answer.starts_with("HTTP/1.1 200")
        });
    }
    running.join_all().await.into_iter().filter(|passed| *passed).count()
}

#[tokio::test]
async fn threads_hold_one_limit_together() {
    const BURST: usize = 60;
    let endpoint = Endpoint::named("a").await;
    let limit = format!("[[limits]]\nby = \"service\"\nrequests_per_second = 1\nburst = {BURST}\n");
    let page = page(&[at(endpoint.address, "east", "a")], &limit).replace("threads = 1", "threads = 2");
    let house = Arc::new(House::open(&page).await);
    let begun = Instant::now();

    let passed = burst(&house, 4 * BURST).await;

    // What comes back while they are sent: one a second.
    let most = BURST + begun.elapsed().as_secs() as usize + 1;
    assert!((BURST..=most).contains(&passed), "{passed} of {} passed, {BURST} may", 4 * BURST);
}
