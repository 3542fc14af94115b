//! A registry's member as a process of its own: the program of a test or a bench, started again.

use std::process::ExitCode;

use landbridge_registry::Config;
use landbridge_runtime::{
    config::Layers,
    log,
    shutdown::Shutdown,
    telemetry::{BuildInfo, install},
};

/// Works at something on two threads until it is over, and says why if that was not in order.
pub fn serve(role: &str, work: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{role}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Serves as a member with these keys until it is told to end.
pub fn registry(sets: &[String]) -> ExitCode {
    serve("registry", member(&Layers { defaults: "", file: None, environment: &[], sets }))
}

/// A member, from its configuration to its end.
pub async fn member(layers: &Layers<'_>) -> Result<(), String> {
    let config = Config::read(layers).map_err(|wrong| wrong.join("\n"))?;
    log::init(&config.log)?;
    let page = install(BuildInfo { version: env!("CARGO_PKG_VERSION"), role: "registry" })?;
    let shutdown = Shutdown::on_signals().map_err(|error| error.to_string())?;
    let member = tokio::spawn(landbridge_registry::run(config, page, shutdown));
    member.await.map_err(|died| died.to_string())?.map_err(|failure| failure.to_string())
}
