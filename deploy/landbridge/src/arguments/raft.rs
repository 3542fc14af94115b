//! The verbs about a Raft group.

use clap::Subcommand;

/// What is done about the members of a Raft group. Any member may be asked; the leader carries it out, and refuses what would
/// leave nobody to decide.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RaftVerb {
    /// Show the group; how far the others lag is known to its leader
    Status,

    /// Have a listed member follow without a vote
    Add {
        /// Its number.
        member: u16,
    },

    /// Give a member that follows and has caught up a vote
    Promote {
        /// Its number.
        member: u16,
    },

    /// Take a member out of the group
    Remove {
        /// Its number.
        member: u16,
    },

    /// Give a voter's place to a member that follows and has caught up, in one step
    Replace {
        /// The number of who leaves.
        old: u16,

        /// The number of who votes instead.
        new: u16,
    },

    /// Hand leadership to a voter
    Transfer {
        /// Its number.
        member: u16,
    },
}
