//! Lets no more calls of a service wait at its endpoints than these can work on; the less one matters, the sooner it
//! is sent away. Whether there is a crowd at all is learnt by the gate (gateway-core).

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use http::HeaderName;
use landbridge_gateway_core::Criticality;
use pin_project_lite::pin_project;
use tower::{Service, service_fn};

use super::Called;
use crate::{
    admission::{self, Coming, Passed},
    answer::Answer,
    local::Local,
    refusal::Refusal,
};

/// The header by which a trusted caller says how much a call matters.
const CRITICALITY: HeaderName = HeaderName::from_static("x-landbridge-criticality");

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |called: Called| {
        let mut inner = inner.clone();
        let Some(rules) = called.view.settings.crowding else {
            return Way::Open { inner: inner.call(called), passed: None };
        };
        let service = called.view.snapshot.service(called.service).serial();
        match admission::come(&local, &rules, service, criticality(&called)) {
            Coming::Goes(passed) => Way::Open { inner: inner.call(called), passed: Some(passed) },
            Coming::Shed => Way::Refused { answer: Some(refused(&called)) },
            Coming::Waits(queued) => Way::Waits {
                waiting: Box::pin(async move {
                    let Some(passed) = queued.turn(rules.queue_ms).await else { return Ok(refused(&called)) };
                    let answer = inner.call(called).await;
                    drop(passed);
                    answer
                }),
            },
        }
    })
}

fn refused(called: &Called) -> Answer {
    Answer::refuse(Refusal::Crowded, called.grpc).about(&called.view, called.service)
}

type Waiting = Pin<Box<dyn Future<Output = Result<Answer, Infallible>>>>;

pin_project! {
    /// The way of a call through the gate: what few calls need is boxed.
    #[project = WayParts]
    enum Way<F> {
        Open { #[pin] inner: F, passed: Option<Passed> },
        Refused { answer: Option<Answer> },
        Waits { waiting: Waiting },
    }
}

impl<F: Future<Output = Result<Answer, Infallible>>> Future for Way<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            WayParts::Open { inner, passed } => {
                let answer = ready!(inner.poll(cx));
                // The way ends with the head of the answer; bodies may last.
                drop(passed.take());
                Poll::Ready(answer)
            }
            WayParts::Refused { answer } => {
                Poll::Ready(Ok(answer.take().expect("a future is polled to its end once")))
            }
            WayParts::Waits { waiting } => waiting.as_mut().poll(cx),
        }
    }
}

fn criticality(called: &Called) -> Criticality {
    let said = || called.head.headers.get(CRITICALITY)?.to_str().ok().and_then(Criticality::named);
    let said = if called.peer.trusted { said() } else { None };
    said.or(called.policy.criticality).unwrap_or_default()
}
