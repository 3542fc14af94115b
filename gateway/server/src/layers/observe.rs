//! Counts every answer: by service, rung and class, and how long it took to its first byte.

use std::{convert::Infallible, rc::Rc};

use http::Response;
use tokio::time::Instant;
use tower::{Service, service_fn};

use super::Arrived;
use crate::{
    access::Entry,
    answer::{Answer, Outgoing},
    local::Local,
    seat::OpenCall,
};

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Arrived, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |arrived: Arrived| {
        #[cfg(feature = "otel")]
        let mut arrived = arrived;
        let local = local.clone();
        let begun = arrived.begun;
        let mut call = OpenCall::begin(&arrived.peer.seat, &local.beat);
        #[cfg(not(feature = "otel"))]
        let entry = local.draws().then(|| Entry::begin(&local.shared, &arrived));
        #[cfg(feature = "otel")]
        let entry = entry(&local, &mut arrived);
        let answering = inner.clone().call(arrived);
        async move {
            let Ok(answer) = answering.await;
            call.answer();
            let Answer { response, service, rung, refusal, at } = answer;
            let passed = at.unwrap_or_else(Instant::now).saturating_duration_since(begun);
            let mut tally = local.tally.borrow_mut();
            let service = service.as_ref().map(|(view, service)| view.snapshot.service(*service));
            tally.answered(service, rung, response.status(), passed.as_micros() as u64);
            if let Some(refusal) = refusal {
                tally.refused(refusal);
            }
            let status = response.status().as_u16();
            let entry = entry.map(|mut entry| {
                let service = service.map(|service| service.name.to_string());
                entry.answered(service, rung, refusal, status, passed.as_micros() as u64);
                entry
            });
            Ok(response.map(|body| body.ending(call, entry)))
        }
    })
}

/// What is to be told of a call when it ends: to the log, to a collector, or to both.
#[cfg(feature = "otel")]
fn entry(local: &Local, arrived: &mut Arrived) -> Option<Entry> {
    let logged = local.draws();
    let tracer = local.shared.tracer.as_ref();
    let marks = tracer.and_then(|tracer| tracer.mark(local, arrived.request.headers_mut()));
    (logged || marks.is_some()).then(|| Entry::begin(&local.shared, arrived).traced(marks, logged))
}
