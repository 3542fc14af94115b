//! The verbs about mass lapses that are held back.

use clap::Subcommand;

/// What is done about removals that were too many at once to be believed. Each member holds its own: ask the one that shows them.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum HoldsVerb {
    /// List what is held back, by region: silent leases of the own one, instances that another one shows no more
    List,

    /// Let go what is held of a region: it vanishes at once
    Release {
        /// The region.
        region: String,
    },
}
