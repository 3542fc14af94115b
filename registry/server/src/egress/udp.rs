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
}

/// A datagram whose ack is waited for; `reference` comes back in it.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    reference: u64,
    sent_ms: u64,
    again: bool,
}

/// The UDP subscribers of one service.
#[derive(Default)]
pub(crate) struct UdpSubscribers(Mutex<BTreeMap<SocketAddr, Subscriber>>);

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
        if let Some(known) = all.get_mut(&address) {
            known.asked_ms = now_ms;
            return true;
        }
        if all.len() >= UDP_SUBSCRIBERS_MAX {
            return false;
        }
        let agent = agent.chars().take(AGENT_CHARS_MAX).collect();
        let (clusters, addresses) = (clusters.clone(), addresses.to_vec());
        let subscriber = Subscriber { agent, clusters, addresses, asked_ms: now_ms, waits_for: None };
        all.insert(address, subscriber);
        true
    }

    /// Where the subscribers listen, how they name themselves, and which clusters they want.
    pub(crate) fn all(&self) -> Vec<(SocketAddr, EcoString, ClusterFilter)> {
        let all = self.0.lock();
        all.iter().map(|(at, known)| (*at, known.agent.clone(), known.clusters.clone())).collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// What a subscriber is shown, none if it is gone.
    fn wanted(&self, pane: &Pane, face: &Face, address: SocketAddr) -> Option<Wanted> {
        let known =
            self.0.lock().get(&address).map(|known| (known.clusters.clone(), known.addresses.clone()));
        let (clusters, addresses) = known?;
        Some(pane.wanted(face, &clusters, Consumer::At(&addresses)))
    }

    fn acked(&self, from: SocketAddr, reference: u64) {
        if let Some(known) = self.0.lock().get_mut(&from)
            && known.waits_for.is_some_and(|awaited| awaited.reference == reference)
        {
            known.waits_for = None;
        }
    }

    /// Forgets who no longer asks; says who did not ack and gets a second datagram.
    fn sweep(&self, now_ms: u64) -> Vec<SocketAddr> {
        let mut all = self.0.lock();
        all.retain(|_, known| now_ms.saturating_sub(known.asked_ms) < FORGET_MS);
        let mut late = Vec::new();
        for (address, known) in all.iter_mut() {
            let Some(awaited) = known.waits_for else { continue };
            if now_ms.saturating_sub(awaited.sent_ms) < RETRY_MS {
                continue;
            }
            known.waits_for = None;
            if !awaited.again {
                late.push(*address);
            }
        }
        late
    }
}

/// The socket that pushes leave by and acks come back to.
pub(crate) struct UdpPush {
    socket: UdpSocket,
    next_reference: AtomicU64,
    clock: Clock,
}

impl UdpPush {
    /// Pushes by this socket.
    pub(crate) fn new(socket: UdpSocket, clock: Clock) -> Self {
        Self { socket, next_reference: AtomicU64::new(clock.unix_ms()), clock }
    }

    /// Sends the newest state to the service's subscribers; says to how many.
    pub(crate) fn push(&self, pane: &Pane) -> usize {
        let subscribers: Vec<SocketAddr> = pane.udp.0.lock().keys().copied().collect();
        subscribers.iter().filter(|address| self.send(pane, **address, false)).count()
    }

    fn send(&self, pane: &Pane, address: SocketAddr, again: bool) -> bool {
        let face = pane.face();
        let Some(wanted) = pane.udp.wanted(pane, &face, address) else { return false };
        let service = answer::encode(&face.view, Naming::Grouped, &wanted, false);
        let reference = self.next_reference.fetch_add(1, Ordering::Relaxed);
        let Some(packet) = udp::packet(&service, face.view.last_ref_ms, reference) else { return false };
        if self.socket.try_send_to(&packet, address).is_err() {
            return false;
        }
        if let Some(known) = pane.udp.0.lock().get_mut(&address) {
            known.waits_for = Some(Awaited { reference, sent_ms: self.clock.now(), again });
        }
        true
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
            for address in pane.udp.sweep(now_ms) {
                self.send(pane, address, true);
            }
        });
    }
}
