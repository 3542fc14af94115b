//! A connection of a service port through the far region's gateway: asked for with CONNECT, between gateways only.
//!
//! ```text
//! caller ─▶ service port ─▶ this gateway ══CONNECT, mTLS══▶ far gateway ─▶ endpoint of its own region
//! ```
//! It names a service, never an address, and has a connection between the gateways of its own: a caller that takes
//! nothing holds up nobody else.
//!
//! Invariant: nobody can ask for one but a gateway of another region, at the port for gateways: those of this one are
//! answered there as neighbours, who tell words and nothing else.
//! Invariant: it ends in this region or not at all, so it cannot go in circles.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, upgrade::Upgraded};
use landbridge_gateway_core::{Endpoint, Service as Target};
use landbridge_model::Region;
use pin_project_lite::pin_project;
use tokio::time::timeout;
use tower::{Service, service_fn};

use super::{address, guard};
use crate::{
    answer::Outgoing,
    dial::{self, Purpose},
    layers::{Arrived, Peer, limit::CALLER_REGION, route},
    local::Local,
    payload::Payload,
    refusal::Refusal,
    seat::OpenCall,
    service_port::{admit, reach},
    tunnel::{Half, Kind},
    view::View,
};

/// How long the connection may move nothing, where its port has a time of its own.
const IDLE_MS: HeaderName = HeaderName::from_static("x-landbridge-idle-ms");

/// The longest time that another gateway may ask for.
const IDLE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// Why a far gateway gave no connection.
pub(crate) enum Denied {
    /// It could not be reached, did not answer, or its region cannot.
    Failed,
    /// It refused, which says nothing about it.
    Refused,
}

/// Asks a far gateway for a connection to a service.
pub(crate) async fn ask(
    view: &View,
    service: &Target,
    gateway: &Endpoint,
    idle_ms: Option<u64>,
) -> Result<Upgraded, Denied> {
    let asking = async {
        let connection = dial::one(gateway, view, Purpose::Tunnel).await;
        let mut connection = connection.map_err(|_| Denied::Failed)?;
        let place = format!("{}:{}", gateway.address, gateway.port);
        let request = Request::connect(place.as_str()).header(header::HOST, place.as_str());
        // A host name that is none cannot have been dialled.
        let mut request = request.body(Payload::Empty).map_err(|_| Denied::Failed)?;
        address(request.headers_mut(), view, service);
        if let Some(idle_ms) = idle_ms {
            request.headers_mut().insert(IDLE_MS, HeaderValue::from(idle_ms));
        }
        let mut response = connection.send_request(request).await.map_err(|_| Denied::Failed)?;
        if response.status() == StatusCode::OK {
            return hyper::upgrade::on(&mut response).await.map_err(|_| Denied::Failed);
        }
        let failed = view.settings.retries.statuses.contains(&response.status());
        tracing::debug!(event = "relay_connection_denied", status = %response.status());
        Err(if failed { Denied::Failed } else { Denied::Refused })
    };
    // The far gateway may try several endpoints before it answers; before that it is connected and greeted.
    let tries = u64::from(view.settings.retries.tries_max) + 2;
    let within = view.settings.upstream.connect_timeout_ms.saturating_mul(tries).max(view.settings.try_ms);
    let within = Duration::from_millis(within);
    timeout(within, asking).await.unwrap_or(Err(Denied::Failed))
}

/// What gateways of other regions are answered with: connections to those that ask for one, the stack to all else.
pub(crate) fn answering<S>(
    local: &Rc<Local>,
    stack: S,
) -> impl Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static,
{
    let local = local.clone();
    service_fn(move |arrived: Arrived| {
        if arrived.request.method() == Method::CONNECT {
            Answering::Connection { joining: Box::pin(answer(local.clone(), arrived)) }
        } else {
            Answering::Call { answering: stack.clone().call(arrived) }
        }
    })
}

type Answer = Result<Response<Outgoing>, Infallible>;

pin_project! {
    /// What a request of another gateway comes to.
    #[project = AnsweringParts]
    enum Answering<F> {
        // Boxed: calls are many, and are not moved with what a connection needs.
        Connection { joining: Pin<Box<dyn Future<Output = Answer>>> },
        Call { #[pin] answering: F },
    }
}

impl<F: Future<Output = Answer>> Future for Answering<F> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        match self.project() {
            AnsweringParts::Connection { joining } => joining.as_mut().poll(cx),
            AnsweringParts::Call { answering } => answering.poll(cx),
        }
    }
}

async fn answer(local: Rc<Local>, arrived: Arrived) -> Answer {
    let Arrived { request, peer, .. } = arrived;
    let mut call = OpenCall::begin(&peer.seat, &local.beat);
    let response = match joined(&local, request, &peer).await {
        Ok(half) => Response::new(Outgoing::tunnel(half)),
        Err(refusal) => {
            local.tally.borrow_mut().refused(refusal);
            refusal.answer(false)
        }
    };
    call.answer();
    Ok(response.map(|body| body.ending(call, None)))
}

/// The endpoint that a far gateway is to be joined with.
async fn joined(local: &Rc<Local>, request: Request<Incoming>, peer: &Peer) -> Result<Half, Refusal> {
    if let Some(fault) = peer.seat.fault() {
        return Err(Refusal::Malformed(fault));
    }
    let (head, _) = request.into_parts();
    let view = local.view();
    let home = &view.snapshot.home.region;
    guard(&head.headers, home)?;
    // A stream among others has windows that they share.
    let (Some(from), Version::HTTP_11) = (&peer.relayed_from, head.version) else {
        return Err(Refusal::Method);
    };
    let matched = view.snapshot.find(peer.listener, &route::question(&head, || local.throw()));
    let (service, _, _) = route::led(matched)?;
    let told = head.headers.get(CALLER_REGION).and_then(|region| Region::parse(region.to_str().ok()?).ok());
    let counted = admit(local, &view, service, told.unwrap_or_else(|| from.clone()))?;
    if let Some(idle_ms) = head.headers.get(IDLE_MS).and_then(|told| told.to_str().ok()?.parse().ok()) {
        peer.seat.be_patient(IDLE_MS_MAX.min(idle_ms));
    }
    let (far, held) = reach(local, view.clone(), service, true, None).await?;
    Ok(Half::new(far, held, Kind::Relay, counted))
}
