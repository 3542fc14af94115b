//! A process's streams to its peers: who is dialled, who is let in, and the words in both directions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landbridge_feed::{Input, Message, Peer, StreamId};
use landbridge_model::Region;
use landbridge_runtime::{
    shutdown::Shutdown,
    tls::{Identity, PeerName},
};
use landbridge_wire::feeds::{BeatAnswer, BeatForward, Hello, Said};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::{Budgets, budgets},
    dial::{self, Attempts},
    exchange::{Ending, Parting},
    gate::{Gate, Refusal},
    limits::Limits,
    listen,
    roster::Roster,
};

/// What a carrier is told once.
pub struct CarrierConfig {
    /// What it says of itself; the certificate must agree.
    pub hello: Hello,
    /// Its certificate and whom it trusts.
    pub identity: Identity,
    /// Where peers may call; none for a process that only dials.
    pub listen: Option<TcpListener>,
    /// Other regions whose bridges may hold a stream with this one; empty for all but bridges.
    pub neighbours: BTreeSet<Region>,
    /// Bytes a second that may go to a region, on all streams with it together; a region without one has no bound.
    pub budgets: BTreeMap<Region, NonZeroU32>,
    /// Its bounds.
    pub limits: Limits,
}

/// An address to keep a stream with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// The region that must answer there.
    pub region: Region,
}

/// What happened on a stream; a driver turns each into its core's input.
#[derive(Clone, Debug)]
pub enum Event {
    /// It is up.
    Opened {
        /// Its number.
        stream: StreamId,
        /// Who is there, by certificate.
        peer: Peer,
    },
    /// A message came.
    Received {
        /// On which stream.
        stream: StreamId,
        /// What it says.
        message: Message,
    },
    /// Another member forwards beats (R11).
    Forwarded {
        /// On which stream.
        stream: StreamId,
        /// Which.
        forward: BeatForward,
    },
    /// Another member answers forwarded beats.
    Answered {
        /// On which stream.
        stream: StreamId,
        /// How.
        answer: BeatAnswer,
    },
    /// HTTP/2 has taken messages of this weight from the outbox.
    Drained {
        /// Of which stream.
        stream: StreamId,
        /// As counted by `Message::weight_bytes`.
        bytes: usize,
    },
    /// It is gone.
    Closed {
        /// Which.
        stream: StreamId,
        /// Why.
        why: Parting,
    },
}

impl Event {
    /// What a holder is told of it; none for forwarded beats, which are between members.
    pub fn into_input(self) -> Option<Input> {
        match self {
            Self::Opened { stream, peer } => Some(Input::Opened { stream, peer }),
            Self::Received { stream, message } => Some(Input::Received { stream, message }),
            Self::Drained { stream, bytes } => Some(Input::Drained { stream, bytes }),
            Self::Closed { stream, .. } => Some(Input::Closed { stream }),
            Self::Forwarded { .. } | Self::Answered { .. } => None,
        }
    }
}

/// A stream that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Its number.
    pub stream: StreamId,
    /// Who is there.
    pub peer: Peer,
    /// Whether this process dialled.
    pub dialled: bool,
}

/// An address that is kept dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    /// Which.
    pub target: Target,
    /// Why the last attempt brought no stream; none while one is up or none has failed.
    pub failure: Option<String>,
}

/// A process's streams; copies are the same carrier. They end with the process's shutdown.
#[derive(Clone)]
pub struct Carrier {
    shared: Arc<Shared>,
}

/// What a stream's seat keeps: its outbox and the way to end it.
pub(crate) type Kept = (mpsc::Sender<Said>, Arc<Ending>);

pub(crate) struct Shared {
    pub gate: Gate,
    pub identity: Identity,
    pub limits: Limits,
    pub budgets: Budgets,
    pub events: mpsc::Sender<Event>,
    pub shutdown: Shutdown,
    /// Counts streams that went, so that whoever waits for one to go can look again.
    pub changed: watch::Sender<u64>,
    roster: Mutex<Roster<Kept>>,
    /// Regions that an operator has paused.
    paused: Mutex<BTreeSet<Region>>,
    dialled: Mutex<BTreeMap<Target, (CancellationToken, Arc<Attempts>)>>,
}

impl Shared {
    /// The streams that are up; held for a look or a change, never across a wait.
    pub fn streams(&self) -> MutexGuard<'_, Roster<Kept>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a peer of a region that is paused.
    pub fn exchanges_with(&self, name: &PeerName) -> Result<(), Refusal> {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if paused.iter().any(|region| region.as_str() == name.region) {
            let own = &self.gate.hello.peer.region;
            return Err(Refusal::Paused(format!("{own} has paused its exchange with {}", name.region)));
        }
        Ok(())
    }

    fn targets(&self) -> MutexGuard<'_, BTreeMap<Target, (CancellationToken, Arc<Attempts>)>> {
        self.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").field("own", &self.shared.gate.hello.peer).finish_non_exhaustive()
    }
}

impl Carrier {
    /// Starts to listen, if there is a listener. What happens on streams goes to `events`; a full queue holds the
    /// streams back, not the driver.
    pub fn start(config: CarrierConfig, events: mpsc::Sender<Event>, shutdown: &Shutdown) -> Self {
        let own = config.hello.peer.clone();
        let shared = Arc::new(Shared {
            gate: Gate { hello: config.hello, neighbours: config.neighbours },
            identity: config.identity,
            limits: config.limits,
            budgets: budgets(&config.budgets),
            events,
            shutdown: shutdown.clone(),
            changed: watch::Sender::new(0),
            roster: Mutex::new(Roster::new(own)),
            paused: Mutex::default(),
            dialled: Mutex::default(),
        });
        if let Some(listener) = config.listen {
            shutdown.spawn(listen::serve(Arc::clone(&shared), listener));
        }
        Self { shared }
    }

    /// Keeps a stream with each of these addresses, and with no other that it dialled before.
    pub fn dial(&self, wanted: BTreeSet<Target>) {
        let mut targets = self.shared.targets();
        targets.retain(|target, (token, _)| {
            let stays = wanted.contains(target);
            if !stays {
                token.cancel();
            }
            stays
        });
        for target in wanted {
            targets.entry(target).or_insert_with_key(|target| {
                let token = self.shared.shutdown.child_token();
                let attempts = Arc::new(Attempts::default());
                let work = dial::keep(
                    Arc::clone(&self.shared),
                    target.clone(),
                    token.clone(),
                    Arc::clone(&attempts),
                );
                self.shared.shutdown.spawn(work);
                (token, attempts)
            });
        }
    }

    /// Holds no stream with peers of exactly these regions from here on. Call it again now and then: a stream that was
    /// being opened meanwhile ends at the next call.
    pub fn pause(&self, regions: BTreeSet<Region>) {
        self.shared.paused.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&regions);
        for state in self.streams() {
            if regions.contains(&state.peer.region) {
                self.close(state.stream, "paused by an operator");
            }
        }
    }

    /// Hands a message to a stream's outbox; false if the stream is gone or its outbox is full.
    pub fn send(&self, stream: StreamId, message: Message) -> bool {
        self.say(stream, Said::Message(message))
    }

    /// Hands a message to a stream's outbox, and ends a stream that has no room: it resumes on a new one.
    pub fn send_or_close(&self, stream: StreamId, message: Message) {
        if !self.send(stream, message) {
            self.close(stream, "its outbox is full");
        }
    }

    /// Forwards beats to another member; false as with `send`.
    pub fn forward(&self, stream: StreamId, forward: BeatForward) -> bool {
        self.say(stream, Said::BeatForward(forward))
    }

    /// Answers forwarded beats; false as with `send`.
    pub fn answer(&self, stream: StreamId, answer: BeatAnswer) -> bool {
        self.say(stream, Said::BeatAnswer(answer))
    }

    fn say(&self, stream: StreamId, said: Said) -> bool {
        self.shared.streams().seat(stream).is_some_and(|seat| seat.kept.0.try_send(said).is_ok())
    }

    /// Ends a stream; `Event::Closed` follows.
    pub fn close(&self, stream: StreamId, why: &'static str) {
        if let Some(seat) = self.shared.streams().seat(stream) {
            seat.kept.1.end(Parting::Closed(why));
        }
    }

    /// The streams that are up.
    pub fn streams(&self) -> Vec<StreamState> {
        let roster = self.shared.streams();
        let seats = roster.seats();
        seats
            .map(|(stream, seat)| StreamState { stream, peer: seat.peer.clone(), dialled: seat.dialled })
            .collect()
    }

    /// The addresses that are kept dialled, with what is wrong with each.
    pub fn dialled(&self) -> Vec<TargetState> {
        let targets = self.shared.targets();
        let states = targets.iter();
        states
            .map(|(target, (_, attempts))| TargetState {
                target: target.clone(),
                failure: attempts.failure(),
            })
            .collect()
    }
}
