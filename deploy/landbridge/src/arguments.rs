//! The command line as people write it.

mod guest;
mod holds;
mod policy;
mod raft;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::layout::REGIONS_MAX;
pub(crate) use guest::GuestVerb;
pub(crate) use holds::HoldsVerb;
pub(crate) use policy::{ImportWish, PolicyVerb};
pub(crate) use raft::{RaftVerb, RestoreWish};

/// Variables that mean something to the command line, not to the configuration.
pub(crate) const VARIABLES: [&str; 3] = ["LANDBRIDGE_ADDRESS", "LANDBRIDGE_TOKEN", "LANDBRIDGE_TOKEN_FILE"];

/// Registries of several regions as one service world: registry, bridge and gateway in one program.
#[derive(Debug, Parser)]
#[command(name = "landbridge", version, about, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// How data is written to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) target: Target,

    /// End as soon as standard input is closed: nothing that the demo starts may outlive it.
    #[arg(long, hide = true)]
    pub(crate) end_with_parent: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people.
    Table,
    /// JSON as the process gave it.
    Json,
    /// Only names, one a line.
    Name,
}

/// Which process is asked, and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Asking a running process")]
pub(crate) struct Target {
    /// Admin address of a process; without it, of the role that knows on this machine: a registry (port 8848), for
    /// `links`, `link resync` and `link diff` a bridge (8948), for `explain` and `route` a gateway (8949).
    #[arg(long, global = true, env = "LANDBRIDGE_ADDRESS", value_name = "HOST:PORT")]
    pub(crate) at: Option<String>,

    /// The admin token; better in a file, where the process list does not show it.
    #[arg(long, global = true, env = "LANDBRIDGE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    /// File that holds the admin token.
    #[arg(long, global = true, env = "LANDBRIDGE_TOKEN_FILE", conflicts_with = "token", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Give up on an answer after this.
    #[arg(long, global = true, default_value_t = 5_000, value_name = "MS")]
    pub(crate) timeout_ms: u64,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a member of a region's registry
    Registry(RegistryWish),

    /// Run a bridge between regions
    Bridge(RoleWish),

    /// Run a gateway for calls
    Gateway(RoleWish),

    /// Read configuration files without starting anything
    #[command(subcommand)]
    Config(ConfigVerb),

    /// Make a CA and certificates for every role, to try with
    Certs(CertsWish),

    /// Run a whole federation on this machine, break it, and tell what happens
    Demo(DemoWish),

    /// Offer and register sample instances
    #[command(hide = true)]
    Sample(SampleWish),

    /// Start a region anew at one member that does not run: from a backup, or from its own disk
    Restore(RestoreWish),

    #[command(flatten)]
    Admin(AdminVerb),

    /// Print a completion script for a shell
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },

    /// Print the version
    Version,
}

/// How a role is configured.
#[derive(Debug, Args)]
pub(crate) struct RoleWish {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Sets one key, over file and environment; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

/// How a member is started.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).multiple(true).args(["config", "standalone"]))]
pub(crate) struct RegistryWish {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Sets one key, over file and environment; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,

    /// One member alone, from the defaults: no file needed.
    #[arg(long)]
    pub(crate) standalone: bool,

    /// Where everything durable lies.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Address of the HTTP port; gRPC is 1000 above it.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

/// A role of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// A member of a region's registry.
    Registry,
    /// A bridge between regions.
    Bridge,
    /// A gateway for calls.
    Gateway,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 3] = [Self::Registry, Self::Bridge, Self::Gateway];

    /// The role in words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Bridge => "bridge",
            Self::Gateway => "gateway",
        }
    }
}

/// What is done with configuration files.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Tell every mistake of a file; exits with 64 if there are any
    Validate(ValidateWish),
}

/// Which file is read, and as what.
#[derive(Debug, Args)]
pub(crate) struct ValidateWish {
    /// The file.
    pub(crate) file: PathBuf,

    /// The role it is for; found out when not given.
    #[arg(long, value_enum)]
    pub(crate) role: Option<Role>,

    /// Sets one key, as when starting the role.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

/// Which certificates are made.
#[derive(Debug, Args)]
pub(crate) struct CertsWish {
    /// Where they go: ca.pem, ca.key and REGION/ROLE-ID.pem and .key; a CA found there is used again.
    pub(crate) dir: PathBuf,

    /// All regions that look like one service world.
    #[arg(long, default_value = "demo")]
    pub(crate) deployment: String,

    /// A region; may be given several times.
    #[arg(long = "region", default_values_t = ["east".to_owned(), "west".to_owned()], value_name = "REGION")]
    pub(crate) regions: Vec<String>,

    /// How many processes of each role a region has; their ids count from 1.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) each: u16,

    /// A DNS name or IP address to put into every certificate; peers of ours do not need any.
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Days until they expire.
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub(crate) days: u16,
}

/// What the demo shows.
#[derive(Debug, Args)]
pub(crate) struct DemoWish {
    /// How many regions there are.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=REGIONS_MAX as i64), value_name = "N")]
    pub(crate) regions: u8,

    /// Nobody watches: one line a check, the counts at the end, and 1 as exit status if a check failed.
    #[arg(long)]
    pub(crate) check: bool,

    /// Port of the first registry; the others follow. 0 looks for free ones.
    #[arg(long, default_value_t = 8848, value_parser = clap::value_parser!(u16).range(0..=60_000), value_name = "PORT")]
    pub(crate) base_port: u16,

    /// How many registrations are timed on their way to the other regions.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000), value_name = "N")]
    pub(crate) registrations: u16,

    /// Keep configurations, data and logs here; an empty folder, or one to be made.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// What sample instances are told.
#[derive(Debug, Args)]
pub(crate) struct SampleWish {
    /// The region they say they are in.
    #[arg(long)]
    pub(crate) region: String,

    /// The zone they say they are in.
    #[arg(long)]
    pub(crate) zone: String,

    /// The registry's HTTP address.
    #[arg(long)]
    pub(crate) registry: SocketAddr,

    /// Services; every instance offers all.
    #[arg(long, value_delimiter = ',')]
    pub(crate) services: Vec<String>,

    /// The first instance's port; the others follow.
    #[arg(long)]
    pub(crate) port: u16,

    /// How many instances.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: u16,
}

/// What a running process is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminVerb {
    /// Ask whether a process is ready, check by check; exits with 1 if not
    Check,

    /// Show what a process is and how it stands
    Status,

    /// List the regions a process knows, with the age and lag of each
    Regions,

    /// List the members of the region: where and how each is, its part in Raft, its lag and the room on its disk
    Members,

    /// List the links of a bridge
    Links,

    /// List services
    Services {
        /// Only this namespace.
        #[arg(short, long, default_value = "")]
        namespace: String,
    },

    /// List the instances of a service, those of other regions included
    Instances(ServiceName),

    /// Ask a gateway where a call would go, and why
    Explain {
        #[command(flatten)]
        service: ServiceName,

        /// Where the call comes from: a region, or region/zone.
        #[arg(long, value_name = "REGION[/ZONE]")]
        from: Option<String>,
    },

    /// Ask a gateway which of its routes takes a call, where it would go, and why
    Route(RoutedCall),

    /// Register an instance and keep it alive until interrupted
    Register(InstanceName),

    /// Take an instance away
    Deregister(InstanceName),

    /// Say what is exported to which region, and what of each shows here
    #[command(subcommand)]
    Policy(PolicyVerb),

    /// Pause, freeze, evict, rebuild or compare what is exchanged with another region
    #[command(subcommand)]
    Link(LinkVerb),

    /// Show the foreign registry that a bridge hosts, and change what crosses
    #[command(subcommand)]
    Guest(GuestVerb),

    /// Show and change who belongs to a region's Raft group
    #[command(subcommand)]
    Raft(RaftVerb),

    /// Show and let go mass lapses that a member holds back
    #[command(subcommand)]
    Holds(HoldsVerb),

    /// Write everything the region has decided into a file, while it goes on deciding; any member may be asked
    Backup {
        /// The file; it must not be there.
        file: PathBuf,

        /// What the member holds will do, though it may lag, or no majority may answer.
        #[arg(long)]
        stale: bool,
    },

    /// Show what operators did to a process, oldest first
    Audit,

    /// Show what happens, one line per event, until interrupted
    Events {
        /// Stay and show what comes; events are not stored, so this is the only way.
        #[arg(short, long)]
        follow: bool,
    },
}

/// A service by its three names.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServiceName {
    /// Name of the service.
    pub(crate) service: String,

    /// Group of the service.
    #[arg(short, long, default_value = "DEFAULT_GROUP")]
    pub(crate) group: String,

    /// Namespace of the service.
    #[arg(short, long, default_value = "public")]
    pub(crate) namespace: String,
}

/// A call as a gateway would get it.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoutedCall {
    /// Host and path of the call, as in `shop.example/api/x` or `http://shop.example/api/x`.
    pub(crate) target: String,

    /// Its method.
    #[arg(short = 'X', long, default_value = "GET")]
    pub(crate) method: String,

    /// A header of it, `name: value`; may be given again.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,

    /// The listener it comes by; the first, if not given.
    #[arg(long)]
    pub(crate) listener: Option<String>,

    /// Where it comes from: a region, or region/zone.
    #[arg(long, value_name = "REGION[/ZONE]")]
    pub(crate) from: Option<String>,
}

/// An instance of a service.
#[derive(Clone, Debug, Args)]
pub(crate) struct InstanceName {
    #[command(flatten)]
    pub(crate) service: ServiceName,

    /// Address of the instance.
    #[arg(value_name = "IP:PORT")]
    pub(crate) address: SocketAddr,

    /// Nacos cluster of the instance.
    #[arg(long, default_value = "DEFAULT")]
    pub(crate) cluster: String,

    /// Weight of the instance.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) weight: f64,

    /// Metadata; may be given several times. The key `zone` names the zone.
    #[arg(short, long = "metadata", value_name = "KEY=VALUE")]
    pub(crate) metadata: Vec<String>,
}

/// What is done about the link to a region. Orders stand in Raft: every member, bridge and gateway of the region obeys them
/// until they are taken back; they are asked of a registry (8848). `resync` and `diff` are asked of one bridge (8948).
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LinkVerb {
    /// List the orders that stand
    Orders,

    /// Exchange nothing with a region, in neither direction; what is held of it stays and turns stale
    Pause {
        /// The region.
        region: String,
    },

    /// Take nothing in that a region says; what is held of it stays as it is and turns stale
    Freeze {
        /// The region.
        region: String,
    },

    /// Delete all that is held of a region, and take nothing in that it says; the only verb that deletes
    Evict {
        /// The region.
        region: String,

        /// Say what would be deleted, and delete nothing.
        #[arg(long)]
        dry_run: bool,

        /// The region's name once more.
        #[arg(long, value_name = "REGION", conflicts_with = "dry_run")]
        confirm: Option<String>,
    },

    /// Take an order back: catch up with the region, and exchange as the policies say
    Resume {
        /// The region.
        region: String,
    },

    /// Ask a bridge to rebuild its copies of a region; they are served meanwhile
    Resync {
        /// The region.
        region: String,
    },

    /// Ask a bridge what differs between what a region says and what is held of it; changes nothing
    Diff {
        /// The region.
        region: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_without_contradiction() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_target_may_stand_after_the_verb() {
        let arguments = Arguments::parse_from(["landbridge", "status", "--at", "127.0.0.1:1", "-o", "json"]);

        assert_eq!(arguments.target.at.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(arguments.output, Output::Json);
    }
}
