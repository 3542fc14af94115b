//! Carries the connections of a service port: an endpoint by the same ladder as calls, then bytes both ways, unread.
//!
//! A port may serve HTTP call by call instead; its connections are told apart by their first bytes, which stay unread.
//!
//! Invariant: no byte of a caller is sent before its endpoint is connected, so that every failure to connect may be
//! tried elsewhere.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use ecow::EcoString;
use landbridge_gateway_core::{Decision, Name, Policy, Protocol, Route, RouteTable, Target, pick};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    answer::Held,
    config::ServicePort,
    dial,
    layers::{TRIES_MAX, Tried, limit::ANONYMOUS},
    limiter::Who,
    local::Local,
    proxy,
    refusal::Refusal,
    seat::{OpenCall, Seat},
    tally::Miss,
    tunnel::{Kind, OpenTunnel, pass},
    view::Seen,
    watched::Watched,
};

/// What a service port does with its connections.
#[derive(Clone, Debug)]
pub(crate) struct Carriage {
    pub(crate) name: EcoString,
    pub(crate) target: Name,
    /// A connection on which nothing moves is cut after this; `None` for the gateway's own setting.
    pub(crate) idle_timeout_ms: Option<u64>,
    /// Endpoints are told for whom a connection is.
    pub(crate) introduces: bool,
    /// The position of the routes for what speaks HTTP; `None`: everything passes unread.
    pub(crate) calls: Option<usize>,
}

/// A caller that has said nothing for so long waits for its endpoint to begin: it does not speak HTTP.
const SPEAKS_WITHIN_MS: u64 = 100;

/// How much of the first bytes is looked at.
const FIRST_BYTES: usize = 8;

/// What a connection begins with that speaks HTTP/1.1 or, by its preface, HTTP/2.
const BEGINNINGS: [&[u8; FIRST_BYTES]; 9] = [
    b"GET /\0\0\0",
    b"HEAD /\0\0",
    b"POST /\0\0",
    b"PUT /\0\0\0",
    b"DELETE /",
    b"PATCH /\0",
    b"OPTIONS ",
    b"GET http",
    b"PRI * HT",
];

/// True if what a caller says first is HTTP. Nothing is taken from the connection.
pub(crate) async fn speaks_http(stream: &TcpStream) -> bool {
    let mut first = [0; FIRST_BYTES];
    let looking = timeout(Duration::from_millis(SPEAKS_WITHIN_MS), stream.peek(&mut first));
    matches!(looking.await, Ok(Ok(read)) if is_http(&first[..read]))
}

fn is_http(first: &[u8]) -> bool {
    let fits = |begin: &&[u8; FIRST_BYTES]| {
        let begin = begin.split(|byte| *byte == 0).next().unwrap_or_default();
        let same = first.len().min(begin.len());
        first[..same] == begin[..same]
    };
    !first.is_empty() && BEGINNINGS.iter().any(fits)
}

/// The routes of a port that serves HTTP: all lead to its service.
pub(crate) fn route_all(port: &ServicePort) -> RouteTable {
    let route = Route {
        id: port.name.clone(),
        hosts: Vec::new(),
        path_prefix: None,
        headers: Vec::new(),
        targets: vec![Target { name: port.target.clone(), weight: 1 }],
        rewrite_prefix: None,
        policy: Policy::default(),
    };
    RouteTable { listener: port.name.clone(), routes: vec![route], ..RouteTable::default() }
}

/// Carries one connection to its end.
pub(crate) async fn carry(
    local: Rc<Local>,
    carriage: Arc<Carriage>,
    near: TcpStream,
    caller: SocketAddr,
    seat: Rc<Seat>,
) {
    let _call = OpenCall::begin(&seat, &local.beat);
    if let Some(idle_ms) = carriage.idle_timeout_ms {
        seat.be_patient(idle_ms);
    }
    let reached = match admit(&local, &carriage) {
        Ok((view, service)) => reach(&local, view, service).await,
        Err(refusal) => Err(refusal),
    };
    let (mut far, _held) = match reached {
        Ok(reached) => reached,
        Err(refusal) => {
            local.tally.borrow_mut().refused(refusal);
            tracing::debug!(event = "service_port_refused", port = %carriage.name, reason = refusal.reason());
            return;
        }
    };
    let _counted = OpenTunnel::begin(&local.beat);
    local.tally.borrow_mut().tunnelled(Kind::ServicePort);
    let introduction = match near.local_addr() {
        Ok(own) if carriage.introduces => proxy::written(caller, own),
        Ok(_) | Err(_) => Vec::new(),
    };
    let mut near = Watched::new(near, seat.clone(), local.beat.clone(), None, Vec::new());
    if let Err(error) = pass(&mut near, &mut far, &introduction, &seat).await {
        tracing::debug!(event = "tunnel_broke", %error);
    }
}

/// Finds the service, and whether there is room for one more; a connection counts as one call where calls are limited.
fn admit(local: &Local, carriage: &Carriage) -> Result<(Rc<Seen>, u32), Refusal> {
    let part = local.shared.connections.tunnels_max.div_ceil(local.shared.threads);
    if local.beat.tunnels.get() as usize >= part {
        return Err(Refusal::Overloaded);
    }
    let view = local.view();
    let position = view.snapshot.position(&carriage.target).ok_or(Refusal::NoSuchService)?;
    if !view.rules.is_empty() {
        let mut limiter = local.limiter.borrow_mut();
        let who = Who { region: view.snapshot.home.region.clone(), caller: ANONYMOUS.into() };
        let service = view.snapshot.service(position);
        limiter.check(&view.rules, &who, service).map_err(Refusal::Limited)?;
    }
    Ok((view, position))
}

/// Connects to an endpoint: another one, another zone, another region, as often as calls are tried.
async fn reach(local: &Rc<Local>, view: Rc<Seen>, service: u32) -> Result<(TcpStream, Held), Refusal> {
    let tries = view.settings.retries.tries_max.clamp(1, TRIES_MAX as u32);
    let target = view.snapshot.service(service);
    let mut tried = Tried::default();
    for _ in 0..tries {
        let begun = Instant::now();
        let now = local.moment(begun);
        let decision = pick(&view.settings.pick, target, target.home(), now, local.throw(), tried.as_slice());
        let choice = match decision {
            Decision::Use(choice) => choice,
            Decision::Nobody => return Err(Refusal::NoEndpoint),
        };
        if target.endpoint(choice.endpoint).speech.protocol == Protocol::Relay {
            // A relay carries calls, not connections.
            tried.add(choice.endpoint);
            continue;
        }
        let mut held = Held::begin(local.clone(), view.clone(), service, choice.endpoint, begun);
        let opened = dial::tcp(target.endpoint(choice.endpoint), &view).await;
        local.tally.borrow_mut().opened_upstream();
        match opened {
            Ok(far) => {
                held.answered(Instant::now());
                return Ok((far, held));
            }
            Err(_) => {
                held.failed(Instant::now());
                local.tally.borrow_mut().missed(choice.rung, Miss::Connect);
                tried.add(choice.endpoint);
            }
        }
    }
    Err(Refusal::Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_from_the_first_bytes_and_anything_else_is_not_http() {
        for first in [&b"GET / HT"[..], b"GET /a b", b"POST /or", b"OPTIONS ", b"PRI * HT", b"DELETE /", b"G"]
        {
            assert!(is_http(first), "{:?}", String::from_utf8_lossy(first));
        }
        for first in [&b""[..], b"GETX /", b"\x16\x03\x01", b"SSH-2.0-", b"PRIVATE", b"*1\r\n$4\r\n"] {
            assert!(!is_http(first), "{:?}", String::from_utf8_lossy(first));
        }
    }
}
