//! Chooses the endpoint of one try, waits for it no longer than the try may take, and reports how it went.

use std::{rc::Rc, time::Duration};

use http::{HeaderValue, Response};
use landbridge_gateway_core::{Choice, Decision, Endpoint, pick};
use tokio::time::{Instant, sleep, timeout_at};
use tower::{Service, service_fn};

use super::{
    Attempt,
    forward::strip_hop_by_hop,
    retry::{Missed, Reached},
    send::{Failure, Sent, Try},
};
use crate::{
    answer::{Answer, EndpointBody, Held, Outgoing},
    config::Settings,
    local::Local,
    tally::Miss,
    tunnel::Half,
    upgrade,
};

/// The status with which a gRPC endpoint says that it cannot serve.
const GRPC_UNAVAILABLE: &[u8] = b"14";

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Attempt, Response = Reached, Error = Missed, Future: 'static> + Clone + 'static
where
    S: Service<Try, Response = Sent, Error = Failure, Future: 'static> + Clone + 'static,
{
    service_fn(move |attempt: Attempt| {
        let (local, mut inner) = (local.clone(), inner.clone());
        async move {
            let Attempt { request, view, service, http2, tried, begun, deadline } = attempt;
            let target = view.snapshot.service(service);
            let (rules, now) = (&view.settings.pick, local.moment(begun));
            let tried = tried.as_slice();
            let choice = match pick(rules, target, target.home(), now, local.throw(), tried) {
                Decision::Use(choice) => choice,
                Decision::Nobody => return Err(Missed::Nobody),
            };
            if tried.contains(&choice.endpoint) {
                sleep(Duration::from_millis(view.settings.retries.pause_ms)).await;
            }
            let held = Held::begin(local.clone(), view.clone(), service, choice.endpoint, begun);
            let one = Try { request, view, service, endpoint: choice.endpoint, http2 };
            let outcome = timeout_at(deadline, inner.call(one)).await;
            match outcome {
                Ok(Ok(sent)) => Ok(reached(held, choice, sent)),
                Ok(Err(failure)) => Err(missed(held, choice, failure)),
                Err(_) => {
                    let mut held = held;
                    held.failed(Instant::now());
                    Err(Missed::Lost { endpoint: choice.endpoint, rung: choice.rung, miss: Miss::Late })
                }
            }
        }
    })
}

fn reached(mut held: Held, choice: Choice, sent: Sent) -> Reached {
    let Sent { response, connection, upgraded } = sent;
    let now = Instant::now();
    let (mut head, incoming) = response.into_parts();
    let settings = &held.view.settings;
    let unavailable = head.headers.get("grpc-status").is_some_and(|code| code.as_bytes() == GRPC_UNAVAILABLE);
    let failure = settings.retries.statuses.contains(&head.status);
    strip_hop_by_hop(&mut head.headers);
    show_place(settings, held.endpoint(), &mut head.headers);
    if failure || unavailable {
        held.failed(now);
    } else {
        held.answered(now);
    }
    let service = Some((held.view.clone(), held.service));
    let body = match upgraded {
        Some(far) => {
            upgrade::write_websocket(&mut head.headers);
            Outgoing::tunnel(Half::new(far, held))
        }
        None => Outgoing::endpoint(EndpointBody { incoming, connection, held, ended: false }),
    };
    let response = Response::from_parts(head, body);
    let answer = Answer { response, service, rung: Some(choice.rung), refusal: None, at: Some(now) };
    Reached { answer, endpoint: choice.endpoint, rung: choice.rung, failure }
}

fn show_place(settings: &Settings, endpoint: &Endpoint, headers: &mut http::HeaderMap) {
    if settings.show_place {
        let place = [
            ("x-landbridge-endpoint-region", endpoint.region.as_str()),
            ("x-landbridge-endpoint-zone", endpoint.zone.as_str()),
        ];
        for (name, value) in place {
            let value =
                HeaderValue::from_str(value).expect("a place is lower-case letters, digits and dashes");
            headers.insert(name, value);
        }
    }
}

fn missed(mut held: Held, choice: Choice, failure: Failure) -> Missed {
    let (endpoint, rung) = (choice.endpoint, choice.rung);
    match failure {
        Failure::Unsent(request) => {
            held.failed(Instant::now());
            Missed::Unsent { endpoint, rung, request }
        }
        Failure::Broken { reused: false } => {
            held.failed(Instant::now());
            Missed::Lost { endpoint, rung, miss: Miss::Broken }
        }
        // A server may close a connection it thinks idle at any moment: that says nothing about the endpoint.
        Failure::Broken { reused: true } => {
            held.excuse();
            Missed::Lost { endpoint, rung, miss: Miss::Broken }
        }
        Failure::Caller => {
            held.excuse();
            Missed::Caller
        }
    }
}
