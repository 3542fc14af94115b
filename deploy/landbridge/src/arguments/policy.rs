//! The verbs about policies.

use clap::{Args, Subcommand};

/// What is done with policies. They stand in Raft; a dry run says which services would change and changes nothing.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// List export policies: what each region may see of this one
    List,

    /// Let a region see services of this one; nothing is exported without
    Export {
        /// The region that may see them.
        peer: String,

        /// Services it may see, as namespace/group/service with `*`; may be given several times.
        #[arg(long, required = true, value_name = "GLOB")]
        allow: Vec<String>,

        /// Services it may not see all the same.
        #[arg(long, value_name = "GLOB")]
        deny: Vec<String>,

        /// Say what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },

    /// Take an export policy back: the region sees nothing any more
    Remove {
        /// The region.
        peer: String,

        /// Say what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },

    /// List import policies: what of other regions shows here, where it is not everything
    Imports,

    /// Say what of a region shows here, and how; without a policy everything does that it exports
    Import(ImportWish),

    /// Take an import policy back: everything shows that the region exports
    ImportAll {
        /// The region.
        region: String,

        /// Say what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// An import policy.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImportWish {
    /// The region whose services show or not.
    pub(crate) region: String,

    /// Services that show, by the names that they have there, as namespace/group/service with `*`.
    #[arg(long, value_name = "GLOB", default_value = "*/*/*")]
    pub(crate) allow: Vec<String>,

    /// Services that do not show all the same.
    #[arg(long, value_name = "GLOB")]
    pub(crate) deny: Vec<String>,

    /// A namespace that has another name here; may be given several times, like all renames.
    #[arg(long, value_name = "THERE=HERE", value_parser = pair)]
    pub(crate) rename_namespace: Vec<(String, String)>,

    /// A group that has another name here.
    #[arg(long, value_name = "THERE=HERE", value_parser = pair)]
    pub(crate) rename_group: Vec<(String, String)>,

    /// What its weights are multiplied by.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) weight_scale: f64,

    /// After so many seconds of silence nothing of it shows until it is heard again; nothing is deleted.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) max_stale: Option<u64>,

    /// How plain SDKs see it, in place of what the members are set to; gateways see all that shows.
    #[arg(long, value_name = "WAY", value_parser = ["failover", "merge", "hidden"])]
    pub(crate) visibility: Option<String>,

    /// Say what would change, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (there, here) = text.split_once('=').ok_or_else(|| "it must be THERE=HERE".to_owned())?;
    Ok((there.to_owned(), here.to_owned()))
}
