//! What a region decides by Raft, and what a decision says back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ecow::EcoString;
use landbridge_model::{
    Definition, Era, ExportPolicy, FeedId, ImportPolicy, Instance, InstanceKey, LinkOrder, MemberId, Overlay,
    Region, ServiceKey,
};

/// One decision. It holds all it needs: applying it looks at nothing but the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Names the Raft group's era; the first one counts, later ones change nothing.
    Found {
        /// Unix milliseconds at bootstrap.
        era: Era,
    },
    /// Lists a new feed; nothing if a feed with this nonce is listed.
    Open {
        /// Who will write it.
        member: MemberId,
        /// Where to follow it.
        address: EcoString,
        /// What tells this incarnation from others.
        nonce: u64,
    },
    /// Strikes a feed off the directory.
    Close {
        /// Which.
        feed: FeedId,
        /// Where the proposer stood in every other listed feed.
        cursor: BTreeMap<FeedId, u64>,
    },
    /// Ends the settling of a restored region.
    Settle {
        /// Where the proposer stood in every listed feed.
        cursor: BTreeMap<FeedId, u64>,
    },
    /// Sets, or with none takes back, what may leave for a peer; its `since` is set to the position of this command.
    SetPolicy {
        /// The peer.
        peer: Region,
        /// What may leave.
        policy: Option<Arc<ExportPolicy>>,
    },
    /// Orders, or with none takes back, how another region is treated here.
    SetLink {
        /// Which region.
        region: Region,
        /// How.
        order: Option<LinkOrder>,
    },
    /// Sets, or with none takes back, what of another region shows here.
    SetImport {
        /// Which region.
        region: Region,
        /// What, and how.
        policy: Option<Arc<ImportPolicy>>,
    },
    /// Lists a bridge of the region with the origins it hears, or strikes it off.
    SetBridge {
        /// Its own name.
        id: EcoString,
        /// What it hears; none once it is gone.
        hears: Option<BTreeSet<Region>>,
    },
    /// Defines a service, or changes its definition.
    Define {
        /// Which.
        service: ServiceKey,
        /// As what.
        definition: Arc<Definition>,
    },
    /// Takes a definition back.
    Undefine {
        /// Of which service.
        service: ServiceKey,
    },
    /// Registers a persistent instance, or changes it.
    PutPersistent {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        key: InstanceKey,
        /// As what.
        instance: Arc<Instance>,
    },
    /// Takes a persistent instance away.
    DeletePersistent {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        key: InstanceKey,
    },
    /// What probes found; instances that are gone are passed over.
    SetHealth {
        /// Each with whether it is healthy.
        flips: Vec<(ServiceKey, InstanceKey, bool)>,
    },
    /// Lays edits over an instance; what is not given stays as it was.
    SetOverlay {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        key: InstanceKey,
        /// The edits.
        overlay: Arc<Overlay>,
    },
    /// Keeps a note for the region itself, or with none throws it away: namespaces, users, switches. Notes are in no feed.
    Note {
        /// Under which name, at most [`NOTE_NAME_BYTES_MAX`].
        name: EcoString,
        /// What it says, at most [`NOTE_BYTES_MAX`].
        text: Option<EcoString>,
    },
    /// Gives a service a port of its own from a range; nothing if it has one of that range.
    AssignPort {
        /// Which service.
        service: ServiceKey,
        /// The first port and the last.
        range: (u16, u16),
    },
    /// Takes the port of a service back.
    ReleasePort {
        /// Of which service.
        service: ServiceKey,
    },
    /// Takes all edits of an instance back.
    ClearOverlay {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        key: InstanceKey,
        /// Only if they still stand so; none: whatever they are.
        seen: Option<Arc<Overlay>>,
    },
}

/// The longest name of a note, in bytes; a longer one is refused.
pub const NOTE_NAME_BYTES_MAX: usize = 1024;

/// The longest note, in bytes; a longer one is refused.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// The most notes of a region; further ones are refused.
pub const NOTES_MAX: usize = 20_000;

/// What a decision says to its proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It holds.
    Done,
    /// The feed is listed, just now or before.
    Opened(FeedId),
    /// What it was to change is not there, or there is no room for it.
    NotFound,
    /// The group has no era yet: propose [`Command::Found`] first.
    Unfounded,
}
