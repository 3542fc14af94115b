//! The other members of the region: where each is, how it is, and the calls of the Raft group to it.
//!
//! Invariant: a member is known by its number in its certificate; where it is found may change at any time.

mod call;
mod dns;
mod door;
mod hail;
mod list;
mod watch;

pub use call::{Calls, Connect, Io, over_tcp};
pub(crate) use door::serve;
pub use door::{Door, RaftAnswers};
pub(crate) use hail::{Hail, Hails, Health, hail};
pub use list::{Addresses, Place};
pub(crate) use list::{FEEDS_ABOVE, MEMBERS_MAX, RAFT_BELOW, parse, parse_name};
pub(crate) use {
    dns::keep_found,
    watch::{keep_read, targets},
};
