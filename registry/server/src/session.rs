//! One SDK's TCP connection: who it is, when it last spoke, and what waits to be said to it.
//!
//! ```text
//! accepted ──ConnectionSetupRequest──▶ set up ──silence 20 s──▶ asked ──silence 5 s──▶ ended
//!     │                                   │                                              ▲
//!     └───────────────────────────────────┴────────────── connection closed ─────────────┘
//! ```
//! Invariant: a session ends once, and its end is told to the core after everything it said.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use landbridge_runtime::clock::Clock;
use papaya::HashMap;
use tokio_util::sync::CancellationToken;

use crate::egress::outbox::Outbox;

/// A connection that was silent for so long is asked whether it lives (Nacos 2.5 `ConnectionManager`).
pub(crate) const SILENCE_ASK_MS: u64 = 20_000;

/// A connection that did not answer that question for so long is closed.
pub(crate) const SILENCE_CLOSE_MS: u64 = 25_000;

/// What the client said of itself in its set-up.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// For example `Nacos-Java-Client:v2.5.1`.
    pub(crate) client_version: String,
    /// The address the client claims; shown, never trusted.
    pub(crate) client_ip: String,
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
    clock: Clock,
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

    /// Asks the connection's task to close it.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Resolves when the connection is to be closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

/// All connections of this member.
pub(crate) struct Sessions {
    next: AtomicU64,
    open: HashMap<u64, Arc<Session>>,
    clock: Clock,
}

impl Sessions {
    /// None yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { next: AtomicU64::new(1), open: HashMap::new(), clock }
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
            clock: self.clock,
            closing: CancellationToken::new(),
        });
        self.open.pin().insert(number, Arc::clone(&session));
        session
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
