//! Holds calls to the configured rates, by the caller's region and the service.

use std::{convert::Infallible, rc::Rc};

use landbridge_model::Region;
use tower::{Service, service_fn};

use super::{Called, Passage};
use crate::{answer::Answer, local::Local, refusal::Refusal};

/// The header by which a trusted caller says which region a call is from.
pub(crate) const CALLER_REGION: &str = "x-landbridge-caller-region";

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |called: Called| match check(&local, &called) {
        Ok(()) => Passage::open(inner.clone().call(called)),
        Err(refusal) => {
            let answer = Answer::refuse(refusal, called.grpc).about(&called.view, called.service);
            Passage::refused(answer)
        }
    })
}

fn check(local: &Local, called: &Called) -> Result<(), Refusal> {
    let view = &called.view;
    if view.rules.is_empty() {
        return Ok(());
    }
    let claimed = || called.head.headers.get(CALLER_REGION)?.to_str().ok();
    let claimed = if called.peer.trusted { claimed() } else { None };
    let mut limiter = local.limiter.borrow_mut();
    let region = match claimed.and_then(|text| Region::parse(text).ok()) {
        Some(region) => limiter.number_of(&local.shared, &region, view.settings.caller_regions_max),
        None => {
            limiter.number_of(&local.shared, &view.snapshot.home.region, view.settings.caller_regions_max)
        }
    };
    let service = view.snapshot.service(called.service);
    limiter.check(&view.rules, region, service).map_err(Refusal::Limited)
}
