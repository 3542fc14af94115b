//! Carries the connections of a service port: an endpoint by the same ladder as calls, then bytes both ways, unread.
//!
//! Invariant: no byte of a caller is sent before its endpoint is connected, so that every failure to connect may be
//! tried elsewhere.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use ecow::EcoString;
use landbridge_gateway_core::{Decision, Name, pick};
use tokio::{net::TcpStream, time::Instant};

use crate::{
    answer::Held,
    dial,
    layers::{TRIES_MAX, Tried},
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
        let home = &view.snapshot.home.region;
        let region = limiter.number_of(&local.shared, home, view.settings.caller_regions_max);
        let service = view.snapshot.service(position);
        limiter.check(&view.rules, region, service).map_err(Refusal::Limited)?;
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
