//! One core: a thread with a runtime of its own, its part of every port, and the stack.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    task::Poll,
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use landbridge_runtime::tls::{Identity, named_in};
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
    sync::mpsc,
    task::{JoinSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    connection::converse,
    layers::{Peer, limit::bounded},
    local::{Local, TICK_MS},
    neighbours,
    ports::{Door, Purpose, Terms},
    proxy, relay,
    seat::{Order, Overrun, Seat},
    service_port::{carry, speaks_http},
    stack::stack,
    view::Shared,
};

/// Pause after the kernel cannot hand out a connection, for example for want of file descriptors.
const ACCEPT_PAUSE_MS: u64 = 50;

/// Connections taken from the kernel's queue after the end was told.
const LAST_ACCEPTED_MAX: usize = 1_024;

/// How often a core that ends looks whether its last call has ended.
const DRAIN_LOOK_MS: u64 = 10;

/// Starts a core. It ends when told to, after its last call or the time to drain.
pub(crate) fn start(
    number: usize,
    shared: Arc<Shared>,
    doors: mpsc::Receiver<Door>,
    ending: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let work = move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(serve(shared, doors, ending)),
            Err(error) => tracing::error!(event = "core_not_started", number, %error),
        }
    };
    thread::Builder::new().name(format!("calls-{number}")).spawn(work)
}

async fn serve(shared: Arc<Shared>, mut doors: mpsc::Receiver<Door>, ending: CancellationToken) {
    let local = Local::new(shared);
    let ticking = spawn_local(tick(local.clone()));
    let mut accepting = JoinSet::new();
    loop {
        tokio::select! {
            Some(door) = doors.recv() => {
                accepting.spawn_local(accept(local.clone(), door, ending.clone()));
            }
            Some(_) = accepting.join_next() => {}
            () = ending.cancelled() => break,
        }
    }
    // A task that panicked accepts nothing more, which is what is wanted here.
    while accepting.join_next().await.is_some() {}
    drain(&local).await;
    ticking.abort();
    local.close();
}

async fn tick(local: Rc<Local>) {
    let mut ticks = interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        local.tick();
    }
}

/// Lets connections leave, at most for the time to drain.
async fn drain(local: &Rc<Local>) {
    let drain = Duration::from_millis(local.shared.connections.drain_ms);
    let deadline = Instant::now() + drain;
    local.seats.give_all(Order::Leave, local.shared.clock.now());
    while !local.seats.is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(DRAIN_LOOK_MS)).await;
    }
    local.seats.give_all(Order::Cut, local.shared.clock.now());
}

/// Takes connections in until the port closes, and then those that already wait.
async fn accept(local: Rc<Local>, door: Door, ending: CancellationToken) {
    let Door { port, socket, terms, closing } = door;
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(event = "port_not_served", %error, "this core takes no calls on a port");
            return;
        }
    };
    let open_max = local.shared.connections.open_max.div_ceil(local.shared.threads);
    while !closing.is_cancelled() {
        if local.seats.count() >= open_max {
            sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            local.tick();
            continue;
        }
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => take_in(&local, port, &terms, stream, address),
            Err(error) => {
                tracing::warn!(event = "accept_failed", %error);
                sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
    // Closing the socket would reset those whom the kernel has already let in.
    for _ in 0..LAST_ACCEPTED_MAX {
        let waiting = poll_fn(|cx| Poll::Ready(socket.poll_accept(cx))).await;
        let Poll::Ready(Ok((stream, address))) = waiting else { break };
        take_in(&local, port, &terms, stream, address);
    }
    if !ending.is_cancelled() {
        spawn_local(dismiss(local, port));
    }
}

/// Lets the connections of a port that is gone leave, at most for the time to drain.
async fn dismiss(local: Rc<Local>, port: u64) {
    let deadline = Instant::now() + Duration::from_millis(local.shared.connections.drain_ms);
    while !local.seats.give_port(port, Order::Leave, local.shared.clock.now()) {
        if Instant::now() >= deadline {
            local.seats.give_port(port, Order::Cut, local.shared.clock.now());
            return;
        }
        sleep(Duration::from_millis(DRAIN_LOOK_MS)).await;
    }
}

fn take_in(local: &Rc<Local>, port: u64, terms: &ArcSwap<Terms>, mut stream: TcpStream, address: SocketAddr) {
    local.tally.borrow_mut().accepted();
    if stream.set_nodelay(true).is_err() {
        // The client has gone already.
        return;
    }
    let seat = local.seats.take(port, local.beat.now.get());
    let (local, terms) = (local.clone(), terms.load());
    let introduced = terms.proxy_from.iter().any(|range| range.holds(address.ip()));
    let purpose = terms.purpose.clone();
    spawn_local(async move {
        let mut caller = address;
        if introduced {
            match Box::pin(introduction(&local, &mut stream)).await {
                Ok(Some(told)) => caller = told,
                Ok(None) => {}
                Err(error) => {
                    local.tally.borrow_mut().cut(Overrun::Introduction);
                    tracing::debug!(event = "introduction_refused", %error);
                    return;
                }
            }
        }
        caller.set_ip(caller.ip().to_canonical());
        match purpose {
            Purpose::Calls { listener, acceptor } => {
                receive(local, listener, acceptor, stream, caller.ip(), seat).await;
            }
            Purpose::Service(carriage) => match carriage.calls {
                Some(listener) if speaks_http(&stream).await => {
                    receive(local, listener, None, stream, caller.ip(), seat).await;
                }
                Some(_) | None => Box::pin(carry(local, carriage, stream, caller, seat)).await,
            },
            Purpose::Relay { listener, identity } => {
                receive_relay(local, listener, identity, stream, caller.ip(), seat).await;
            }
        }
    });
}

/// Reads for whom a connection is, within the time that a request head has.
async fn introduction(local: &Local, stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let wait = Duration::from_millis(local.shared.connections.header_timeout_ms);
    timeout(wait, proxy::read(stream)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Serves one client's calls, after the handshake if there is to be one.
async fn receive(
    local: Rc<Local>,
    listener: usize,
    acceptor: Option<TlsAcceptor>,
    stream: TcpStream,
    caller: IpAddr,
    seat: Rc<Seat>,
) {
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let peer = peer_of(&local, listener, caller, scheme, seat);
    let stack = stack(&local);
    let Some(acceptor) = acceptor else { return converse(local, stream, peer, stack).await };
    let wait = Duration::from_millis(local.shared.connections.header_timeout_ms);
    // Boxed: a connection in clear text has no room for what only TLS needs.
    match Box::pin(timeout(wait, acceptor.accept(stream))).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let caller = shown.and_then(named_in).map(|name| bounded(&name));
            Box::pin(converse(local, stream, Peer { caller, ..peer }, stack)).await;
        }
        Ok(Err(error)) => tracing::debug!(event = "handshake_failed", %error),
        Err(_) => tracing::debug!(event = "handshake_late"),
    }
}

/// Serves the calls that a gateway of another region passes on, or hears the words of a neighbour.
async fn receive_relay(
    local: Rc<Local>,
    listener: usize,
    identity: Identity,
    stream: TcpStream,
    caller: IpAddr,
    seat: Rc<Seat>,
) {
    let peer = peer_of(&local, listener, caller, "https", seat);
    let wait = Duration::from_millis(local.shared.connections.header_timeout_ms);
    match timeout(wait, relay::accept(&identity, stream)).await {
        Ok(Ok((stream, region))) if region == local.view().snapshot.home.region => {
            let answering = neighbours::answering(&local);
            converse(local, stream, peer, answering).await;
        }
        Ok(Ok((stream, region))) => {
            let answering = relay::connect::answering(&local, stack(&local));
            let peer = Peer { trusted: true, relayed_from: Some(region), ..peer };
            converse(local, stream, peer, answering).await;
        }
        Ok(Err(error)) => tracing::warn!(event = "relay_refused", %error),
        Err(_) => tracing::debug!(event = "handshake_late"),
    }
}

fn peer_of(local: &Local, listener: usize, address: IpAddr, scheme: &'static str, seat: Rc<Seat>) -> Peer {
    let trusted = local.view().settings.trusted.iter().any(|range| range.holds(address));
    Peer {
        address,
        written: HeaderValue::try_from(address.to_string()).expect("an address is a header value"),
        trusted,
        scheme: HeaderValue::from_static(scheme),
        listener,
        relayed_from: None,
        caller: None,
        seat,
    }
}
