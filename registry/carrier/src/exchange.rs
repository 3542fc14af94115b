//! Runs one stream from Hello to its end, the same for the side that dialled and the side that accepted.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use landbridge_feed::{Peer, StreamId};
use landbridge_wire::feeds::{Frame, Hello, Said, Unpacker, decode};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{
    budget::Toll,
    carrier::{Event, Shared},
    gate::Refusal,
    metrics::{self, Side, Traffic, Way},
    outbox::{Drained, Tap},
    roster::Entry,
};

/// Why a stream is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The peer ended it.
    ByPeer(String),
    /// The connection broke or fell silent.
    Broken(String),
    /// The peer sent what no holder may send.
    Malformed(String),
    /// The driver closed it.
    Closed(&'static str),
    /// A newer stream of the pair took its place.
    Replaced,
    /// Its address is dialled no longer.
    Unwanted,
    /// This process ends.
    Shutdown,
}

impl Parting {
    /// The label under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ByPeer(_) => "by_peer",
            Self::Broken(_) => "broken",
            Self::Malformed(_) => "malformed",
            Self::Closed(_) => "closed",
            Self::Replaced => "replaced",
            Self::Unwanted => "unwanted",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer(why) if why.is_empty() => f.write_str("the peer ended the stream"),
            Self::ByPeer(why) => write!(f, "the peer ended the stream: {why}"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Malformed(why) => write!(f, "the peer sent a malformed frame: {why}"),
            Self::Closed(why) => write!(f, "closed by this side: {why}"),
            Self::Replaced => f.write_str("a newer stream of the pair took its place"),
            Self::Unwanted => f.write_str("its address is dialled no longer"),
            Self::Shutdown => f.write_str("this process ends"),
        }
    }
}

/// The word that a stream is to end, and the first reason given for it.
#[derive(Debug)]
pub(crate) struct Ending {
    token: CancellationToken,
    why: OnceLock<Parting>,
}

impl Ending {
    pub fn new(token: CancellationToken) -> Self {
        Self { token, why: OnceLock::new() }
    }

    /// Ends the stream; the first reason stays.
    pub fn end(&self, why: Parting) {
        self.why.get_or_init(|| why);
        self.token.cancel();
    }

    async fn wait(&self, shared: &Shared) -> Parting {
        self.token.cancelled().await;
        let unsaid = if shared.shutdown.begun() { Parting::Shutdown } else { Parting::Unwanted };
        self.why.get().cloned().unwrap_or(unsaid)
    }
}

/// One stream that is up.
pub(crate) struct Line {
    stream: StreamId,
    peer: Peer,
    inbound: Streaming<Frame>,
    /// Only where packed frames may come.
    unpacker: Option<Unpacker>,
    drained: Arc<Drained>,
    last: Arc<OnceLock<Status>>,
    ending: Arc<Ending>,
}

/// Reads the first frame, which must be a Hello and must come in time.
pub(crate) async fn first_hello(inbound: &mut Streaming<Frame>, hello_ms: u64) -> Result<Hello, Refusal> {
    let first = tokio::time::timeout(Duration::from_millis(hello_ms), inbound.message()).await;
    let frame = match first {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => {
            return Err(Refusal::NoHello("the peer ended the stream before its Hello".to_owned()));
        }
        Ok(Err(status)) => return Err(refused_by(&status)),
        Err(_) => return Err(Refusal::NoHello(format!("no Hello came in {hello_ms} ms"))),
    };
    match decode(frame) {
        Ok(Said::Hello(hello)) => Ok(hello),
        Ok(Said::Message(_) | Said::Credit { .. } | Said::BeatForward(_) | Said::BeatAnswer(_)) => {
            Err(Refusal::NoHello("the first frame was no Hello".to_owned()))
        }
        Err(malformed) => Err(Refusal::NoHello(format!("the first frame was malformed: {malformed}"))),
    }
}

/// What a peer's or the transport's status says about a stream that did not come to be.
pub(crate) fn refused_by(status: &Status) -> Refusal {
    match status.code() {
        tonic::Code::AlreadyExists => Refusal::Duplicate,
        tonic::Code::PermissionDenied | tonic::Code::Unimplemented | tonic::Code::InvalidArgument => {
            Refusal::ByPeer(status.message().to_owned())
        }
        _ => Refusal::Handshake(innermost(status)),
    }
}

/// An error's innermost cause, where the useful words are.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// How a stream came to be, and what both sides agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Who dialled.
    pub side: Side,
    /// Whether frames are packed.
    pub packs: bool,
}

/// Gives a stream its place and number; an older one of the pair is told to end.
pub(crate) fn enter(
    shared: &Shared,
    peer: &Peer,
    terms: Terms,
    tap: Tap,
    inbound: Streaming<Frame>,
    token: CancellationToken,
) -> Result<Line, Refusal> {
    let ending = Arc::new(Ending::new(token));
    let dialled = matches!(terms.side, Side::Dialled);
    let unpacker = match terms.packs.then(Unpacker::new).transpose() {
        Ok(unpacker) => unpacker,
        Err(error) => return Err(Refusal::Handshake(format!("no memory to unpack frames in: {error}"))),
    };
    if terms.packs {
        tap.packs.get_or_init(|| ());
    }
    let (drained, last) = (Arc::clone(&tap.drained), Arc::clone(&tap.last));
    tap.traffic.get_or_init(|| Traffic::with(peer, Way::Out));
    if let Some(budget) = shared.budgets.get(&peer.region) {
        let toll = Toll { budget: Arc::clone(budget), waited: metrics::budget_waits(&peer.region) };
        tap.toll.get_or_init(|| toll);
    }
    let entry = shared.streams().enter(peer, dialled, (tap.queue, Arc::clone(&ending)));
    match entry {
        Entry::Duplicate => Err(Refusal::Duplicate),
        Entry::Up(stream, older) => {
            if let Some(seat) = older {
                seat.kept.1.end(Parting::Replaced);
            }
            Ok(Line { stream, peer: peer.clone(), inbound, unpacker, drained, last, ending })
        }
    }
}

impl Line {
    /// Carries the stream until it ends, and tells the driver so.
    pub async fn run(mut self, shared: &Shared) -> Parting {
        let up = metrics::streams(&self.peer);
        up.increment(1.0);
        tracing::info!(
            event = "stream_opened",
            stream = self.stream.0,
            peer_region = %self.peer.region,
            peer = %self.peer.id,
            role = ?self.peer.role,
            "stream opened"
        );
        let parting = self.carry(shared).await;
        shared.streams().leave(self.stream);
        shared.changed.send_modify(|count| *count += 1);
        up.decrement(1.0);
        metrics::parted(&self.peer, parting.reason());
        tracing::info!(
            event = "stream_closed",
            stream = self.stream.0,
            peer_region = %self.peer.region,
            peer = %self.peer.id,
            reason = parting.reason(),
            why = %parting,
            "stream closed"
        );
        self.say_last(&parting);
        let closed = Event::Closed { stream: self.stream, why: parting.clone() };
        // The driver is gone when the process ends; then nobody need know.
        let _ = shared.events.send(closed).await;
        parting
    }

    async fn carry(&mut self, shared: &Shared) -> Parting {
        let traffic = Traffic::with(&self.peer, Way::In);
        let ending = Arc::clone(&self.ending);
        let opened = Event::Opened { stream: self.stream, peer: self.peer.clone() };
        if let Err(parting) = tell(shared, &ending, opened).await {
            return parting;
        }
        loop {
            let event = tokio::select! {
                parting = ending.wait(shared) => return parting,
                bytes = self.drained.take() => Event::Drained { stream: self.stream, bytes },
                frame = self.inbound.message() => match self.understand(frame, &traffic) {
                    Ok(Some(event)) => event,
                    Ok(None) => continue,
                    Err(parting) => return parting,
                },
            };
            if let Err(parting) = tell(shared, &ending, event).await {
                return parting;
            }
        }
    }

    fn understand(
        &mut self,
        frame: Result<Option<Frame>, Status>,
        traffic: &Traffic,
    ) -> Result<Option<Event>, Parting> {
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(Parting::ByPeer(String::new())),
            Err(status) => return Err(parting_by(&status)),
        };
        let bytes = frame.encoded_len();
        let frame = match &mut self.unpacker {
            Some(unpacker) => {
                unpacker.open(frame).map_err(|malformed| Parting::Malformed(malformed.to_string()))?
            }
            None => frame,
        };
        traffic.count(bytes, frame.encoded_len());
        let stream = self.stream;
        match decode(frame) {
            Ok(Said::Message(message)) => Ok(Some(Event::Received { stream, message })),
            Ok(Said::BeatForward(forward)) => Ok(Some(Event::Forwarded { stream, forward })),
            Ok(Said::BeatAnswer(answer)) => Ok(Some(Event::Answered { stream, answer })),
            // HTTP/2 windows bound what is on its way; a peer's own count is of no use to this side.
            Ok(Said::Credit { .. }) => Ok(None),
            Ok(Said::Hello(_)) => Err(Parting::Malformed("a second Hello".to_owned())),
            Err(malformed) => Err(Parting::Malformed(malformed.to_string())),
        }
    }

    /// Lets the peer know why, where this side answers and the peer could not know.
    fn say_last(&self, parting: &Parting) {
        let status = match parting {
            Parting::Malformed(_) => Status::invalid_argument(parting.to_string()),
            Parting::Closed(_) => Status::aborted(parting.to_string()),
            Parting::Replaced => Status::already_exists(parting.to_string()),
            Parting::Shutdown => Status::unavailable(parting.to_string()),
            Parting::ByPeer(_) | Parting::Broken(_) | Parting::Unwanted => return,
        };
        self.last.get_or_init(|| status);
    }
}

/// Hands an event to the driver, waiting for room as long as the stream is to live.
async fn tell(shared: &Shared, ending: &Ending, event: Event) -> Result<(), Parting> {
    tokio::select! {
        parting = ending.wait(shared) => Err(parting),
        sent = shared.events.send(event) => sent.map_err(|_| Parting::Shutdown),
    }
}

/// A status after the Hello: the peer's last word, or the transport's.
fn parting_by(status: &Status) -> Parting {
    match status.code() {
        tonic::Code::InvalidArgument | tonic::Code::Aborted | tonic::Code::AlreadyExists => {
            Parting::ByPeer(status.message().to_owned())
        }
        tonic::Code::OutOfRange => Parting::Malformed(status.message().to_owned()),
        _ => Parting::Broken(innermost(status)),
    }
}
