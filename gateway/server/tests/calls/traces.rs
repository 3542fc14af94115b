//! Spans as a collector gets them, and what an endpoint is told of a trace.

use http::Response;
use serde_json::Value;

use crate::harness::{Endpoint, House, at, full, page, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn collector() -> Endpoint {
    Endpoint::start(|_| async { Response::new(full("{}")) }).await
}

fn tracing(endpoint: &Endpoint, collector: &Endpoint, share: &str) -> String {
    let section =
        format!("[tracing]\ncollector = \"{}\"\nshare = {share}\nqueue_max = 64\n", collector.address);
    page(&[at(endpoint.address, "east", "b")], &section)
}

fn spans(collector: &Endpoint) -> Vec<Value> {
    let pages = collector.asked();
    let pages = pages.iter().map(|asked| {
        assert_eq!(
            (asked.uri.path(), &asked.headers["content-type"]),
            ("/v1/traces", &"application/json".parse().unwrap())
        );
        serde_json::from_slice::<Value>(&asked.body).unwrap()
    });
    pages
        .flat_map(|page| page["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap())
        .collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    &attributes.iter().find(|attribute| attribute["key"] == key).unwrap()["value"]
}

async fn call(house: &House, traceparent: Option<&str>) {
    let mut request = house.request("GET", "/orders?secret=1");
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let answer = house.send(request.body(full("")).unwrap()).await;
    assert_eq!(answer.status(), 200);
    http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
}

#[tokio::test]
async fn a_traced_call_is_a_span_under_its_callers_and_its_endpoint_is_told_so() {
    let (endpoint, collector) = (Endpoint::named("a").await, collector().await);
    let house = House::open(&tracing(&endpoint, &collector, "0.0")).await;

    call(&house, Some(&format!("00-{TRACE}-00f067aa0ba902b7-01"))).await;

    until("the span is there", async || spans(&collector).len() == 1).await;
    let span = &spans(&collector)[0];
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &"00f067aa0ba902b7".into()));
    let told = endpoint.asked()[0].headers["traceparent"].to_str().unwrap().to_owned();
    assert_eq!(told, format!("00-{TRACE}-{}-01", span["spanId"].as_str().unwrap()));
    assert_eq!(attribute(span, "http.response.status_code")["intValue"], "200");
    assert_eq!(attribute(span, "landbridge.service")["stringValue"], "static:web");
    assert_eq!(attribute(span, "landbridge.endpoint.zone")["stringValue"], "b");
    let nanoseconds = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanoseconds("endTimeUnixNano") >= nanoseconds("startTimeUnixNano"));
    assert!(!span.to_string().contains("secret"));
}

#[tokio::test]
async fn a_call_whose_caller_does_not_trace_goes_on_as_it_came() {
    let (endpoint, collector) = (Endpoint::named("a").await, collector().await);
    let house = House::open(&tracing(&endpoint, &collector, "1.0")).await;
    let untraced = format!("00-{TRACE}-00f067aa0ba902b7-00");

    call(&house, Some(&untraced)).await;
    call(&house, None).await;

    until("the other call's span is there", async || !spans(&collector).is_empty()).await;
    assert_eq!(endpoint.asked()[0].headers["traceparent"], *untraced);
    let (told, span) = (&endpoint.asked()[1].headers["traceparent"], &spans(&collector)[0]);
    let (trace, id) = (span["traceId"].as_str().unwrap(), span["spanId"].as_str().unwrap());
    assert_eq!(told, &*format!("00-{trace}-{id}-01"));
    assert_eq!((spans(&collector).len(), &span["parentSpanId"]), (1, &"".into()));
}
