//! What a registry member decides: whom it believes, what it writes, when a feed is over, and what a service looks like.
//!
//! Invariant: nothing here looks at a clock, a socket, a disk or chance; the same inputs give the same effects.
//! Invariant: silence deletes nothing but a lease; a writer's records leave only with the close of its feed.

pub mod board;
pub mod input;
pub mod member;
pub mod outcome;
pub mod settings;
pub mod state;
pub mod view;

pub use board::{BeatBoard, BeatSlot};
pub use input::{ConnectionId, Effect, Input, InstanceRef, Leading, Phase, Published, Ticket};
pub use member::Member;
pub use outcome::{Kind, Outcome, Refusal, Token};
pub use settings::{Limits, Settings, Visibility};
pub use state::{Command, RaftState, Reply};
pub use view::{Filter, Host, Selection, ServiceView};
