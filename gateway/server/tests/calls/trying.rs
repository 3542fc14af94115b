//! Which failures are tried again, where, and how often.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Endpoint, House, at, page, until};

#[tokio::test]
async fn a_get_survives_an_endpoint_that_breaks_off() {
    let (rude, good) = (Endpoint::rude().await, Endpoint::named("good").await);
    let house = House::before(&[&rude, &good], "").await;

    for _ in 0..50 {
        assert_eq!(house.get("/").await, (200, "good".to_owned()));
    }
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let rude = Endpoint::rude().await;
    let house = House::before(&[&rude], "").await;

    let (status, _) = house.call("POST", "/", "body").await;

    assert_eq!(status, 502);
    assert_eq!(rude.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_route_says_which_of_its_calls_may_be_repeated() {
    let (rude, good) = (Endpoint::rude().await, Endpoint::named("good").await);
    let route = |rule: &str| format!("{rule}\n[retries]\nbudget_burst = 100\n");
    let house = House::before(&[&rude, &good], &route("repeatable = true")).await;

    for _ in 0..20 {
        assert_eq!(house.call("POST", "/", "body").await, (200, "good".to_owned()));
    }

    let rude = Endpoint::rude().await;
    let house = House::before(&[&rude], &route("repeatable = false")).await;
    assert_eq!(house.get("/").await.0, 502);
    assert_eq!(rude.connections.load(std::sync::atomic::Ordering::SeqCst), 1, "sent once");
}

#[tokio::test]
async fn a_post_is_tried_elsewhere_when_no_byte_was_sent() {
    let echo =
        Endpoint::start(|asked| async move { http::Response::new(crate::harness::full(asked.body)) }).await;
    let nobody = Endpoint::nobody().await;
    let house = House::open(&page(&[at(nobody, "east", "a"), at(echo.address, "east", "a")], "")).await;

    for _ in 0..20 {
        assert_eq!(house.call("POST", "/", "once").await, (200, "once".to_owned()));
    }
}

#[tokio::test]
async fn a_put_is_repeated_with_its_whole_body() {
    let failing = Endpoint::failing(503).await;
    let echo =
        Endpoint::start(|asked| async move { http::Response::new(crate::harness::full(asked.body)) }).await;
    let house =
        House::open(&page(&[at(failing.address, "east", "a"), at(echo.address, "east", "b")], "")).await;

    assert_eq!(house.call("PUT", "/", "the body").await, (200, "the body".to_owned()));

    assert_eq!(failing.asked()[0].body, "the body");
}

#[tokio::test]
async fn a_body_too_long_to_keep_is_not_repeated() {
    let failing = Endpoint::failing(503).await;
    let good = Endpoint::named("good").await;
    let house =
        House::open(&page(&[at(failing.address, "east", "a"), at(good.address, "east", "b")], "")).await;
    let body: &'static str = "x".repeat(100_000).leak();

    assert_eq!(house.call("PUT", "/", body).await.0, 503);

    assert_eq!(failing.asked()[0].body.len(), 100_000);
    assert_eq!(good.count(), 0);
}

#[tokio::test]
async fn a_failure_status_of_the_last_try_is_passed_on() {
    let (one, two) = (Endpoint::failing(503).await, Endpoint::failing(503).await);
    let house = House::before(&[&one, &two], "[retries]\ntries_max = 2\n").await;

    assert_eq!(house.get("/").await, (503, "no".to_owned()));

    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn a_silent_endpoint_costs_one_try_and_then_its_place_in_the_rotation() {
    let (silent, good) = (Endpoint::silent().await, Endpoint::named("good").await);
    let house = House::before(&[&silent, &good], "[timeouts]\ntry_ms = 100\n").await;

    let begun = Instant::now();
    for _ in 0..40 {
        assert_eq!(house.get("/").await, (200, "good".to_owned()));
    }

    // On probation it is tried once a second, where the machine is so slow that the calls take seconds.
    let allowed = 4 + begun.elapsed().as_secs() as usize;
    assert!(silent.count() <= allowed, "{} of 40 calls met the silent endpoint", silent.count());
}

#[tokio::test]
async fn all_tries_together_end_by_the_calls_deadline() {
    let silent = Endpoint::silent().await;
    let house = House::before(&[&silent], "[timeouts]\noverall_ms = 300\ntry_ms = 120\n").await;
    let begun = Instant::now();

    let (status, _) = house.get("/").await;

    assert_eq!(status, 504);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(silent.count() >= 2, "there was time for a second try");
}

#[tokio::test]
async fn an_endpoint_that_nobody_can_reach_is_a_bad_gateway() {
    let house = House::open(&page(&[at(Endpoint::nobody().await, "east", "a")], "")).await;

    assert_eq!(house.get("/").await.0, 502);
}

#[tokio::test]
async fn repeats_end_when_the_budget_is_spent() {
    let (one, two) = (Endpoint::failing(503).await, Endpoint::failing(503).await);
    let budget = "budget_percent = 0\nbudget_per_second = 0\nbudget_burst = 5\n";
    let more = format!("[retries]\n{budget}[health]\nfailures_max = 0\n");
    let house = House::before(&[&one, &two], &more).await;

    for _ in 0..30 {
        house.get("/").await;
    }

    assert_eq!(one.count() + two.count(), 35);
}

#[tokio::test]
async fn an_endpoint_that_dies_under_load_costs_no_get() {
    let (mut dying, good) = (Endpoint::named("dying").await, Endpoint::named("good").await);
    let house = House::before(&[&dying, &good], "").await;
    for _ in 0..50 {
        assert_eq!(house.get("/").await.0, 200);
    }

    dying.kill().await;

    for _ in 0..50 {
        assert_eq!(house.get("/").await, (200, "good".to_owned()));
    }
}

/// Nothing ends by itself while a test runs.
const LONG: &str = "[timeouts]\ntry_ms = 60000\noverall_ms = 60000\n";

#[tokio::test]
async fn a_get_that_waits_is_answered_by_another_endpoint_and_the_silent_one_leaves_the_rotation() {
    let (silent, good) = (Endpoint::silent().await, Endpoint::named("good").await);
    let more = format!("{LONG}[hedging]\ndelay_max_ms = 60\n");
    let house = House::before(&[&silent, &good], &more).await;

    for _ in 0..40 {
        assert_eq!(house.get("/").await, (200, "good".to_owned()));
    }

    assert!(silent.count() <= 4, "{} of 40 calls met the silent endpoint", silent.count());
    until("operators see it out of rotation", async || {
        house.ask("/landbridge/v1/endpoints?service=static:web").await.contains("\"breaker\":\"open\"")
    })
    .await;
    until("the metrics tell of the second try", async || {
        let page = house.ask("/metrics").await;
        let counted = |name: &str| {
            page.lines()
                .any(|line| line.starts_with(name) && line.contains("static:web") && !line.ends_with(" 0"))
        };
        counted("landbridge_gateway_hedges_total") && counted("landbridge_gateway_hedges_won_total")
    })
    .await;
}

#[tokio::test]
async fn a_put_that_waits_has_its_whole_body_at_both_endpoints() {
    let (silent, good) = (Endpoint::silent().await, Endpoint::named("good").await);
    let places = [at(silent.address, "east", "a"), at(good.address, "east", "b")];
    let house = House::open(&page(&places, &format!("{LONG}[hedging]\ndelay_max_ms = 60\n"))).await;

    assert_eq!(house.call("PUT", "/", "the body").await, (200, "good".to_owned()));

    assert_eq!(
        (silent.asked()[0].body.as_ref(), good.asked()[0].body.as_ref()),
        (&b"the body"[..], &b"the body"[..])
    );
}

#[tokio::test]
async fn a_post_that_waits_is_not_tried_beside() {
    let (silent, good) = (Endpoint::silent().await, Endpoint::named("good").await);
    let places = [at(silent.address, "east", "a"), at(good.address, "east", "b")];
    let more = "[hedging]\ndelay_max_ms = 60\n[timeouts]\ntry_ms = 400\n";
    let house = House::open(&page(&places, more)).await;

    assert_eq!(house.call("POST", "/", "once").await.0, 504);

    assert_eq!((silent.count(), good.count()), (1, 0));
}

#[tokio::test]
async fn a_call_leaves_the_region_only_before_silence() {
    let near = Endpoint::silent().await;
    let far = Endpoint::named("far").await;
    let places = [at(near.address, "east", "a"), at(far.address, "west", "a")];
    let more =
        format!("{LONG}[hedging]\ndelay_max_ms = 60\n[health]\nsilence_min_ms = 300\nfailures_max = 0\n");
    let house = House::open(&page(&places, &more)).await;
    let begun = Instant::now();

    assert_eq!(house.get("/").await, (200, "far".to_owned()));

    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_caller_that_is_slow_with_its_body_is_waited_for_and_its_endpoint_not_blamed() {
    let echo =
        Endpoint::start(|asked| async move { http::Response::new(crate::harness::full(asked.body)) }).await;
    let more =
        "[timeouts]\ntry_ms = 200\noverall_ms = 300\n[health]\nsilence_min_ms = 50\nfailures_max = 1\n";
    let house = House::before(&[&echo], more).await;
    for method in ["POST", "PUT"] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let head = format!("{method} / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 10\r\n\r\nhello");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 1_024];

        let early = tokio::time::timeout(Duration::from_millis(700), stream.read(&mut answer)).await;
        assert!(early.is_err(), "{method}: answered before the body was there");
        stream.write_all(b"world").await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();

        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{method}: {answer}");
        let told = house.ask("/landbridge/v1/endpoints?service=static:web").await;
        assert!(told.contains("\"breaker\":\"closed\""), "{told}");
    }
}

#[tokio::test]
async fn a_callers_own_deadline_is_kept_passed_on_and_no_fault_of_the_endpoint() {
    let silent = Endpoint::silent().await;
    let house = House::before(&[&silent], "[health]\nsilence_min_ms = 0\nfailures_max = 1\n").await;
    let begun = Instant::now();

    let request =
        house.request("GET", "/").header("x-landbridge-timeout-ms", "150").header("traceparent", "00-1-2-01");
    let answer = house.send(request.body(crate::harness::full("")).unwrap()).await;

    assert_eq!(answer.status(), 504);
    assert!(
        (Duration::from_millis(150)..Duration::from_secs(3)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    let headers = silent.asked()[0].headers.clone();
    let left: u64 = headers["x-landbridge-timeout-ms"].to_str().unwrap().parse().unwrap();
    assert!((1..=150).contains(&left), "{left}");
    assert_eq!(headers["traceparent"], "00-1-2-01");
    let told = house.ask("/landbridge/v1/endpoints?service=static:web").await;
    assert!(told.contains("\"breaker\":\"closed\""), "{told}");
    let spent = house.request("GET", "/").header("x-landbridge-timeout-ms", "0");
    assert_eq!(house.send(spent.body(crate::harness::full("")).unwrap()).await.status(), 504);
    assert_eq!(silent.count(), 1, "nothing is asked for a caller that has gone");
}
