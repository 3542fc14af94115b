//! Holds calls to the configured rates, by the caller, its region and the service.

use std::{convert::Infallible, rc::Rc};

use ecow::{EcoString, eco_format};
use landbridge_model::Region;
use tower::{Service, service_fn};

use super::{Called, Passage};
use crate::{
    answer::Answer,
    fingerprint::{FINGERPRINT_CHARS, fingerprint},
    limiter::Who,
    local::Local,
    refusal::Refusal,
};

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

/// The longest name of a caller, in bytes. With a longer one it is anonymous; one of a certificate is cut short.
const CALLER_BYTES_MAX: usize = 128;

/// What stands before the fingerprint of a name that was cut short; no address and no host name holds it.
const CUT: char = '^';

/// The name of a certificate as callers are told apart by it: its begin and its fingerprint, if it is too long.
pub(crate) fn bounded(name: &str) -> EcoString {
    if name.len() <= CALLER_BYTES_MAX {
        return name.into();
    }
    let room = CALLER_BYTES_MAX - FINGERPRINT_CHARS - CUT.len_utf8();
    let begin = (0..=room).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
    eco_format!("{}{CUT}{}", &name[..begin], fingerprint(name))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_a_certificate_is_bounded_and_still_its_own() {
        let long = |last: &str| format!("spiffe://{}/\u{e9}{last}", "x".repeat(5_000));

        assert_eq!(bounded("spiffe://shop/till"), "spiffe://shop/till");
        for name in [long("a"), "\u{e9}".repeat(100), "y".repeat(CALLER_BYTES_MAX + 1)] {
            assert!(bounded(&name).len() <= CALLER_BYTES_MAX, "{}", bounded(&name));
        }
        assert_eq!(bounded(&long("a")), bounded(&long("a")));
        assert_ne!(bounded(&long("a")), bounded(&long("b")));
    }
}
