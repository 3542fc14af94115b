//! Which place answers, and how an operator sees why.

use std::sync::Arc;

use landbridge_client::Table;
use landbridge_model::ServiceKey;

use crate::harness::{Endpoint, House, at, full, listed, page, until};

#[tokio::test]
async fn calls_stay_in_the_zone_then_in_the_region_then_go_to_the_cheapest_region() {
    let mut zone = Endpoint::named("zone").await;
    let mut region = Endpoint::named("region").await;
    let (cheap, dear) = (Endpoint::named("cheap").await, Endpoint::named("dear").await);
    let list = [
        at(dear.address, "dear", "a"),
        at(cheap.address, "cheap", "a"),
        at(region.address, "east", "b"),
        at(zone.address, "east", "a"),
    ];
    let house = House::open(&page(&list, "[ladder.costs]\ncheap = 1\ndear = 2\n")).await;
    for _ in 0..20 {
        assert_eq!(house.get("/").await.1, "zone");
    }

    zone.kill().await;
    for _ in 0..20 {
        assert_eq!(house.get("/").await.1, "region");
    }
    region.kill().await;
    for _ in 0..20 {
        assert_eq!(house.get("/").await.1, "cheap");
    }

    assert_eq!(dear.count(), 0);
}

#[tokio::test]
async fn the_place_of_the_endpoint_is_told_only_if_wanted() {
    let endpoint = Endpoint::named("a").await;
    let quiet = House::before(&[&endpoint], "").await;
    let open = House::before(&[&endpoint], "[answers]\nshow_place = true\n").await;
    let headers = async |house: &House| {
        let request = house.request("GET", "/").body(full("")).unwrap();
        house.send(request).await.headers().clone()
    };

    assert!(!headers(&quiet).await.contains_key("x-landbridge-endpoint-region"));
    assert_eq!(headers(&open).await["x-landbridge-endpoint-region"], "east");
    assert_eq!(headers(&open).await["x-landbridge-endpoint-zone"], "a");
}

fn table(services: &[(&str, &[&Endpoint])]) -> Arc<Table> {
    let one = |(name, endpoints): &(&str, &[&Endpoint])| {
        let key = ServiceKey::parse("", "", name).unwrap();
        (key, endpoints.iter().map(|endpoint| listed(endpoint.address, &[])).collect())
    };
    Arc::new(Table { services: services.iter().map(one).collect(), ..Table::default() })
}

#[tokio::test]
async fn services_of_the_registry_are_reached_by_path_host_and_header() {
    let endpoint = Endpoint::named("orders").await;
    let house = House::open(&page(&[], "")).await;
    house.tables.send(table(&[("orders", &[&endpoint])])).unwrap();
    until("the service is known", async || house.by_path("/svc/orders/").await.0 == 200).await;
    let ask = |path: &str, host: &str, service: Option<&str>| {
        let mut request = http::Request::get(format!("http://{}{path}", house.address)).header("host", host);
        if let Some(service) = service {
            request = request.header("x-landbridge-service", service);
        }
        request.body(full("")).unwrap()
    };
    let before = endpoint.count();

    for request in [
        ask("/svc/orders/a/b?c", "any", None),
        ask("/x", "orders.DEFAULT_GROUP.public.svc.test:80", None),
        ask("/x", "any", Some("DEFAULT_GROUP@@orders")),
    ] {
        assert_eq!(house.send(request).await.status(), 200);
    }

    let paths: Vec<_> = endpoint.asked()[before..].iter().map(|asked| asked.uri.to_string()).collect();
    assert_eq!(paths, ["/a/b?c", "/x", "/x"]);
}

#[tokio::test]
async fn a_route_spreads_calls_over_services_by_weight() {
    let (old, new) = (Endpoint::named("old").await, Endpoint::named("new").await);
    let split = format!(
        "[[listeners.routes]]\nid = \"split\"\nhosts = [\"split.test\"]\n\
         targets = [{{ static = \"web\", weight = 4 }}, {{ static = \"next\", weight = 1 }}]\n\
         [[statics]]\nname = \"next\"\nendpoints = [{}]\n",
        at(new.address, "east", "a")
    );
    let house = House::before(&[&old], &split).await;

    for _ in 0..300 {
        let request = http::Request::get(format!("http://{}/", house.address)).header("host", "split.test");
        assert_eq!(house.send(request.body(full("")).unwrap()).await.status(), 200);
    }

    assert_eq!(old.count() + new.count(), 300);
    assert!((20..=110).contains(&new.count()), "{} of 300 at a fifth", new.count());
    assert!(house.ask("/landbridge/v1/routes").await.contains("{\"service\":\"static:next\",\"weight\":1}"));
}

#[tokio::test]
async fn a_thousand_new_tables_under_load_lose_no_call() {
    let (one, two) = (Endpoint::named("one").await, Endpoint::named("two").await);
    let house = Arc::new(House::open(&page(&[], "")).await);
    house.tables.send(table(&[("orders", &[&one])])).unwrap();
    until("the service is known", async || house.by_path("/svc/orders/").await.0 == 200).await;
    let calling = house.clone();
    let load = tokio::spawn(async move {
        for _ in 0..1_000 {
            assert_eq!(calling.by_path("/svc/orders/").await.0, 200);
        }
    });

    for turn in 0..1_000 {
        let now: &[&Endpoint] = if turn % 2 == 0 { &[&one, &two] } else { &[&two] };
        house.tables.send(table(&[("orders", now), ("other", &[&one])])).unwrap();
        tokio::task::yield_now().await;
    }

    load.await.unwrap();
}

#[tokio::test]
async fn explain_names_the_endpoint_that_routing_takes() {
    let (zone, region) = (Endpoint::named("zone").await, Endpoint::named("region").await);
    let house =
        House::open(&page(&[at(zone.address, "east", "a"), at(region.address, "east", "b")], "")).await;

    let told = house.ask("/landbridge/v1/explain?service=static:web").await;
    let from_b = house.ask("/landbridge/v1/explain?service=static:web&from=east/b").await;

    let decision = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["decision"].clone();
    assert_eq!(decision(&told)["endpoint"], zone.address.to_string());
    assert_eq!(decision(&told)["rung"], "same_zone");
    assert_eq!(decision(&from_b)["endpoint"], region.address.to_string());
}

#[tokio::test]
async fn explain_names_the_rule_that_takes_a_call_and_why_the_others_do_not() {
    let endpoint = Endpoint::named("a").await;
    let more = "repeatable = true\n[[listeners.routes]]\nid = \"canary\"\nhosts = [\"other.test\"]\n\
                headers = { x-canary = \"yes\" }\npath_prefix = \"/api\"\nrewrite_prefix = \"/v2\"\nstatic = \"web\"\n";
    let house = House::before(&[&endpoint], more).await;
    let ask = async |query: &str| {
        let told = house.ask(&format!("/landbridge/v1/explain?{query}")).await;
        serde_json::from_str::<serde_json::Value>(&told).unwrap()
    };

    let taken = ask("method=POST&host=other.test:80&path=/api/x&header=x-canary:%20yes&header=x-b:1").await;
    let missed = ask("host=other.test&path=/api/x&header=x-canary:no").await;
    let first = ask("method=POST&host=web.test&path=/x").await;

    assert_eq!((&taken["route"]["id"], &taken["route"]["path"]), (&"canary".into(), &"/v2/x".into()));
    assert_eq!(taken["route"]["rules"][0]["because"], "the call is for another host");
    assert_eq!(taken["route"]["rules"][1]["takes"], true);
    assert_eq!(taken["route"]["repeatable"], false);
    assert_eq!(taken["decision"]["endpoint"], endpoint.address.to_string());
    assert_eq!((&first["route"]["id"], &first["route"]["repeatable"]), (&"all".into(), &true.into()));
    assert_eq!((&missed["route"]["refused"], &missed["service"]), (&"no_route".into(), &().into()));
    assert_eq!(missed["route"]["rules"][1]["because"], "the header x-canary is not \"yes\"");
    assert_eq!(missed["route"]["rules"].as_array().unwrap().len(), 5);
    assert_eq!(ask("host=web.test&method=TRACE").await["route"]["refused"], "method");
    for nonsense in ["", "service=static:web&path=/x", "path=/x&wat=1", "path=/x&header=none"] {
        assert!(ask(nonsense).await["error"].is_string(), "{nonsense}");
    }
}

#[tokio::test]
async fn operators_see_routes_endpoints_metrics_and_health() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    house.get("/").await;

    assert!(house.ask("/landbridge/v1/routes").await.contains("\"static:web\""));
    assert!(house.ask("/landbridge/v1/services").await.contains("same_zone"));
    let endpoints = house.ask("/landbridge/v1/endpoints?service=static:web").await;
    assert!(endpoints.contains(&endpoint.address.to_string()), "{endpoints}");
    assert!(house.ask("/readyz").await.len() < 200);
    until("the call is counted", async || {
        let page = house.ask("/metrics").await;
        page.contains(
            "landbridge_gateway_calls_total{service=\"static:web\",rung=\"same_zone\",class=\"2xx\"}",
        )
    })
    .await;
}

#[tokio::test]
async fn an_evacuated_zone_is_previewed_left_listed_and_refilled() {
    let (zone, region) = (Endpoint::named("zone").await, Endpoint::named("region").await);
    let house =
        House::open(&page(&[at(zone.address, "east", "a"), at(region.address, "east", "b")], "")).await;
    let drill = r#"{"region":"east","zone":"a","ramp_ms":0,"for_ms":600000}"#;

    let ahead = house.tell("POST", "/landbridge/v1/evacuations?preview=true", drill).await;
    assert!(ahead.contains("\"then\":{\"east same_region\":1.0}"), "{ahead}");
    assert_eq!(house.get("/").await.1, "zone", "looking ahead changes nothing");

    let begun = house.tell("POST", "/landbridge/v1/evacuations", drill).await;
    assert!(begun.contains("\"id\":1"), "{begun}");
    for _ in 0..20 {
        assert_eq!(house.get("/").await.1, "region");
    }
    assert!(house.ask("/landbridge/v1/evacuations").await.contains("\"keeps\":0.0"));

    house.tell("DELETE", "/landbridge/v1/evacuations/1", "").await;
    for _ in 0..20 {
        assert_eq!(house.get("/").await.1, "zone");
    }
}

#[tokio::test]
async fn an_evacuation_ends_by_itself_and_a_wrong_one_is_refused() {
    let (zone, region) = (Endpoint::named("zone").await, Endpoint::named("region").await);
    let house =
        House::open(&page(&[at(zone.address, "east", "a"), at(region.address, "east", "b")], "")).await;

    let nowhere = house.tell("POST", "/landbridge/v1/evacuations", r#"{"region":"mars"}"#).await;
    assert!(nowhere.contains("no endpoint"), "{nowhere}");
    let backwards = r#"{"region":"east","ramp_ms":5,"for_ms":4}"#;
    assert!(house.tell("POST", "/landbridge/v1/evacuations", backwards).await.contains("ramp_ms"));

    let short = r#"{"region":"east","zone":"a","ramp_ms":0,"for_ms":300}"#;
    house.tell("POST", "/landbridge/v1/evacuations", short).await;
    until("the zone is back", async || house.get("/").await.1 == "zone").await;
    assert!(house.ask("/landbridge/v1/evacuations").await.contains("[]"));
}

#[tokio::test]
async fn a_service_may_have_an_order_of_regions_of_its_own() {
    let (cheap, dear) = (Endpoint::named("cheap").await, Endpoint::named("dear").await);
    let list = [at(cheap.address, "cheap", "a"), at(dear.address, "dear", "a")];
    let order = "[[ladder.orders]]\nservices = [\"static:web\"]\nregions = [\"dear\"]\n";
    let house = House::open(&page(&list, &format!("[ladder.costs]\ncheap = 1\ndear = 2\n{order}"))).await;

    for _ in 0..20 {
        assert_eq!(house.get("/").await.1, "dear");
    }
}
