//! Tries a call again where that is safe: after nothing was sent, or when the call may be repeated and the budget allows.
//!
//! Invariant: a call that may not be repeated is never sent twice.
//! Invariant: all tries together end by the call's deadline.

use std::{convert::Infallible, rc::Rc, time::Duration};

use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::Body as _;
use landbridge_gateway_core::Rung;
use tokio::time::Instant;
use tower::{Service, service_fn};

use super::{Attempt, Called, TRIES_MAX, Tried};
use crate::{
    answer::Answer,
    local::Local,
    payload::{Payload, Tape},
    refusal::Refusal,
    tally::Miss,
};

/// A try that got an answer.
pub(crate) struct Reached {
    pub(crate) answer: Answer,
    pub(crate) endpoint: u32,
    pub(crate) rung: Rung,
    /// The answer is a failure of the endpoint.
    pub(crate) failure: bool,
}

/// A try that got none.
pub(crate) enum Missed {
    /// The service has no endpoint.
    Nobody,
    /// No byte was sent: here is the request again.
    Unsent {
        /// The endpoint that could not be reached.
        endpoint: u32,
        /// Where it is.
        rung: Rung,
        /// What was to be sent.
        request: Box<Request<Payload>>,
    },
    /// Something was sent, perhaps all of it.
    Lost {
        /// The endpoint that did not answer, to blame or not.
        endpoint: u32,
        /// Where it is.
        rung: Rung,
        /// How it failed.
        miss: Miss,
    },
    /// The caller's body broke off.
    Caller,
}

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Attempt, Response = Reached, Error = Missed, Future: 'static> + Clone + 'static,
{
    service_fn(move |called: Called| {
        let (local, inner) = (local.clone(), inner.clone());
        async move { Ok(Course::new(local, called).run(inner).await) }
    })
}

/// What is needed to make a request once more.
struct Copy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Option<Tape>,
}

impl Copy {
    fn request(&self) -> Option<Request<Payload>> {
        let payload = match &self.body {
            None => Payload::Empty,
            Some(tape) => Payload::Taped(tape.play()?),
        };
        let mut request = Request::new(payload);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}

/// The tries of one call.
struct Course {
    local: Rc<Local>,
    attempt: Attempt,
    copy: Option<Copy>,
    grpc: bool,
    tries_left: u32,
    try_ms: Duration,
    deadline: Instant,
}

impl Course {
    fn new(local: Rc<Local>, called: Called) -> Self {
        let Called { head, body, begun, view, service, policy, grpc, .. } = called;
        let settings = &view.settings;
        let repeatable = settings.retries.methods.contains(&head.method);
        let overall = Duration::from_millis(policy.timeout_ms.unwrap_or(settings.overall_ms));
        let try_ms = Duration::from_millis(policy.try_timeout_ms.unwrap_or(settings.try_ms));
        let tries = policy.tries_max.unwrap_or(settings.retries.tries_max).clamp(1, TRIES_MAX as u32);
        let empty = body.is_end_stream();
        let mut copy = None;
        let payload = if repeatable && tries > 1 {
            let tape = (!empty).then(|| Tape::new(body, settings.retries.body_bytes_max));
            let payload = tape.as_ref().and_then(Tape::play).map_or(Payload::Empty, Payload::Taped);
            let (method, uri) = (head.method.clone(), head.uri.clone());
            copy =
                Some(Copy { method, uri, version: head.version, headers: head.headers.clone(), body: tape });
            payload
        } else if empty {
            Payload::Empty
        } else {
            Payload::Once(body)
        };
        let budget = settings.retries.budget;
        local.with_budget(&view, view.snapshot.service(service), |saved| saved.earn(&budget));
        let deadline = begun + overall;
        let request = Request::from_parts(head, payload);
        let (tried, http2) = (Tried::default(), grpc);
        let attempt =
            Attempt { request, view, service, http2, tried, begun, deadline: deadline.min(begun + try_ms) };
        Self { local, attempt, copy, grpc, tries_left: tries - 1, try_ms, deadline }
    }

    async fn run<S>(self, inner: S) -> Answer
    where
        S: Service<Attempt, Response = Reached, Error = Missed> + Clone,
    {
        let Self { local, mut attempt, copy, grpc, mut tries_left, try_ms, deadline } = self;
        let (view, service) = (attempt.view.clone(), attempt.service);
        let mut tried = Tried::default();
        loop {
            let outcome = inner.clone().call(attempt).await;
            let tries = Tries { local: &local, copy: copy.as_ref(), left: tries_left, deadline };
            let (next, refusal) = match outcome {
                Ok(reached) if !reached.failure => return reached.answer,
                Ok(reached) => {
                    tried.add(reached.endpoint);
                    local.tally.borrow_mut().missed(reached.rung, Miss::Status);
                    match tries.repeat(&view, service) {
                        Some(request) => (Some(request), Refusal::Unreachable),
                        None => return reached.answer,
                    }
                }
                Err(Missed::Nobody) => (None, Refusal::NoEndpoint),
                Err(Missed::Caller) => (None, Refusal::Caller),
                Err(Missed::Unsent { endpoint, rung, request }) => {
                    tried.add(endpoint);
                    local.tally.borrow_mut().missed(rung, Miss::Connect);
                    (tries.resend(*request), Refusal::Unreachable)
                }
                Err(Missed::Lost { endpoint, rung, miss }) => {
                    tried.add(endpoint);
                    local.tally.borrow_mut().missed(rung, miss);
                    let refusal = if miss == Miss::Late { Refusal::Late } else { Refusal::Unreachable };
                    (tries.repeat(&view, service), refusal)
                }
            };
            let begun = Instant::now();
            let request = match next {
                Some(request) if begun < deadline => request,
                Some(_) => return Answer::refuse(Refusal::Late, grpc).about(&view, service),
                None => return Answer::refuse(refusal, grpc).about(&view, service),
            };
            tries_left -= 1;
            local.tally.borrow_mut().retried(view.snapshot.service(service));
            let (view, http2, deadline) = (view.clone(), grpc, deadline.min(begun + try_ms));
            attempt = Attempt { request, view, service, http2, tried, begun, deadline };
        }
    }
}

/// What decides about one more try.
struct Tries<'a> {
    local: &'a Local,
    copy: Option<&'a Copy>,
    left: u32,
    deadline: Instant,
}

impl Tries<'_> {
    /// A request of which nothing was sent costs no endpoint anything: it needs no budget.
    fn resend(&self, request: Request<Payload>) -> Option<Request<Payload>> {
        (self.left > 0).then_some(request)
    }

    /// A request that was sent is sent again only if that is allowed, possible and within the budget.
    fn repeat(&self, view: &crate::view::View, service: u32) -> Option<Request<Payload>> {
        let request = self.copy.filter(|_| self.left > 0).and_then(Copy::request);
        let now = Instant::now();
        let request = request.filter(|_| now < self.deadline)?;
        let (rules, moment) = (view.settings.retries.budget, self.local.moment(now));
        let service = view.snapshot.service(service);
        if self.local.with_budget(view, service, |saved| saved.spend(&rules, moment)) {
            Some(request)
        } else {
            self.local.tally.borrow_mut().denied(service);
            None
        }
    }
}
