//! Chooses the endpoint of one try, waits for it no longer than the try may take, and reports how it went.

use std::{
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use landbridge_gateway_core::{Choice, Decision, Endpoint, overtake, pick};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Service, service_fn};

use super::{
    Attempt, Reach, Tried, deadline,
    forward::strip_hop_by_hop,
    patience::{GRACE, Patience, stalled},
    retry::{Missed, Reached},
    send::{Failure, Sent, Try},
};
use crate::{
    answer::{Answer, EndpointBody, Held, Outgoing},
    config::{Retries, Settings},
    crossing::Crossing,
    local::Local,
    tally::Miss,
    toll::Barrier,
    tunnel::{Far, Half, Kind, OpenTunnel},
    upgrade,
    view::Seen,
};

/// How an answer of gRPC ended; in its head if it is over with that.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

const SHOWN_REGION: HeaderName = HeaderName::from_static("x-landbridge-endpoint-region");
const SHOWN_ZONE: HeaderName = HeaderName::from_static("x-landbridge-endpoint-zone");

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
            let Attempt { mut request, view, service, http2, reach, tried, begun, patience, stays } = attempt;
            let choice = choose(&local, &view, service, reach, tried.get(), begun, stays)?;
            let crossing = leave(&view, service, choice)?;
            if !view.crossings.is_empty() && !request.get().body().is_end_stream() {
                request = request.changed(|request| request.body_mut().lead(crossing.clone()));
            }
            if tried.get().as_slice().contains(&choice.endpoint) {
                Box::pin(sleep(Duration::from_millis(view.settings.retries.pause_ms))).await;
            }
            let mut grown = tried.get();
            grown.add(choice.endpoint);
            tried.set(grown);
            if patience.told {
                let left = patience.end(begun).saturating_duration_since(Instant::now());
                request = request.changed(|request| deadline::tell(request.headers_mut(), left, http2));
            }
            let mut held = Held::begin(local.clone(), view.clone(), service, choice.endpoint, begun);
            held.crossing = crossing;
            let one = Try { request, view, service, endpoint: choice.endpoint, http2 };
            let answering = pin!(inner.call(one));
            match answer_in_time(&patience, begun, &mut held, answering).await {
                Some(Ok(sent)) => Ok(reached(held, choice, sent)),
                Some(Err(failure)) => Err(missed(held, choice, failure)),
                None => {
                    let now = Instant::now();
                    if !patience.told || now < patience.end(now) {
                        held.failed(now);
                    }
                    Err(Missed::Lost { rung: choice.rung, miss: Miss::Late })
                }
            }
        }
    })
}

fn choose(
    local: &Local,
    view: &Seen,
    service: u32,
    reach: Reach,
    tried: Tried,
    begun: Instant,
    stays: bool,
) -> Result<Choice, Missed> {
    let (target, rules) = (view.snapshot.service(service), &view.settings.pick);
    let ladder = if stays { target.near() } else { target.home() };
    let (now, dice, tried) = (local.moment(begun), local.throw(), tried.as_slice());
    let decision = match reach {
        Reach::Ladder => pick(rules, target, ladder, now, dice, tried),
        Reach::Near => overtake(rules, target, ladder, now, dice, tried, false),
        Reach::Far => overtake(rules, target, ladder, now, dice, tried, true),
    };
    match decision {
        Decision::Use(choice) => {
            if reach != Reach::Ladder {
                local.tally.borrow_mut().hedged(target);
            }
            Ok(choice)
        }
        Decision::Nobody => Err(Missed::Nobody),
    }
}

/// Lets a try leave the region, if it is to.
fn leave(view: &Seen, service: u32, choice: Choice) -> Result<Option<Arc<Crossing>>, Missed> {
    let endpoint = view.snapshot.service(service).endpoint(choice.endpoint);
    let crossing = view.crossings.get(&endpoint.region);
    if let Some(crossing) = crossing {
        crossing.leave().map_err(Missed::OverQuota)?;
    }
    Ok(crossing.cloned())
}

/// Waits for the answer; counts the endpoint's silence meanwhile. `None`: it is too late for one.
async fn answer_in_time<F: Future>(
    patience: &Patience,
    begun: Instant,
    held: &mut Held,
    mut answering: Pin<&mut F>,
) -> Option<F::Output> {
    let strikes_max = held.view.settings.pick.health.failures_max;
    let (mut strikes, mut counted, mut late) = (0, begun, false);
    let next_strike =
        |now, counted, strikes| patience.next_strike(counted, now).filter(|_| strikes < strikes_max);
    let next_look = |now, counted, strikes| {
        let end = patience.end_of_try(begun, now);
        next_strike(now, counted, strikes).map_or(end, |strike| strike.min(end))
    };
    let mut look = pin!(sleep_until(next_look(begun, counted, strikes)));
    loop {
        tokio::select! {
            biased;
            answer = &mut answering => {
                if patience.upload.is_some() {
                    held.count_from(patience.since(begun, Instant::now()));
                }
                return Some(answer);
            }
            () = &mut look => {}
        }
        let now = Instant::now();
        late = !late && stalled(look.deadline(), now);
        if late {
            look.as_mut().reset(now + GRACE);
            continue;
        }
        held.count_from(patience.since(begun, now));
        if patience.end_of_try(begun, now) <= now {
            return None;
        }
        if next_strike(now, counted, strikes).is_some_and(|due| due <= now) {
            counted = now;
            // Until the endpoint has the whole request, it may wait for the rest.
            if patience.answer_is_owed() {
                strikes += 1;
                held.waits(now);
            }
        }
        look.as_mut().reset(next_look(now, counted, strikes));
    }
}

fn reached(mut held: Held, choice: Choice, sent: Sent) -> Reached {
    let Sent { response, connection, upgraded } = sent;
    let now = Instant::now();
    let (mut head, incoming) = response.into_parts();
    let settings = &held.view.settings;
    let failure = fails(&settings.retries, head.status, &head.headers);
    strip_hop_by_hop(&mut head.headers);
    show_place(settings, held.endpoint(), &mut head.headers);
    if failure {
        held.failed(now);
    } else {
        held.answered(now);
        held.local.paced(&held.view, held.view.snapshot.service(held.service), held.passed_us(now));
    }
    let service = Some((held.view.clone(), held.service));
    let body = match upgraded {
        Some(far) => {
            upgrade::write_websocket(&mut head.headers);
            let counted = OpenTunnel::begin(&held.local.beat);
            Outgoing::tunnel(Half::new(Far::Upgraded(Box::new(far)), held, Kind::Websocket, counted))
        }
        None => {
            let barrier = held.crossing.clone().map(Barrier::new);
            Outgoing::endpoint(EndpointBody { incoming, connection, held, barrier, ended: false })
        }
    };
    let response = Response::from_parts(head, body);
    let answer = Answer { response, service, rung: Some(choice.rung), refusal: None, at: Some(now) };
    Reached { answer, rung: choice.rung, failure }
}

/// True for an answer that is a failure of its endpoint, by its status or by that of gRPC.
fn fails(rules: &Retries, status: StatusCode, headers: &HeaderMap) -> bool {
    let listed = |code: &HeaderValue| {
        let code = code.to_str().ok().and_then(|code| code.parse().ok());
        code.is_some_and(|code| rules.grpc_statuses.contains(&code))
    };
    rules.statuses.contains(&status) || headers.get(GRPC_STATUS).is_some_and(listed)
}

fn show_place(settings: &Settings, endpoint: &Endpoint, headers: &mut HeaderMap) {
    if settings.show_place {
        let place = [(SHOWN_REGION, endpoint.region.as_str()), (SHOWN_ZONE, endpoint.zone.as_str())];
        for (name, value) in place {
            let value =
                HeaderValue::from_str(value).expect("a place is lower-case letters, digits and dashes");
            headers.insert(name, value);
        }
    }
}

fn missed(mut held: Held, choice: Choice, failure: Failure) -> Missed {
    let rung = choice.rung;
    match failure {
        Failure::Unsent(request) => {
            held.failed(Instant::now());
            Missed::Unsent { rung, request }
        }
        Failure::Broken { reused: false } => {
            held.failed(Instant::now());
            Missed::Lost { rung, miss: Miss::Broken }
        }
        // A server may close a connection it thinks idle at any moment: that says nothing about the endpoint.
        Failure::Broken { reused: true } => {
            held.excuse();
            Missed::Lost { rung, miss: Miss::Broken }
        }
        Failure::Caller => {
            held.excuse();
            Missed::Caller
        }
        Failure::Superseded => {
            held.excuse();
            Missed::Superseded
        }
    }
}
