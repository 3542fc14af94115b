//! What a bridge decides beyond holding copies: whom to dial, how each link is doing, and what a foreign registry shows.
//!
//! Invariant: nothing here removes a record or a copy; a silent or stalled link is only told.

pub mod guest;
mod links;
mod plan;

pub use links::{Effect, Input, Link, Links};
pub use plan::{Dial, Plan};
