//! The layers of the stack, in the order a call meets them; each takes what the one before made of the call.
//!
//! ```text
//! Arrived ─observe─▶ Arrived ─admit─▶ Arrived ─shed─▶ Arrived ─route─▶ Called ─limit─▶ Called ─crowd─▶ Called
//!                                    ─forward─▶ Called ─retry─▶ Attempt ─balance─▶ Try ─send─▶ the endpoint
//! ```
//! The types hold the order: a limit cannot stand before the route it needs, nor a try before its endpoint.

pub(crate) mod observe;

pub(crate) mod admit;
pub(crate) mod shed;

pub(crate) mod route;

pub(crate) mod admission;
pub(crate) mod limit;

mod deadline;
pub(crate) mod forward;

pub(crate) mod patience;
mod race;
pub(crate) mod retry;

pub(crate) mod balance;
pub(crate) mod send;

use std::{
    cell::Cell,
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use ecow::EcoString;
use http::{HeaderValue, Request, header, request::Parts};
use hyper::body::Incoming;
use landbridge_gateway_core::Policy;
use landbridge_model::Region;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use self::patience::Patience;
use crate::{answer::Answer, payload::Payload, seat::Seat, view::Seen};

/// Whose connection a call came by.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The address as it stands in `x-forwarded-for`.
    pub(crate) written: HeaderValue,
    /// It may say for whom a call is.
    pub(crate) trusted: bool,
    /// `http` or `https`.
    pub(crate) scheme: HeaderValue,
    /// The position of the listener.
    pub(crate) listener: usize,
    /// The region whose gateway passes calls on by it.
    pub(crate) relayed_from: Option<Region>,
    /// Who it is by the certificate it showed.
    pub(crate) caller: Option<EcoString>,
    pub(crate) seat: Rc<Seat>,
}

/// A call as it came.
pub(crate) struct Arrived {
    pub(crate) request: Request<Incoming>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) begun: Instant,
}

/// A call whose service is known.
pub(crate) struct Called {
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
    pub(crate) peer: Rc<Peer>,
    pub(crate) begun: Instant,
    pub(crate) view: Rc<Seen>,
    pub(crate) service: u32,
    /// The configured route, if one matched.
    pub(crate) route: Option<u32>,
    /// How much of the path the route replaces, in bytes.
    pub(crate) cut: usize,
    pub(crate) policy: Policy,
    /// It speaks gRPC: passed on over HTTP/2, refused with a gRPC status.
    pub(crate) grpc: bool,
    /// How long its caller waits, if that was said; endpoints are told what is left.
    pub(crate) told: Option<Duration>,
}

/// The most tries of one call; the config cannot ask for more.
pub(crate) const TRIES_MAX: usize = 8;

/// The endpoints that a call was given to, in order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    endpoints: [u32; TRIES_MAX],
    count: usize,
}

impl Tried {
    pub(crate) fn add(&mut self, endpoint: u32) {
        if self.count < TRIES_MAX {
            self.endpoints[self.count] = endpoint;
            self.count += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.endpoints[..self.count]
    }
}

/// Where a try may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Wherever the ladder leads.
    Ladder,
    /// Beside another try, inside the region.
    Near,
    /// Beside another try, to any region.
    Far,
}

/// What a try asks.
pub(crate) enum Ask {
    /// A request for this try only.
    Own(Box<Request<Payload>>),
    /// One without a body that all tries of a call share.
    Shared(Rc<Request<Payload>>),
}

impl Ask {
    /// A request with this head.
    pub(crate) fn of<B>(head: &Request<B>, payload: Payload) -> Self {
        Self::Own(Box::new(with_head(head, payload)))
    }

    pub(crate) fn get(&self) -> &Request<Payload> {
        match self {
            Self::Own(request) => request,
            Self::Shared(request) => request,
        }
    }

    /// A request to be given away.
    pub(crate) fn into_own(self) -> Box<Request<Payload>> {
        match self {
            Self::Own(request) => request,
            Self::Shared(request) => Box::new(with_head(&request, Payload::Empty)),
        }
    }

    /// The same with a change that concerns this try only.
    pub(crate) fn changed(self, change: impl FnOnce(&mut Request<Payload>)) -> Self {
        let mut request = self.into_own();
        change(&mut request);
        Self::Own(request)
    }
}

fn with_head<B>(head: &Request<B>, payload: Payload) -> Request<Payload> {
    let mut request = Request::new(payload);
    *request.method_mut() = head.method().clone();
    *request.uri_mut() = head.uri().clone();
    *request.version_mut() = head.version();
    *request.headers_mut() = head.headers().clone();
    request
}

/// One try of a call, for an endpoint that is not chosen yet.
pub(crate) struct Attempt {
    pub(crate) request: Ask,
    pub(crate) view: Rc<Seen>,
    pub(crate) service: u32,
    pub(crate) http2: bool,
    pub(crate) reach: Reach,
    /// All tries of the call so far; the endpoint that is chosen is added.
    pub(crate) tried: Rc<Cell<Tried>>,
    pub(crate) begun: Instant,
    pub(crate) patience: Patience,
    /// It never leaves the region.
    pub(crate) stays: bool,
}

pin_project! {
    /// What a layer answers that may refuse a call: its refusal, or what the layers below answer.
    #[project = PassageParts]
    pub(crate) enum Passage<F> {
        // Boxed: every call is moved with room for the refusals of all layers.
        Refused { answer: Option<Box<Answer>> },
        Open { #[pin] inner: F },
    }
}

impl<F> Passage<F> {
    pub(crate) fn refused(answer: Answer) -> Self {
        Self::Refused { answer: Some(Box::new(answer)) }
    }

    pub(crate) fn open(inner: F) -> Self {
        Self::Open { inner }
    }
}

impl<F: Future<Output = Result<Answer, Infallible>>> Future for Passage<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            PassageParts::Refused { answer } => {
                Poll::Ready(Ok(*answer.take().expect("a future is polled to its end once")))
            }
            PassageParts::Open { inner } => inner.poll(cx),
        }
    }
}

/// True if a call speaks gRPC.
pub(crate) fn speaks_grpc(head: &http::HeaderMap) -> bool {
    head.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
