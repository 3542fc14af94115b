//! What a holder is told, what it asks for, and how what it knows is shown.

use std::sync::Arc;

use ecow::EcoString;
use landbridge_model::{
    Change, FeedId, Instance, InstanceKey, MemberId, Position, Record, RecordKey, Region, ServiceKey, Stamp,
    View,
};

use crate::message::Message;

/// One stream between two holders; a number that a process never uses twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What a holder is in its region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A registry process: writes a feed of its own.
    Member(MemberId),
    /// A sync-bridge: holds the feeds of its own region and of the regions it imports.
    Bridge,
    /// A gateway, or another reader of the same kind: follows only.
    Gateway,
}

/// Who is at the other end of a stream, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its region.
    pub region: Region,
    /// What it is there.
    pub role: Role,
    /// Its own name, for logs and metrics.
    pub id: EcoString,
}

/// What a holder is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// One own tick: a second has passed. A paused process hears one, however long it slept (R22).
    Tick {
        /// This process's wall clock, unix milliseconds; travels in heartbeats, decides nothing.
        unix_ms: u64,
    },
    /// A stream is up.
    Opened {
        /// Its number.
        stream: StreamId,
        /// Who is there.
        peer: Peer,
    },
    /// A message came.
    Received {
        /// On which stream.
        stream: StreamId,
        /// What it says.
        message: Message,
    },
    /// What was handed to a stream's outbox has left it: the credit for so many bytes is back.
    Drained {
        /// Which stream.
        stream: StreamId,
        /// As counted by `Message::weight_bytes`.
        bytes: usize,
    },
    /// A stream is gone.
    Closed {
        /// Which.
        stream: StreamId,
    },
    /// The leader's sign of life for the own region's Raft feed, given by the leader's own driver once a second with
    /// n = term in the upper 32 bits, a counter in the lower; other holders hear of it by relay (members only).
    RaftBeat {
        /// Rises over leader changes.
        n: u64,
        /// Since when a quorum has answered the leader at the earliest, unix milliseconds: so old is the word.
        unix_ms: u64,
    },
    /// The own region's Raft state machine has applied something (members only).
    Applied {
        /// The position it stands at.
        position: Position,
        /// What changed.
        changes: Vec<Change>,
    },
    /// The own region's Raft state machine was replaced by a snapshot, or is told for the first time (members only).
    Installed {
        /// The position it stands at.
        position: Position,
        /// All it holds.
        records: Vec<(RecordKey, Record)>,
    },
    /// The directory lists this member's own new feed: write it from here on, with this content at seq 1 (members only).
    Begun {
        /// The feed's id.
        feed: FeedId,
        /// Its content at opening.
        records: Vec<(RecordKey, Record)>,
    },
    /// The own feed was closed, or is being left behind: it is a copy like any other from here on (members only).
    Ended,
    /// Changes of the own feed, one seq for each call (members only). A call heavier than one message may carry
    /// (`bulk_bytes_max`) travels by reconcile: split such a batch where it need not be one step.
    Wrote {
        /// What changed.
        changes: Vec<Change>,
    },
    /// The name under which a bridge is listed, told once at its start: of origins that another listed bridge imports it follows
    /// what holders of its own region have, and the other regions' bridges only if those fall behind (bridges only).
    Named {
        /// As in its certificate.
        id: EcoString,
    },
    /// Look at what a region's bridge says of it and compare, changing nothing; `Holder::look_of` tells what was found.
    /// A feed waits for its next steps while it is looked at.
    Look {
        /// Which region.
        region: Region,
    },
    /// Rebuild all copies of a region by reconciles, whatever their positions say; they are served meanwhile.
    Resync {
        /// Which region.
        region: Region,
    },
    /// A copy found on disk at start (R18). Of each region the Raft feed comes first: `FeedId`'s order does that.
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
}

/// What a holder asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hand this to the stream's outbox. The holder keeps within the stream's credit, so the outbox never overflows.
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
    /// What the region shows for this service may differ: read it again.
    Touched {
        /// The origin.
        region: Region,
        /// The service.
        service: ServiceKey,
    },
    /// The region's directory, need, settling or policies differ: read them from the holder.
    DirectoryChanged {
        /// The origin.
        region: Region,
    },
    /// The region became live, suspect or frozen.
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
}

/// How an origin stands, by the freshest heartbeat of its feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Heartbeats advance.
    Live,
    /// None advanced for 3 s.
    Suspect,
    /// None advanced for 10 s: everything of it is kept and marked stale.
    Frozen,
}

/// One instance as a holder shows it: the winner of its key, under its overlay.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Which instance.
    pub key: InstanceKey,
    /// As registered, with overlays applied.
    pub instance: Arc<Instance>,
    /// Whether the registry vouches for it rather than a client.
    pub persistent: bool,
    /// Whether its writer is silent.
    pub unverified: bool,
    /// The feed the winner stands in.
    pub feed: FeedId,
    /// Its stamp; none for a persistent one.
    pub stamp: Option<Stamp>,
}

/// An instance of another region that is shown no more, though nobody deregistered it: its record went, or its feed. What an
/// eviction or a narrower export policy takes away is no loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The origin.
    pub region: Region,
    /// The service.
    pub service: ServiceKey,
    /// What was shown last, without its overlay.
    pub shown: Shown,
}

/// What a holder knows about one origin.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionStatus {
    /// The origin.
    pub region: Region,
    /// How it stands.
    pub standing: Standing,
    /// Milliseconds since a heartbeat of any of its feeds last advanced here.
    pub age_ms: u64,
    /// Where the copy of its Raft feed stands.
    pub raft: Position,
    /// Open feeds in its directory.
    pub feeds: usize,
    /// Records held, all its copies together.
    pub records: usize,
    /// How many seqs the copies lack against the newest heartbeats, summed.
    pub lag_seqs: u64,
    /// The age of the newest heartbeat whose position the copies have reached, by the writers' clocks, in
    /// milliseconds; none before the first.
    pub lag_ms: Option<u64>,
}
