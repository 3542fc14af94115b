//! Limits on how much may come at once and over time.

use landbridge_gateway::Config;

use crate::harness::{Endpoint, House, at, full, page};

#[tokio::test]
async fn calls_over_the_rate_are_told_when_to_come_back() {
    let endpoint = Endpoint::named("a").await;
    let limit = "[[limits]]\nby = \"service\"\nrequests_per_second = 1\nburst = 3\n";
    let house = House::before(&[&endpoint], limit).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let request = house.request("GET", "/").body(full("")).unwrap();
        let answer = house.send(request).await;
        let retry_after = answer.headers().get("retry-after").cloned();
        statuses.push((answer.status().as_u16(), retry_after));
    }

    assert!(statuses[..3].iter().all(|(status, _)| *status == 200), "{statuses:?}");
    assert!(statuses[3..].iter().all(|(status, after)| *status == 429 && after.as_ref().unwrap() == "1"));
    assert_eq!(endpoint.count(), 3);
}

#[tokio::test]
async fn a_trusted_caller_says_whose_rate_a_call_counts_for() {
    let endpoint = Endpoint::named("a").await;
    let limit = "[[limits]]\nby = \"caller_region\"\nrequests_per_second = 1\nburst = 2\n\
                 [admission]\ntrusted_cidrs = [\"127.0.0.0/8\"]\n";
    let house = House::before(&[&endpoint], limit).await;
    let mut passed = Vec::new();

    for region in ["west", "west", "west", "north", "north", "north"] {
        let request = house.request("GET", "/").header("x-landbridge-caller-region", region);
        passed.push(house.send(request.body(full("")).unwrap()).await.status().as_u16());
    }

    assert_eq!(passed, [200, 200, 429, 200, 200, 429]);
}

#[tokio::test]
async fn a_trusted_caller_says_who_calls_and_a_stranger_is_anonymous() {
    let limit = "[[limits]]\nby = \"caller_and_service\"\nrequests_per_second = 1\nburst = 2\n";
    let trusted = format!("{limit}[admission]\ntrusted_cidrs = [\"127.0.0.0/8\"]\n");
    let endpoint = Endpoint::named("a").await;
    for (page, expected) in
        [(trusted.as_str(), [200, 200, 429, 200, 200, 429]), (limit, [200, 200, 429, 429, 429, 429])]
    {
        let house = House::before(&[&endpoint], page).await;
        let mut passed = Vec::new();

        for caller in ["shop", "shop", "shop", "till", "till", "till"] {
            let request = house.request("GET", "/").header("x-landbridge-caller", caller);
            passed.push(house.send(request.body(full("")).unwrap()).await.status().as_u16());
        }

        assert_eq!(passed, expected);
    }
}

#[tokio::test]
async fn a_limit_that_stays_forgets_nothing_when_settings_are_read_again() {
    let endpoint = Endpoint::named("a").await;
    let limit = |by: &str, burst: u32| {
        format!("[[limits]]\nby = \"{by}\"\nrequests_per_second = 1\nburst = {burst}\n")
    };
    let places = [at(endpoint.address, "east", "a")];
    let stays = limit("service", 3);
    let house = House::open(&page(&places, &stays)).await;
    let begun = std::time::Instant::now();
    let mut passed = 0;

    for round in 0..10_u32 {
        // Another limit comes before it, changes and goes.
        let other = if round.is_multiple_of(3) { String::new() } else { limit("caller", 1_000 + round) };
        let fresh = Config::read(&page(&places, &format!("{other}{stays}"))).unwrap();
        house.gateway.as_ref().unwrap().reload(fresh).await.unwrap();
        for _ in 0..2 {
            passed += u64::from(house.get("/").await.0 == 200);
        }
    }

    let most = 3 + begun.elapsed().as_secs() + 1;
    assert!((3..=most).contains(&passed), "{passed} of 20 passed, {most} may");
}

#[tokio::test]
async fn a_full_gateway_refuses_at_once() {
    let silent = Endpoint::silent().await;
    let house = House::before(&[&silent], "[admission]\nin_flight_max = 2\n").await;
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let request = house.request("POST", "/").body(full("")).unwrap();
            let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http::<crate::harness::Body>();
            tokio::spawn(async move { client.request(request).await.map(|answer| answer.status()) })
        })
        .collect();
    crate::harness::until("both calls wait", async || silent.count() == 2).await;

    let answer = house.send(house.request("GET", "/").body(full("")).unwrap()).await;

    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    stuck.into_iter().for_each(|call| call.abort());
}
