//! What a region decides by Raft, and what a decision says back.

use std::{collections::BTreeMap, sync::Arc};

use ecow::EcoString;
use landbridge_model::{
    Definition, Era, ExportPolicy, FeedId, Instance, InstanceKey, MemberId, Overlay, Region, ServiceKey,
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
    /// Takes all edits of an instance back.
    ClearOverlay {
        /// Of which service.
        service: ServiceKey,
        /// Which.
        key: InstanceKey,
    },
}

/// What a decision says to its proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It holds.
    Done,
    /// The feed is listed, just now or before.
    Opened(FeedId),
    /// What it was to change is not there.
    NotFound,
    /// The group has no era yet: propose [`Command::Found`] first.
    Unfounded,
}
