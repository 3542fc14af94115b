//! What feeds hold: records by key, and the changes between two positions.

use std::{collections::BTreeSet, sync::Arc};

use ecow::EcoString;

use crate::{
    feed::{FeedId, Stamp},
    import::ImportPolicy,
    instance::{Instance, InstanceKey, Metadata, OWNER},
    link::LinkOrder,
    name::ServiceKey,
    place::{MemberId, Region},
    policy::ExportPolicy,
};

/// What a record is about. Member feeds hold only [`RecordKey::Instance`]; the rest is the Raft feed's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// An ephemeral registration.
    Instance(ServiceKey, InstanceKey),
    /// Present while a restored region gathers itself (R16).
    Settling,
    /// An open feed.
    Directory(FeedId),
    /// What may leave for a peer.
    Policy(Region),
    /// A service that someone defined.
    Definition(ServiceKey),
    /// A persistent instance.
    Persistent(ServiceKey, InstanceKey),
    /// An operator's edits laid over an instance.
    Overlay(ServiceKey, InstanceKey),
    /// An operator's order about another region.
    Link(Region),
    /// What of another region shows here.
    Import(Region),
    /// The port under which the region's gateways carry connections to a service.
    Port(ServiceKey),
    /// A bridge of the region, by its own name, that holds a stream with the region's leader.
    Bridge(EcoString),
}

impl RecordKey {
    /// The service it belongs to, none for what concerns the region.
    pub fn service(&self) -> Option<&ServiceKey> {
        match self {
            Self::Instance(service, _)
            | Self::Definition(service)
            | Self::Persistent(service, _)
            | Self::Overlay(service, _)
            | Self::Port(service) => Some(service),
            Self::Settling
            | Self::Directory(_)
            | Self::Policy(_)
            | Self::Link(_)
            | Self::Import(_)
            | Self::Bridge(_) => None,
        }
    }
}

/// What a feed says of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Of [`RecordKey::Instance`].
    Registration(Registration),
    /// Of [`RecordKey::Settling`].
    Settling,
    /// Of [`RecordKey::Directory`].
    Directory(DirectoryEntry),
    /// Of [`RecordKey::Policy`].
    Policy(Arc<ExportPolicy>),
    /// Of [`RecordKey::Definition`].
    Definition(Arc<Definition>),
    /// Of [`RecordKey::Persistent`].
    Persistent(Arc<Instance>),
    /// Of [`RecordKey::Overlay`].
    Overlay(Arc<Overlay>),
    /// Of [`RecordKey::Link`].
    Link(LinkOrder),
    /// Of [`RecordKey::Import`].
    Import(Arc<ImportPolicy>),
    /// Of [`RecordKey::Port`].
    Port(u16),
    /// Of [`RecordKey::Bridge`]: the origins of which it hears a bridge itself.
    Bridge(BTreeSet<Region>),
}

impl Record {
    /// Whether this kind of record may stand under that kind of key; what came over a wire must pass.
    pub fn fits(&self, key: &RecordKey) -> bool {
        matches!(
            (key, self),
            (RecordKey::Instance(..), Self::Registration(_))
                | (RecordKey::Settling, Self::Settling)
                | (RecordKey::Directory(_), Self::Directory(_))
                | (RecordKey::Policy(_), Self::Policy(_))
                | (RecordKey::Definition(_), Self::Definition(_))
                | (RecordKey::Persistent(..), Self::Persistent(_))
                | (RecordKey::Overlay(..), Self::Overlay(_))
                | (RecordKey::Link(_), Self::Link(_))
                | (RecordKey::Import(_), Self::Import(_))
                | (RecordKey::Port(_), Self::Port(_))
                | (RecordKey::Bridge(_), Self::Bridge(_))
        )
    }

    /// The registration, if it is one.
    pub fn registration(&self) -> Option<&Registration> {
        match self {
            Self::Registration(registration) => Some(registration),
            Self::Settling
            | Self::Directory(_)
            | Self::Policy(_)
            | Self::Definition(_)
            | Self::Persistent(_)
            | Self::Overlay(_)
            | Self::Link(_)
            | Self::Import(_)
            | Self::Port(_)
            | Self::Bridge(_) => None,
        }
    }
}

/// An ephemeral registration, ordered among those of its key by stamp, take and feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Given once, by the member that took the write.
    pub stamp: Stamp,
    /// How often it was taken over under the same stamp.
    pub take: u32,
    /// What keeps it alive, or that it is gone.
    pub life: Life,
}

impl Registration {
    /// What is shown for it; a tombstone shows nothing.
    pub fn instance(&self) -> Option<&Arc<Instance>> {
        match &self.life {
            Life::Session(instance) | Life::Beat(instance) => Some(instance),
            Life::Tombstone => None,
        }
    }
}

/// What keeps a registration alive.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// A connection at the writer.
    Session(Arc<Instance>),
    /// Beats, at any member.
    Beat(Arc<Instance>),
    /// Nothing: it was deregistered, and hides older records of its key for a while.
    Tombstone,
}

/// One step of a feed: the key's new record, or none if it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What it is about.
    pub key: RecordKey,
    /// What holds from here on.
    pub record: Option<Record>,
}

/// An open feed as the directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Who writes it.
    pub member: MemberId,
    /// Where to follow it, `host:port`; blank in another region's eyes.
    pub address: EcoString,
    /// What the writer asked for it with; an `open` with a listed nonce changes nothing.
    pub nonce: u64,
    /// The seq a holder must have reached before it drops a closed feed; 0 means none.
    pub need: u64,
}

/// A service that someone defined, apart from its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Below this share of healthy instances all are answered as healthy, 0 to 1.
    pub protect_threshold: f64,
    /// Free pairs.
    pub metadata: Metadata,
}

/// An operator's edits, laid over an instance of any feed of the region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay {
    /// Replaces the weight.
    pub weight: Option<f64>,
    /// Replaces the enabled mark.
    pub enabled: Option<bool>,
    /// Replaces the metadata.
    pub metadata: Option<Metadata>,
}

impl Overlay {
    /// The instance as it is shown with these edits.
    pub fn over(&self, instance: &Instance) -> Instance {
        Instance {
            weight: self.weight.unwrap_or(instance.weight),
            healthy: instance.healthy,
            enabled: self.enabled.unwrap_or(instance.enabled),
            metadata: self.metadata.as_ref().map_or_else(
                || instance.metadata.clone(),
                |edited| edited.with(OWNER, instance.metadata.value(OWNER)),
            ),
        }
    }
}
