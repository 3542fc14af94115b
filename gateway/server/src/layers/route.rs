//! Finds the service of a call in the newest view, and stays with that view for the rest of the call.

use std::{convert::Infallible, rc::Rc};

use http::{header, request::Parts};
use landbridge_gateway_core::{Asked, Matched};
use tower::{Service, service_fn};

use super::{Arrived, Called, Passage, speaks_grpc};
use crate::{answer::Answer, local::Local, refusal::Refusal, relay};

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Arrived, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |arrived: Arrived| match find(&local, arrived) {
        Ok(called) => Passage::open(inner.clone().call(called)),
        Err((refusal, grpc)) => Passage::refused(Answer::refuse(refusal, grpc)),
    })
}

fn find(local: &Local, arrived: Arrived) -> Result<Called, (Refusal, bool)> {
    let Arrived { request, peer, begun } = arrived;
    let (head, body) = request.into_parts();
    let arrived_by_relay = peer.relayed_from.is_some();
    let grpc = speaks_grpc(&head.headers);
    let view = local.view();
    if arrived_by_relay {
        relay::guard(&head.headers, &view.snapshot.home.region).map_err(|refusal| (refusal, grpc))?;
    }
    let matched = view.snapshot.find(peer.listener, &question(&head, || local.throw()));
    let (service, route, cut) = led(matched).map_err(|refusal| (refusal, grpc))?;
    let policy = view.snapshot.policy(peer.listener, route);
    Ok(Called { head, body, peer, begun, view, service, route, cut, policy, grpc, told: None })
}

/// Service, route and how much of the path is cut; or what a call is refused with that leads nowhere.
pub(crate) fn led(matched: Matched) -> Result<(u32, Option<u32>, usize), Refusal> {
    match matched {
        Matched::To { service, route, cut } => Ok((service, route, cut)),
        Matched::NoSuchService => Err(Refusal::NoSuchService),
        Matched::NoRoute => Err(Refusal::NoRoute),
        Matched::UnsafePath => Err(Refusal::Malformed("the path hides where it leads")),
    }
}

/// The host of a call, with its port if it names one.
pub(super) fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

/// What routing asks of a head; `throw` gives a random number where one is wanted.
pub(crate) fn question<'a>(head: &'a Parts, throw: impl Fn() -> u64 + 'a) -> impl Asked + 'a {
    Question { head, throw }
}

struct Question<'a, Throw> {
    head: &'a Parts,
    throw: Throw,
}

impl<Throw: Fn() -> u64> Asked for Question<'_, Throw> {
    fn host(&self) -> &str {
        let host = host(self.head);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => host,
        }
    }

    fn path(&self) -> &str {
        self.head.uri.path()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    fn dice(&self) -> u64 {
        (self.throw)()
    }
}
