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
    let refusal = match view.snapshot.find(peer.listener, &Question(&head, local)) {
        Matched::To { service, route, cut } => {
            let policy = view.snapshot.policy(peer.listener, route);
            let told = None;
            return Ok(Called { head, body, peer, begun, view, service, route, cut, policy, grpc, told });
        }
        Matched::NoSuchService => Refusal::NoSuchService,
        Matched::NoRoute => Refusal::NoRoute,
        Matched::UnsafePath => Refusal::Malformed("the path hides where it leads"),
    };
    Err((refusal, grpc))
}

/// The host of a call, with its port if it names one.
pub(super) fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

struct Question<'a>(&'a Parts, &'a Local);

impl Asked for Question<'_> {
    fn host(&self) -> &str {
        let host = host(self.0);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => host,
        }
    }

    fn path(&self) -> &str {
        self.0.uri.path()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.get(name)?.to_str().ok()
    }

    fn dice(&self) -> u64 {
        self.1.throw()
    }
}
