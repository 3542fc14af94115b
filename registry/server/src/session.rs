//! One SDK's TCP connection: who it is, when it last spoke, and what waits to be said to it.
//!
//! ```text
//! accepted ──ConnectionSetupRequest──▶ set up ──silence 20 s──▶ asked ──silence 5 s──▶ ended
//!     │                                   │                                              ▲
//!     └───────────────────────────────────┴────────────── connection closed ─────────────┘
//! ```
//! Invariant: a session ends once, and its end is told to the core after everything it said.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use landbridge_model::{Address, InstanceKey, ServiceKey};
use landbridge_runtime::clock::Clock;
use papaya::HashMap;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{egress::outbox::Outbox, labels, upstream::grpc::Tunnel};

/// A connection that was silent for so long is asked whether it lives (Nacos 2.5 `ConnectionManager`).
pub(crate) const SILENCE_ASK_MS: u64 = 20_000;

/// A connection that did not answer that question for so long is closed.
pub(crate) const SILENCE_CLOSE_MS: u64 = 25_000;

/// A client that was sent to another server has so long to go; then its connection is closed.
const LEAVE_GRACE_MS: u64 = 3_000;

/// What the client said of itself in its set-up.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// For example `Nacos-Java-Client:v2.5.1`.
    pub(crate) client_version: String,
    /// The address the client claims; shown, never trusted.
    pub(crate) client_ip: String,
    /// The application and the namespace it says it works for.
    pub(crate) app: String,
    pub(crate) tenant: String,
    /// Only a connection of the module `naming` may register (Nacos 2.5 `ConnectionBasedClientManager`).
    pub(crate) naming: bool,
}

/// One SDK's connection.
pub(crate) struct Session {
    number: u64,
    id: String,
    remote: SocketAddr,
    introduction: OnceLock<Introduction>,
    spoke_ms: AtomicU64,
    asked: AtomicBool,
    outbox: Outbox,
    published: Mutex<BTreeMap<ServiceKey, Vec<InstanceKey>>>,
    /// When it is closed if it is still here, 0 for never: not every SDK goes when it is sent.
    leave_by_ms: AtomicU64,
    /// Its connection to the Nacos that keeps configs, once it asked for one.
    tunnel: OnceCell<Tunnel>,
    clock: Clock,
    is_closing: AtomicBool,
    closing: CancellationToken,
}

impl Session {
    /// Nacos's connection id: `<epochMillis>_<remoteIp>_<remotePort>`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The number by which the core knows it; never used twice by a process.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The address at the other end of the socket.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// What waits to be said.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The process's clock, for ages.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now()
    }

    /// Any message came: the connection lives.
    pub(crate) fn spoke(&self) {
        self.spoke_ms.store(self.clock.now(), Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Milliseconds of silence.
    pub(crate) fn silent_ms(&self) -> u64 {
        self.clock.now().saturating_sub(self.spoke_ms.load(Ordering::Relaxed))
    }

    /// Marks the question as asked; true the first time in a silence.
    pub(crate) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Takes the set-up; only the first counts.
    pub(crate) fn introduce(&self, introduction: Introduction) {
        let _ = self.introduction.set(introduction);
    }

    /// What the client said of itself, none before its set-up.
    pub(crate) fn introduction(&self) -> Option<&Introduction> {
        self.introduction.get()
    }

    /// What the connection published and did not take back, to be shown; the core's claims are what counts.
    pub(crate) fn published(&self) -> BTreeMap<ServiceKey, Vec<InstanceKey>> {
        self.published.lock().clone()
    }

    /// Does something for each of the first instances that the connection published.
    pub(crate) fn each_published(&self, max: usize, mut deed: impl FnMut(&ServiceKey, &InstanceKey)) {
        let published = self.published.lock();
        let all = published.iter().flat_map(|(service, keys)| keys.iter().map(move |key| (service, key)));
        all.take(max).for_each(|(service, key)| deed(service, key));
    }

    /// The addresses of the client: the one it names, then the one it has.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let claimed = self.introduction().map(|said| said.client_ip.as_str()).unwrap_or_default();
        labels::addresses(claimed, Some(self.remote.ip()))
    }

    /// The connection published this for a service, or with nothing took it back.
    pub(crate) fn publishes(&self, service: ServiceKey, keys: Vec<InstanceKey>) {
        let mut published = self.published.lock();
        if keys.is_empty() {
            published.remove(&service);
        } else {
            published.insert(service, keys);
        }
    }

    /// Sends the client to another server. Java and Go go by themselves; whoever stays is closed a little later.
    pub(crate) fn send_away(&self, to: Option<SocketAddr>) {
        self.outbox.control(crate::answer::reset(to));
        self.leave_by_ms.store(self.clock.now() + LEAVE_GRACE_MS, Ordering::Relaxed);
    }

    /// Whether it was sent away and is still here.
    pub(crate) fn overstays(&self) -> bool {
        let leave_by_ms = self.leave_by_ms.load(Ordering::Relaxed);
        leave_by_ms != 0 && self.clock.now() >= leave_by_ms
    }

    /// Its connection to the Nacos that keeps configs.
    pub(crate) fn tunnel(&self) -> &OnceCell<Tunnel> {
        &self.tunnel
    }

    /// Asks the connection's task to close it.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.closing.cancel();
    }

    /// Whether it was asked to, without a lock: who was woken may ask each time.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Resolves when the connection is to be closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

/// All connections of this member.
pub(crate) struct Sessions {
    /// Pushes acked, and pushes said again, since the start.
    acked: AtomicU64,
    retried: AtomicU64,
    /// Milliseconds that acks took, all together and the longest.
    waited_ms: AtomicU64,
    waited_max_ms: AtomicU64,
    next: AtomicU64,
    open: HashMap<u64, Arc<Session>>,
    clock: Clock,
}

impl Sessions {
    /// None yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            acked: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            waited_ms: AtomicU64::new(0),
            waited_max_ms: AtomicU64::new(0),
            next: AtomicU64::new(1),
            open: HashMap::new(),
            clock,
        }
    }

    /// A connection was accepted.
    pub(crate) fn open(&self, remote: SocketAddr) -> Arc<Session> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session {
            number,
            id: format!("{}_{}_{}", self.clock.unix_ms(), remote.ip(), remote.port()),
            remote,
            introduction: OnceLock::new(),
            spoke_ms: AtomicU64::new(self.clock.now()),
            asked: AtomicBool::new(false),
            outbox: Outbox::default(),
            published: Mutex::default(),
            leave_by_ms: AtomicU64::new(0),
            tunnel: OnceCell::new(),
            clock: self.clock,
            is_closing: AtomicBool::new(false),
            closing: CancellationToken::new(),
        });
        self.open.pin().insert(number, Arc::clone(&session));
        session
    }

    /// A push was acked after so long.
    pub(crate) fn push_acked(&self, waited_ms: u64) {
        self.acked.fetch_add(1, Ordering::Relaxed);
        self.waited_ms.fetch_add(waited_ms, Ordering::Relaxed);
        self.waited_max_ms.fetch_max(waited_ms, Ordering::Relaxed);
    }

    /// So many pushes were said again.
    pub(crate) fn pushes_retried(&self, retried: u64) {
        self.retried.fetch_add(retried, Ordering::Relaxed);
    }

    /// Acked pushes since the start, the milliseconds that their acks took together, and the longest of them.
    pub(crate) fn push_waits(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.acked), read(&self.waited_ms), read(&self.waited_max_ms))
    }

    /// Pushes said, and those of them that had to be said again.
    pub(crate) fn pushes(&self) -> (u64, u64) {
        let retried = self.retried.load(Ordering::Relaxed);
        (self.acked.load(Ordering::Relaxed) + retried, retried)
    }

    /// A connection is gone.
    pub(crate) fn forget(&self, number: u64) {
        self.open.pin().remove(&number);
    }

    /// The connection with this number.
    pub(crate) fn find(&self, number: u64) -> Option<Arc<Session>> {
        self.open.pin().get(&number).cloned()
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    /// Every open one, as of now.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.open.pin().values().cloned().collect()
    }
}
