//! How a question to a member ends, and why it may be turned away.

use std::fmt;

use landbridge_model::{FeedId, ServiceKey};

/// Where a write stands: a reader whose copy of the feed has reached the seq sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The writer's feed.
    pub feed: FeedId,
    /// The seq.
    pub seq: u64,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is written, or nothing was to be written.
    Written(Token),
    /// The beat counts.
    Renewed {
        /// How often the client is to beat.
        interval_ms: u32,
    },
    /// The beat is for something unknown: the client registers again (Nacos 20404).
    Unknown,
    /// Per forwarded beat whether this member renewed it.
    Verdicts(Vec<bool>),
    /// What a policy would change.
    Foreseen(Foreseen),
}

/// The most services that a [`Foreseen`] names.
pub const FORESEEN_NAMED_MAX: usize = 1_000;

/// What a policy would change, service by service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// How many services show before.
    pub before: usize,
    /// How many services would show.
    pub after: usize,
    /// The services that would look different, in key order, at most [`FORESEEN_NAMED_MAX`].
    pub rows: Vec<ForeseenRow>,
    /// How many more there are.
    pub unnamed: usize,
}

/// One service that would look different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeseenRow {
    /// Which, by its name where it shows.
    pub service: ServiceKey,
    /// Its instances before; none if it does not show.
    pub before: Option<usize>,
    /// Its instances after, likewise. The same number before and after: their weights change.
    pub after: Option<usize>,
}

/// What the instances of a service are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A client vouches for them.
    Ephemeral,
    /// The registry does.
    Persistent,
}

/// Why a question was turned away, named by who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The own feed is not open: another member, or a moment later.
    Starting,
    /// This member leaves: another member.
    Draining,
    /// The connection is not, or no longer, known: connect again.
    UnknownConnection,
    /// The caller sent something that is not valid, in Nacos's words.
    Malformed(&'static str),
    /// The service holds instances of the other kind.
    TypeConflict {
        /// Which service.
        service: ServiceKey,
        /// What it is.
        service_is: Kind,
        /// Whether a batch was tried.
        batch: bool,
    },
    /// A bound is reached; an operator may raise it.
    Full {
        /// Which bound.
        bound: &'static str,
        /// Its value.
        max: usize,
    },
    /// The command is not one that clients may give.
    Reserved,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("this member is starting"),
            Self::Draining => f.write_str("this member is leaving"),
            Self::UnknownConnection => f.write_str("the connection is not registered"),
            Self::Malformed(why) => f.write_str(why),
            // The texts of Nacos 2.5 `EphemeralClientOperationServiceImpl` and `PersistentClientOperationServiceImpl`.
            Self::TypeConflict { service, service_is: Kind::Persistent, batch } => {
                let verb = if *batch { "batch register" } else { "register" };
                let name = service.grouped();
                write!(f, "Current service {name} is persistent service, can't {verb} ephemeral instance.")
            }
            Self::TypeConflict { service, service_is: Kind::Ephemeral, .. } => {
                let name = service.grouped();
                write!(f, "Current service {name} is ephemeral service, can't register persistent instance.")
            }
            Self::Full { bound, max } => write!(f, "the limit {bound} = {max} is reached"),
            Self::Reserved => f.write_str("this command is not for clients"),
        }
    }
}

impl std::error::Error for Refusal {}
