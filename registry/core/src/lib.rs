//! What a registry member decides: whom it believes, what it writes, when a feed is over, and what a service looks like.
//!
//! Invariant: nothing here looks at a clock, a socket, a disk or chance; the same inputs give the same effects.
//! Invariant: silence deletes nothing but a lease; a writer's records leave only with the close of its feed.

pub mod input;
pub mod outcome;
pub mod settings;
pub mod state;

pub mod member;
pub mod probing;

pub mod board;
mod bridges;
mod claims;
mod closer;
mod forwards;
mod hold;
mod imports;
mod lease;
mod open;
mod ready;
mod reference;
pub mod selector;
mod services;
mod stamps;
mod tombs;
pub mod view;

pub use board::{BeatBoard, BeatSlot};
pub use input::{ConnectionId, Effect, Input, InstanceRef, Leading, Phase, Published, Ticket};
pub use member::{Counts, Member};
pub use outcome::{FORESEEN_NAMED_MAX, Foreseen, ForeseenRow, Kind, Outcome, Refusal, Token};
pub use selector::{Labels, SELECTOR, Selector};
pub use settings::{Limits, Settings, Visibility};
pub use state::{Command, NOTE_BYTES_MAX, NOTE_NAME_BYTES_MAX, NOTES_MAX, RaftState, Reply};
pub use view::{Filter, Host, ORIGIN, Selection, ServiceView, VIA};
