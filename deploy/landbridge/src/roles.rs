//! Runs a role: reads its configuration, starts to log, and ends when it is told to.
//!
//! Invariant: with a wrong configuration nothing is started, not even a log.

use std::io::IsTerminal;
use std::time::Duration;

use landbridge_registry::Source;
use landbridge_runtime::config::{Layers, environment};
use landbridge_runtime::log::{self, LogConfig};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::telemetry::{self, BuildInfo};

use crate::arguments::{Output, RegistryWish, RestoreWish, Role, RoleWish, VARIABLES, ValidateWish};
use crate::ending::{Ending, Trouble};
use crate::output::{self, Shape};

/// Tasks that are left when the role has ended get this long; requests in flight have their own, shorter bound.
const LEFT_TASKS_MS: u64 = 10_000;

/// Blocking work that is left even then gets this long.
const LEFT_THREADS_MS: u64 = 1_000;

/// The variable that says how log lines look.
const LOG_FORMAT: &str = "LANDBRIDGE_LOG__FORMAT";

/// A region that was started anew.
const RESTORED: Shape = Shape { columns: &["region", "member", "era", "records"], name: "region" };

/// Runs a member of a registry.
pub(crate) fn registry(wish: &RegistryWish) -> Result<(), Trouble> {
    let environment = environment(&VARIABLES);
    let mut sets = standalone(wish);
    if wish.standalone
        && std::io::stderr().is_terminal()
        && !environment.iter().any(|(name, _)| name == LOG_FORMAT)
    {
        sets.push("log.format=text".to_owned());
    }
    sets.extend(wish.sets.iter().cloned());
    let file = wish.config.as_deref();
    let layers = Layers { defaults: "", file, environment: &environment, sets: &sets };
    let config = landbridge_registry::Config::read(&layers).map_err(wrong_config)?;
    let log = config.log.clone();
    start("registry", &log, async |shutdown| {
        let metrics = telemetry::install(BuildInfo { version: env!("CARGO_PKG_VERSION"), role: "registry" })?;
        metrics.keep_up(&shutdown);
        landbridge_registry::run(config, metrics, shutdown).await.map_err(|failure| failure.to_string())
    })
}

/// What `--standalone` and its companions set.
fn standalone(wish: &RegistryWish) -> Vec<String> {
    let data = wish.data.iter().map(|dir| format!("data_dir={}", dir.display()));
    let listen = wish.listen.iter().flat_map(|address| {
        [format!("listen.host={}", address.ip()), format!("listen.http_port={}", address.port())]
    });
    data.chain(listen).collect()
}

/// Starts a region anew at one member.
pub(crate) fn restore(wish: &RestoreWish, output: Output) -> Result<(), Trouble> {
    let environment = environment(&VARIABLES);
    let file = wish.config.as_deref();
    let layers = Layers { defaults: "", file, environment: &environment, sets: &wish.sets };
    let config = landbridge_registry::Config::read(&layers).map_err(wrong_config)?;
    let (region, member) = (config.region.clone(), config.member);
    if wish.confirm.as_deref() != Some(region.as_str()) {
        let sentence = format!(
            "this starts region {region} anew at member {member}, under a new era; what other members hold counts no more: \
             stop them all, and confirm it with --confirm {region}"
        );
        return Err(Trouble::new(Ending::Refused, sentence));
    }
    let source = wish.file.clone().map_or(Source::OwnDisk, Source::Backup);
    let restored = landbridge_registry::restore(&config, &source);
    let restored = restored.map_err(|failure| Trouble::failed(failure.to_string()))?;
    eprintln!(
        "start member {member}; the others join when they are started, each with an empty or an older disk"
    );
    let said = serde_json::json!({
        "region": region.as_str(), "member": member.0, "era": restored.era.0, "records": restored.records,
    });
    output::print(&said, RESTORED, output)
}

/// Runs a bridge.
pub(crate) fn bridge(wish: &RoleWish) -> Result<(), Trouble> {
    let config = landbridge_bridge::Config::load(Some(&wish.config), &environment(&VARIABLES), &wish.sets);
    let config = config.map_err(wrong_config)?;
    let log = config.log.clone();
    start("bridge", &log, async |shutdown| landbridge_bridge::run(config, shutdown).await)
}

/// Runs a gateway.
pub(crate) fn gateway(wish: &RoleWish) -> Result<(), Trouble> {
    let config = landbridge_gateway::Config::load(Some(&wish.config), &environment(&VARIABLES), &wish.sets);
    let config = config.map_err(wrong_config)?;
    let log = config.log.clone();
    start("gateway", &log, async |shutdown| landbridge_gateway::run(config, shutdown).await)
}

/// Starts what every role needs, and runs the role to its end.
fn start(
    role: &'static str,
    log: &LogConfig,
    run: impl AsyncFnOnce(Shutdown) -> Result<(), String>,
) -> Result<(), Trouble> {
    log::init(log).map_err(Trouble::failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::failed(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(|error| format!("signals cannot be heard: {error}"))?;
        tracing::info!(event = "starting", role, version = env!("CARGO_PKG_VERSION"));
        let ended = run(shutdown.clone()).await;
        if let Err(left) = shutdown.finish(LEFT_TASKS_MS).await {
            tracing::warn!(event = "tasks_left", tasks = left.tasks, "not everything ended in time");
        }
        ended
    });
    runtime.shutdown_timeout(Duration::from_millis(LEFT_THREADS_MS));
    match ended {
        Ok(()) => {
            tracing::info!(event = "ended", role, "ended in order");
            Ok(())
        }
        Err(why) => {
            tracing::error!(event = "failed", role, why, "ended by a failure");
            Err(Trouble { ending: Ending::Failed, sentences: Vec::new() })
        }
    }
}

/// Reads a file as a role would, without starting anything.
pub(crate) fn validate(wish: &ValidateWish, output: Output) -> Result<(), Trouble> {
    let environment = environment(&VARIABLES);
    let layers = Layers { defaults: "", file: Some(&wish.file), environment: &environment, sets: &wish.sets };
    let role = match wish.role {
        Some(role) => read(role, &layers).map(|()| role).map_err(wrong_config)?,
        None => guess(&layers)?,
    };
    let found = serde_json::json!({ "role": role.name(), "file": wish.file.display().to_string() });
    output::print(&found, Shape { columns: &["role", "file"], name: "role" }, output)
}

/// The role whose configuration the file is; of wrong ones, the role that knows most of its keys speaks.
fn guess(layers: &Layers<'_>) -> Result<Role, Trouble> {
    let mut wrong = Vec::new();
    for role in Role::ALL {
        match read(role, layers) {
            Ok(()) => return Ok(role),
            Err(mistakes) => wrong.push((role, mistakes)),
        }
    }
    let strange =
        |mistakes: &[String]| mistakes.iter().filter(|mistake| mistake.contains("` is unknown")).count();
    let nearest = wrong.into_iter().min_by_key(|(_, mistakes)| (strange(mistakes), mistakes.len()));
    let (role, mut mistakes) = nearest.expect("there are roles, and each found a mistake");
    mistakes.push(format!("read as the configuration of a {}; name another role with --role", role.name()));
    Err(wrong_config(mistakes))
}

fn read(role: Role, layers: &Layers<'_>) -> Result<(), Vec<String>> {
    let Layers { file, environment, sets, .. } = *layers;
    match role {
        Role::Registry => landbridge_registry::Config::read(layers).map(|_| ()),
        Role::Bridge => landbridge_bridge::Config::load(file, environment, sets).map(|_| ()),
        Role::Gateway => landbridge_gateway::Config::load(file, environment, sets).map(|_| ()),
    }
}

fn wrong_config(sentences: Vec<String>) -> Trouble {
    Trouble { ending: Ending::WrongConfig, sentences }
}
