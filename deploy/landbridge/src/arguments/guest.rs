//! The verbs about a foreign registry that a bridge hosts.

use clap::{Args, Subcommand};

/// What is done about a guest. Ask the bridge that hosts it.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum GuestVerb {
    /// Show how it stands, and what is held back
    Status,

    /// List the tasks: what crosses, which way
    Tasks,

    /// Let services cross from here on; a task of the same name is replaced
    Add(TaskWish),

    /// Leave everything of tasks as it is: nothing follows, nothing is deleted
    Pause {
        /// The tasks.
        #[arg(required = true)]
        tasks: Vec<String>,
    },

    /// Go on with tasks that were paused
    Resume {
        /// The tasks.
        #[arg(required = true)]
        tasks: Vec<String>,
    },

    /// End tasks: what only they let cross is taken away on the other side
    Delete {
        /// The tasks.
        #[arg(required = true)]
        tasks: Vec<String>,
    },

    /// Let go the instances that the guest has no more, and whose loss looks like a fault
    Release,
}

/// A task.
#[derive(Clone, Debug, Args)]
pub(crate) struct TaskWish {
    /// Its name.
    pub(crate) name: String,

    /// namespace/group/service; the service may hold stars, and ALL means all of the group.
    pub(crate) services: String,

    /// The region whose services are registered in the guest; without it the guest's services come in.
    #[arg(long, value_name = "REGION")]
    pub(crate) from: Option<String>,
}
