//! Carries the connections of a service port: an endpoint by the same ladder as calls, then bytes both ways, unread.
//!
//! A port may serve HTTP call by call instead; its connections are told apart by their first bytes, which stay unread.
//!
//! Invariant: no byte of a caller is sent before its endpoint is connected, so that every failure to connect may be
//! tried elsewhere. A far gateway connects its endpoint before it agrees.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use ecow::EcoString;
use landbridge_gateway_core::{
    Decision, Endpoint, Name, Policy, Protocol, Route, RouteTable, Service, Target, pick,
};
use landbridge_model::Region;
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
    relay::{self, connect::Denied},
    seat::{OpenCall, Seat},
    tally::Miss,
    tunnel::{Far, Kind, OpenTunnel},
    view::{Seen, View},
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
    let reached = match find(&local, &carriage) {
        Ok((view, service, counted)) => {
            let reached = reach(&local, view, service, false, carriage.idle_timeout_ms).await;
            reached.map(|(far, held)| (far, held, counted))
        }
        Err(refusal) => Err(refusal),
    };
    let (far, held, _counted) = match reached {
        Ok(reached) => reached,
        Err(refusal) => {
            local.tally.borrow_mut().refused(refusal);
            tracing::debug!(event = "service_port_refused", port = %carriage.name, reason = refusal.reason());
            return;
        }
    };
    local.tally.borrow_mut().tunnelled(Kind::ServicePort);
    let introduction = match near.local_addr() {
        Ok(own) if carriage.introduces => proxy::written(caller, own),
        Ok(_) | Err(_) => Vec::new(),
    };
    let mut near = Watched::new(near, seat.clone(), local.beat.clone(), None, Vec::new());
    far.pass(&mut near, &held, &introduction, &seat).await;
}

/// Finds the service, and whether there is room for one more.
fn find(local: &Local, carriage: &Carriage) -> Result<(Rc<Seen>, u32, OpenTunnel), Refusal> {
    let view = local.view();
    let position = view.snapshot.position(&carriage.target).ok_or(Refusal::NoSuchService)?;
    let counted = admit(local, &view, position, view.snapshot.home.region.clone())?;
    Ok((view, position, counted))
}

/// Lets one more connection in, if there is room, which it takes at once; where calls are limited it counts as one, from
/// this `region`.
pub(crate) fn admit(local: &Local, view: &View, service: u32, region: Region) -> Result<OpenTunnel, Refusal> {
    let part = local.shared.connections.tunnels_max.div_ceil(local.shared.threads);
    if local.beat.tunnels.get() as usize >= part {
        return Err(Refusal::Overloaded);
    }
    if !view.rules.is_empty() {
        let who = Who { region, caller: ANONYMOUS.into() };
        let mut limiter = local.limiter.borrow_mut();
        limiter.check(&view.rules, &who, view.snapshot.service(service)).map_err(Refusal::Limited)?;
    }
    Ok(OpenTunnel::begin(&local.beat))
}

/// Connects to an endpoint: another one, another zone, another region, as often as calls are tried. What `stays` never
/// leaves this region.
pub(crate) async fn reach(
    local: &Rc<Local>,
    view: Rc<Seen>,
    service: u32,
    stays: bool,
    idle_ms: Option<u64>,
) -> Result<(Far, Held), Refusal> {
    let tries = view.settings.retries.tries_max.clamp(1, TRIES_MAX as u32);
    let target = view.snapshot.service(service);
    let ladder = if stays { target.near() } else { target.home() };
    let mut tried = Tried::default();
    for _ in 0..tries {
        let begun = Instant::now();
        let now = local.moment(begun);
        let decision = pick(&view.settings.pick, target, ladder, now, local.throw(), tried.as_slice());
        let choice = match decision {
            Decision::Use(choice) => choice,
            Decision::Nobody => return Err(Refusal::NoEndpoint),
        };
        let endpoint = target.endpoint(choice.endpoint);
        let crossing = view.crossings.get(&endpoint.region).cloned();
        if let Some(crossing) = &crossing {
            crossing.leave().map_err(Refusal::Limited)?;
        }
        let mut held = Held::begin(local.clone(), view.clone(), service, choice.endpoint, begun);
        held.crossing = crossing;
        let opened = open(&view, target, endpoint, idle_ms).await;
        local.tally.borrow_mut().opened_upstream();
        match opened {
            Ok(far) => {
                held.answered(Instant::now());
                return Ok((far, held));
            }
            Err(Denied::Refused) => {
                held.excuse();
                return Err(Refusal::Declined);
            }
            Err(Denied::Failed) => held.failed(Instant::now()),
        }
        local.tally.borrow_mut().missed(choice.rung, Miss::Connect);
        tried.add(choice.endpoint);
    }
    Err(Refusal::Unreachable)
}

/// Opens a connection to an endpoint, or by a far gateway to one of its own.
async fn open(
    view: &View,
    service: &Service,
    endpoint: &Endpoint,
    idle_ms: Option<u64>,
) -> Result<Far, Denied> {
    if endpoint.speech.protocol == Protocol::Relay {
        let far = relay::connect::ask(view, service, endpoint, idle_ms).await?;
        return Ok(Far::Upgraded(Box::new(far)));
    }
    dial::tcp(endpoint, view).await.map(Far::Plain).map_err(|_| Denied::Failed)
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
