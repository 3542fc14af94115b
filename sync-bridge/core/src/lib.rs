//! What a bridge decides beyond holding copies: whom to dial, and how each link is doing.
//!
//! Invariant: nothing here removes a record or a copy; a silent or stalled link is only told.

mod links;
mod plan;

pub use links::{Effect, Input, Link, Links};
pub use plan::{Dial, Plan};
