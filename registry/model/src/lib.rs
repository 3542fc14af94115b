//! The nouns of Landbridge and their rules.
//!
//! Invariant: nothing here does I/O, looks at a clock or knows a byte layout; a value that exists is valid.

pub mod feed;
pub mod import;
pub mod instance;
pub mod link;
pub mod mutant;
pub mod name;
pub mod place;
pub mod policy;
pub mod record;

pub use feed::{Era, FeedId, Heartbeat, Position, Stamp, View};
pub use import::{GATEWAYS, ImportPolicy, Showing};
pub use instance::{Address, Instance, InstanceKey, Metadata, OWNER};
pub use link::{Hold, LinkOrder};
pub use mutant::{Mutant, planted};
pub use name::{Cluster, Group, InvalidName, Namespace, ServiceKey, ServiceName};
pub use place::{MemberId, Moment, Region, Zone};
pub use policy::{ExportPolicy, KeyGlob};
pub use record::{Change, Definition, DirectoryEntry, Life, Overlay, Record, RecordKey, Registration};
