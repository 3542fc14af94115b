//! The verbs about a Raft group.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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

/// From what a region is started anew, and as which member.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["file", "from_disk"]))]
pub(crate) struct RestoreWish {
    /// A backup.
    pub(crate) file: Option<PathBuf>,

    /// What this member's own disk holds: for the last one that is left of a majority that is lost for good.
    #[arg(long)]
    pub(crate) from_disk: bool,

    /// The member's configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Sets one key, over file and environment; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,

    /// The region's name: every other member must be stopped, and what they hold counts no more.
    #[arg(long, value_name = "REGION")]
    pub(crate) confirm: Option<String>,
}
