//! What a member's core is told, and what it asks for.

use std::sync::Arc;

use landbridge_feed::{Message, Peer, Standing, StreamId};
use landbridge_model::{
    Change, FeedId, Instance, InstanceKey, MemberId, Position, Record, RecordKey, Region, ServiceKey, View,
};

use crate::{
    outcome::{Outcome, Refusal},
    state::Command,
};

/// One question that waits for an answer; a number that a process never uses twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One client connection at this member; a number that a process never uses twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One instance of one service.
pub type InstanceRef = (ServiceKey, InstanceKey);

/// This member leads the region's Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading {
    /// The term it leads.
    pub term: u64,
    /// Whether a quorum (itself counted) has answered it since the last tick.
    pub quorum: bool,
}

/// What a connection publishes for a service; it replaces what that connection published for it before.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// Nacos's `registerInstance`.
    One(InstanceKey, Arc<Instance>),
    /// Nacos's `batchRegisterInstance`: the whole set, of equal keys the last counts.
    Batch(Vec<(InstanceKey, Arc<Instance>)>),
}

/// What a member is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// One own tick: a second has passed. A paused process hears one, however long it slept (R22). The first input
    /// of all is a tick, so that the core knows the wall clock before it gives a stamp.
    Tick {
        /// This process's wall clock, unix milliseconds.
        unix_ms: u64,
        /// Whether this member leads, as seen at this tick.
        leading: Option<Leading>,
    },
    /// A feed stream is up.
    Opened {
        /// Its number.
        stream: StreamId,
        /// Who is there.
        peer: Peer,
    },
    /// A message came on a feed stream.
    Received {
        /// On which stream.
        stream: StreamId,
        /// What it says.
        message: Message,
    },
    /// What was handed to a feed stream's outbox has left it.
    Drained {
        /// Which stream.
        stream: StreamId,
        /// As counted by `Message::weight_bytes`.
        bytes: usize,
    },
    /// A feed stream is gone.
    Closed {
        /// Which.
        stream: StreamId,
    },
    /// A copy found on disk at start (R18); given after the first `Installed`.
    Loaded {
        /// Which feed.
        feed: FeedId,
        /// Under which view it was taken.
        view: View,
        /// Where it stood.
        position: Position,
        /// What it held.
        records: Vec<(RecordKey, Record)>,
    },
    /// The Raft state machine was loaded at start, or replaced by a snapshot.
    Installed {
        /// The position it stands at.
        position: Position,
        /// All it holds.
        records: Vec<(RecordKey, Record)>,
    },
    /// The Raft state machine has applied something.
    Applied {
        /// The position it stands at.
        position: Position,
        /// What changed.
        changes: Vec<Change>,
    },
    /// The Raft state machine has reached the commit index that a read index named after the start (R14).
    CaughtUp,
    /// A client's connection was accepted.
    ConnectionOpened {
        /// Which.
        connection: ConnectionId,
    },
    /// A client's connection answered [`Effect::Check`].
    ConnectionAlive {
        /// Which.
        connection: ConnectionId,
    },
    /// A client's connection ended, or was found dead.
    ConnectionEnded {
        /// Which.
        connection: ConnectionId,
    },
    /// A connection publishes; answered with [`Outcome::Written`].
    Publish {
        /// Whom to answer.
        ticket: Ticket,
        /// Whose claim it is.
        connection: ConnectionId,
        /// For which service.
        service: ServiceKey,
        /// The whole set.
        published: Published,
    },
    /// A connection takes back what it published for a service; answered with [`Outcome::Written`].
    Withdraw {
        /// Whom to answer.
        ticket: Ticket,
        /// Whose claims end.
        connection: ConnectionId,
        /// For which service.
        service: ServiceKey,
    },
    /// A beating client registers; answered with [`Outcome::Written`].
    Register {
        /// Whom to answer.
        ticket: Ticket,
        /// What.
        target: InstanceRef,
        /// As registered.
        instance: Arc<Instance>,
    },
    /// A beating client deregisters; answered with [`Outcome::Written`], known or not.
    Deregister {
        /// Whom to answer.
        ticket: Ticket,
        /// What.
        target: InstanceRef,
    },
    /// A beat that found no slot in the published view; answered with [`Outcome::Renewed`] or [`Outcome::Unknown`].
    Beat {
        /// Whom to answer.
        ticket: Ticket,
        /// Whose.
        target: InstanceRef,
        /// The instance, if the beat was a full one: an unknown one is registered from it.
        full: Option<Arc<Instance>>,
    },
    /// A peer forwards beats for records of this member's feed; answered with [`Outcome::Verdicts`].
    ForwardedBeats {
        /// Whom to answer.
        ticket: Ticket,
        /// The feed in which the peer sees the winners.
        feed: FeedId,
        /// Which were beaten.
        targets: Vec<InstanceRef>,
    },
    /// A peer answered [`Effect::ForwardBeat`]; no answer is news enough, the core counts.
    BeatsAnswered {
        /// Each with whether the peer renewed it.
        verdicts: Vec<(InstanceRef, bool)>,
    },
    /// A client or operator wants a Raft command; refused, or proposed under the same ticket.
    Submit {
        /// Whom to answer.
        ticket: Ticket,
        /// What to propose.
        command: Command,
    },
    /// What a policy would change if it were submitted; answered with [`Outcome::Foreseen`].
    Foresee {
        /// Whom to answer.
        ticket: Ticket,
        /// What would be proposed; refused unless it sets a policy.
        command: Command,
    },
    /// An operator lets go what is held back: silent leases of the own region, or instances that another one lost.
    Release {
        /// Whose.
        origin: Region,
    },
    /// Leave in order: [`Effect::Departed`] follows.
    Drain,
    /// No other member is up and ready: one that leaves has nobody to hand over to, and need not wait.
    Alone,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Questions are refused (R14).
    Starting,
    /// Questions are answered although R14 is not fulfilled: the warm-up took too long.
    Degraded,
    /// All is answered.
    Ready,
    /// It is leaving: registrations are refused, questions are answered, the readiness probe says no.
    Draining,
}

/// What a member asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hand this to the stream's outbox.
    Send {
        /// On which stream.
        stream: StreamId,
        /// What to say.
        message: Message,
    },
    /// The peer broke the protocol: close the stream and count it.
    Refuse {
        /// Which stream.
        stream: StreamId,
        /// What it did.
        why: &'static str,
    },
    /// What is shown for this service may differ: read its view again.
    Touched {
        /// The service.
        service: ServiceKey,
    },
    /// The region's directory, need, settling or policies differ.
    DirectoryChanged {
        /// The origin.
        region: Region,
    },
    /// A region became live, suspect or frozen.
    StandingChanged {
        /// The origin.
        region: Region,
        /// How it stands.
        standing: Standing,
    },
    /// A copy was dropped under R4: forget it on disk.
    Dropped {
        /// Which feed.
        feed: FeedId,
    },
    /// A verification found a copy that differs; it is served on and repaired.
    Doubted {
        /// Which feed.
        feed: FeedId,
    },
    /// Propose to Raft, and give the reply to the ticket if there is one. A lost proposal needs no word: what the
    /// core wants itself it proposes again. Copies are saved before a [`Command::Close`] is proposed.
    Propose {
        /// Who waits for the reply.
        ticket: Option<Ticket>,
        /// What.
        command: Command,
    },
    /// The answer to a ticket.
    Answer {
        /// Who asked.
        ticket: Ticket,
        /// What came of it.
        result: Result<Outcome, Refusal>,
    },
    /// Tell this member of a beat on a record of its feed; may be gathered for 100 ms.
    ForwardBeat {
        /// To whom.
        to: MemberId,
        /// In which of its feeds the record stands.
        feed: FeedId,
        /// Which was beaten.
        target: InstanceRef,
    },
    /// Ask this connection for a sign of life; silence needs no word, an end is told as always.
    Check {
        /// Which.
        connection: ConnectionId,
    },
    /// The member's phase changed.
    PhaseChanged {
        /// To this.
        phase: Phase,
    },
    /// The own feed is open: seq 1 of this feed is its content.
    FeedOpened {
        /// Its id.
        feed: FeedId,
    },
    /// A mass lapse is held back (or the hold is over, with 0): raise or lower the alarm.
    Held {
        /// The own region: leases that fell silent here. Another one: instances that it shows no more.
        origin: Region,
        /// How many are held.
        count: usize,
        /// Whether nothing of it was held before.
        began: bool,
    },
    /// The drain is over: the process may leave.
    Departed,
}
