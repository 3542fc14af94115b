//! Lets no more calls of a service wait at its endpoints than these can work on; the less one matters, the sooner it
//! is sent away. Whether there is a crowd at all is learnt by the gate (gateway-core).

use std::{convert::Infallible, rc::Rc};

use http::HeaderName;
use landbridge_gateway_core::Criticality;
use tower::{Service, service_fn};

use super::Called;
use crate::{answer::Answer, crowd, local::Local, refusal::Refusal};

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
        let (local, mut inner) = (local.clone(), inner.clone());
        async move {
            let Some(rules) = &called.view.settings.crowding else { return inner.call(called).await };
            let service = called.view.snapshot.service(called.service).serial();
            let Some(passed) = crowd::pass(&local, rules, service, criticality(&called)).await else {
                let refusal = Answer::refuse(Refusal::Crowded, called.grpc);
                return Ok(refusal.about(&called.view, called.service));
            };
            let answer = inner.call(called).await;
            drop(passed);
            answer
        }
    })
}

fn criticality(called: &Called) -> Criticality {
    let said = || called.head.headers.get(CRITICALITY)?.to_str().ok().and_then(Criticality::named);
    let said = if called.peer.trusted { said() } else { None };
    said.or(called.policy.criticality).unwrap_or_default()
}
