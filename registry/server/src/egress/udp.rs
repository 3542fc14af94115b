//! Pushes to HTTP v1 subscribers by UDP (Nacos 2.5 `UdpPushService`): a datagram per change, an ack, one retry.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use ecow::EcoString;
use landbridge_model::Address;
use landbridge_runtime::clock::Clock;
use landbridge_wire::nacos::{ClusterFilter, Naming, http::udp};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tracing::warn;

use crate::{
    answer,
    labels::{Consumer, Wanted},
    metrics,
    window::{Face, Pane, Window},
};

/// A subscriber that did not ask again for so long is forgotten (Nacos: client expiry 3 min).
const FORGET_MS: u64 = 180_000;

/// Without an ack for so long a datagram is sent once more (Nacos: 10 s).
const RETRY_MS: u64 = 10_000;

/// The most UDP subscribers of one service; further ones poll.
pub(crate) const UDP_SUBSCRIBERS_MAX: usize = 1_024;

/// How much of a client's name is kept, in characters.
const AGENT_CHARS_MAX: usize = 128;

/// One subscriber of one service.
#[derive(Clone, Debug)]
struct Subscriber {
    /// As the client names itself, cut.
    agent: EcoString,
    clusters: ClusterFilter,
    /// Where it says it is, and where it is, for its labels.
    addresses: Vec<Address>,
    asked_ms: u64,
    waits_for: Option<Awaited>,
    /// Whether the list was too long for a datagram the last time: such a client polls.
    too_long: bool,
}

/// Who listens, and for which clusters: a Java 1.x client has one socket for all that it subscribes to.
type Listener = (SocketAddr, EcoString);

/// A datagram whose ack is waited for; `reference` comes back in it.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    reference: u64,
    sent_ms: u64,
    again: bool,
}

/// The UDP subscribers of one service.
#[derive(Default)]
pub(crate) struct UdpSubscribers(Mutex<BTreeMap<Listener, Subscriber>>);

impl UdpSubscribers {
    /// A client asked for the service and named its port; false if the service has too many.
    pub(crate) fn asked(
        &self,
        address: SocketAddr,
        agent: &str,
        clusters: &ClusterFilter,
        addresses: &[Address],
        now_ms: u64,
    ) -> bool {
        let mut all = self.0.lock();
        let listener = (address, EcoString::from(clusters.as_str()));
        if let Some(known) = all.get_mut(&listener) {
            known.asked_ms = now_ms;
            known.addresses = addresses.to_vec();
            return true;
        }
        if all.len() >= UDP_SUBSCRIBERS_MAX {
            return false;
        }
        let agent = agent.chars().take(AGENT_CHARS_MAX).collect();
        let (clusters, addresses) = (clusters.clone(), addresses.to_vec());
        let (waits_for, too_long) = (None, false);
        let subscriber = Subscriber { agent, clusters, addresses, asked_ms: now_ms, waits_for, too_long };
        all.insert(listener, subscriber);
        true
    }

    /// Where the subscribers listen, how they name themselves, and which clusters they want.
    pub(crate) fn all(&self) -> Vec<(SocketAddr, EcoString, ClusterFilter)> {
        let all = self.0.lock();
        all.iter().map(|((at, _), known)| (*at, known.agent.clone(), known.clusters.clone())).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// What a subscriber is shown, none if it is gone.
    fn wanted(&self, pane: &Pane, face: &Face, listener: &Listener) -> Option<Wanted> {
        let known =
            self.0.lock().get(listener).map(|known| (known.clusters.clone(), known.addresses.clone()));
        let (clusters, addresses) = known?;
        Some(pane.wanted(face, &clusters, Consumer::At(&addresses)))
    }

    fn acked(&self, from: SocketAddr, reference: u64) {
        let mut all = self.0.lock();
        let of_socket = all.range_mut((from, EcoString::new())..).take_while(|((at, _), _)| *at == from);
        for (_, known) in of_socket {
            if known.waits_for.is_some_and(|awaited| awaited.reference == reference) {
                known.waits_for = None;
            }
        }
    }

    /// Forgets who no longer asks; says who did not ack and gets a second datagram.
    fn sweep(&self, now_ms: u64) -> Vec<Listener> {
        let mut all = self.0.lock();
        all.retain(|_, known| now_ms.saturating_sub(known.asked_ms) < FORGET_MS);
        let mut late = Vec::new();
        for (listener, known) in all.iter_mut() {
            let Some(awaited) = known.waits_for else { continue };
            if now_ms.saturating_sub(awaited.sent_ms) < RETRY_MS {
                continue;
            }
            known.waits_for = None;
            if !awaited.again {
                late.push(listener.clone());
            }
        }
        late
    }
}

/// The socket that pushes leave by and acks come back to.
pub(crate) struct UdpPush {
    socket: UdpSocket,
    next_reference: AtomicU64,
    /// Datagrams since the start: all, and those that were second ones.
    sent: AtomicU64,
    again: AtomicU64,
    clock: Clock,
}

impl UdpPush {
    /// Pushes by this socket.
    pub(crate) fn new(socket: UdpSocket, clock: Clock) -> Self {
        let next_reference = AtomicU64::new(clock.unix_ms());
        Self { socket, next_reference, sent: AtomicU64::new(0), again: AtomicU64::new(0), clock }
    }

    /// Sends the newest state to the service's subscribers; says to how many.
    pub(crate) fn push(&self, pane: &Pane) -> usize {
        let subscribers: Vec<Listener> = pane.udp.0.lock().keys().cloned().collect();
        subscribers.iter().filter(|listener| self.send(pane, listener, false)).count()
    }

    /// Datagrams since the start, and those of them that were second ones.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.again.load(Ordering::Relaxed))
    }

    fn send(&self, pane: &Pane, listener: &Listener, again: bool) -> bool {
        let face = pane.face();
        let Some(wanted) = pane.udp.wanted(pane, &face, listener) else { return false };
        let service = answer::encode(&face.view, Naming::Grouped, &wanted, false);
        let reference = self.next_reference.fetch_add(1, Ordering::Relaxed);
        let Some(packet) = udp::packet(&service, face.view.last_ref_ms, reference) else {
            Self::note_too_long(pane, &face, listener);
            return false;
        };
        if self.socket.try_send_to(&packet, listener.0).is_err() {
            return false;
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.again.fetch_add(u64::from(again), Ordering::Relaxed);
        if let Some(known) = pane.udp.0.lock().get_mut(listener) {
            known.waits_for = Some(Awaited { reference, sent_ms: self.clock.now(), again });
            known.too_long = false;
        }
        true
    }

    /// The list fits no datagram: it is counted each time and said once, and the client polls as `cacheMillis` tells it.
    fn note_too_long(pane: &Pane, face: &Face, listener: &Listener) {
        metrics::udp_too_long();
        let mut all = pane.udp.0.lock();
        if let Some(known) = all.get_mut(listener)
            && !std::mem::replace(&mut known.too_long, true)
        {
            let (service, instances) = (&face.view.service, face.view.hosts.len());
            warn!(event = "udp_push_too_long", %service, instances, bytes_max = udp::PACKET_BYTES_MAX);
        }
    }

    /// Reads acks for as long as the process lives.
    pub(crate) async fn read_acks(&self, window: &Window) {
        let mut buffer = [0_u8; 2048];
        loop {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else {
                tokio::task::yield_now().await;
                continue;
            };
            match udp::acknowledged(&buffer[..length]) {
                Some(reference) => window.each_udp(|pane| pane.udp.acked(from, reference)),
                None => metrics::malformed("udp"),
            }
        }
    }

    /// Once a second: forgets, and sends a second time.
    pub(crate) fn sweep(&self, window: &Window) {
        let now_ms = self.clock.now();
        window.each_udp(|pane| {
            for listener in pane.udp.sweep(now_ms) {
                self.send(pane, &listener, true);
            }
        });
    }
}
