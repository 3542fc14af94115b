//! Holds calls to the configured rates, by the caller, its region and the service.

use std::{convert::Infallible, rc::Rc};

use landbridge_model::Region;
use tower::{Service, service_fn};

use super::{Called, Passage};
use crate::{answer::Answer, limiter::Who, local::Local, refusal::Refusal};

/// The header by which a trusted caller says which region a call is from.
pub(crate) const CALLER_REGION: &str = "x-landbridge-caller-region";

/// The header by which a trusted caller says who a call is from, and the gateway says who showed a certificate.
pub(crate) const CALLER: &str = "x-landbridge-caller";

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

/// The longest name of a caller, in bytes; with a longer one it is anonymous.
const CALLER_BYTES_MAX: usize = 128;

/// What a caller is called that does not say who it is.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// A header's value, if its sender may say for whom a call is.
fn claimed<'a>(called: &'a Called, name: &str) -> Option<&'a str> {
    if called.peer.trusted { called.head.headers.get(name)?.to_str().ok() } else { None }
}

/// Who calls: by its certificate, or as somebody says who is trusted.
fn who(called: &Called) -> Who {
    let fits = |name: &&str| (1..=CALLER_BYTES_MAX).contains(&name.len());
    let told = || claimed(called, CALLER).filter(fits).unwrap_or(ANONYMOUS).into();
    let region = claimed(called, CALLER_REGION).and_then(|text| Region::parse(text).ok());
    Who {
        region: region.unwrap_or_else(|| called.view.snapshot.home.region.clone()),
        caller: called.peer.caller.clone().unwrap_or_else(told),
    }
}

fn check(local: &Local, called: &Called) -> Result<(), Refusal> {
    let view = &called.view;
    if view.rules.is_empty() {
        return Ok(());
    }
    let service = view.snapshot.service(called.service);
    let mut limiter = local.limiter.borrow_mut();
    limiter.check(&view.rules, &who(called), service).map_err(Refusal::Limited)
}
