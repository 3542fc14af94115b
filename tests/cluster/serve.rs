//! One member as a process of its own: this program again.

use std::process::ExitCode;

use landbridge_registry::Config;
use landbridge_runtime::{
    config::Layers,
    log,
    shutdown::Shutdown,
    telemetry::{BuildInfo, install},
};

/// Serves as a member with these keys until it is told to end.
pub fn serve(sets: &[String]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    match runtime.block_on(member(sets)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn member(sets: &[String]) -> Result<(), String> {
    let layers = Layers { defaults: "", file: None, environment: &[], sets };
    let config = Config::read(&layers).map_err(|wrong| wrong.join("\n"))?;
    log::init(&config.log)?;
    let page = install(BuildInfo { version: env!("CARGO_PKG_VERSION"), role: "registry" })?;
    let shutdown = Shutdown::on_signals().map_err(|error| error.to_string())?;
    let member = tokio::spawn(landbridge_registry::run(config, page, shutdown));
    member.await.map_err(|died| died.to_string())?.map_err(|failure| failure.to_string())
}
