//! What gRPC endpoints say of themselves: a call that was refused with its head is tried elsewhere, if that is safe.

use http::{Request, Response};

use crate::{
    harness::{Body, Endpoint, House, at, full, page},
    passing::http2,
};

/// An endpoint whose every answer is over with its head, with a status of gRPC.
async fn over_with(status: &'static str) -> Endpoint {
    Endpoint::start(move |_| async move {
        let answer = Response::builder().header("content-type", "application/grpc");
        answer.header("grpc-status", status).body(full("")).unwrap()
    })
    .await
}

/// A gateway with one endpoint in its zone and one beside it, whose calls may be repeated or not.
async fn house(near: &Endpoint, beside: &Endpoint, repeatable: bool) -> House {
    let list = [(near, "a"), (beside, "b")]
        .map(|(one, zone)| at(one.address, "east", zone).replace(" }", ", protocol = \"h2c\" }"));
    House::open(&page(&list, &format!("repeatable = {repeatable}\n[hedging]\ndelay_max_ms = 0\n"))).await
}

fn call() -> Request<Body> {
    let request =
        Request::post("http://web.test/pkg.Service/Call").header("content-type", "application/grpc");
    request.body(full("\0\0\0\0\0")).unwrap()
}

/// The status with which one call ends.
async fn status(house: &House) -> String {
    let answer = http2(house).await.send_request(call()).await.unwrap();
    answer.headers()["grpc-status"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_grpc_call_answered_unavailable_is_tried_elsewhere_and_its_endpoint_goes_out_of_rotation() {
    let (ill, well) = (over_with("14").await, over_with("0").await);
    let house = house(&ill, &well, true).await;

    for _ in 0..20 {
        assert_eq!(status(&house).await, "0");
    }

    assert_eq!(well.count(), 20);
    assert!((3..20).contains(&ill.count()), "{} calls went to the one that is ill", ill.count());
}

#[tokio::test]
async fn a_grpc_call_that_may_not_be_repeated_keeps_the_answer_it_got() {
    let (ill, well) = (over_with("14").await, over_with("0").await);
    let house = house(&ill, &well, false).await;

    assert_eq!(status(&house).await, "14");

    assert_eq!((ill.count(), well.count()), (1, 0));
}

#[tokio::test]
async fn what_a_grpc_endpoint_refuses_for_the_callers_sake_is_no_failure_of_its() {
    let (strict, other) = (over_with("3").await, over_with("0").await);
    let house = house(&strict, &other, true).await;

    for _ in 0..8 {
        assert_eq!(status(&house).await, "3");
    }

    assert_eq!((strict.count(), other.count()), (8, 0));
}
