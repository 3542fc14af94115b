//! The processes that are measured: members and bridges, each this program again with a page of its own.

use std::{path::Path, process::ExitCode};

use landbridge_runtime::{
    config::Layers,
    shutdown::Shutdown,
    telemetry::{BuildInfo, install},
};

/// Serves as `registry PAGE` or `bridge PAGE` until killed.
pub fn serve(role: &str, arguments: &[String]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let page = arguments.first().map(Path::new);
    let done = match (role, page) {
        ("registry", Some(page)) => runtime.block_on(registry(page)),
        ("bridge", Some(page)) => runtime.block_on(bridge(page)),
        (_, None) => Err("a server wants its page".to_owned()),
        (other, Some(_)) => Err(format!("no such server: {other}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{role}: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn registry(page: &Path) -> Result<(), String> {
    let layers = Layers { defaults: "", file: Some(page), environment: &[], sets: &[] };
    let config = landbridge_registry::Config::read(&layers).map_err(|wrong| wrong.join("\n"))?;
    let page = install(BuildInfo { version: env!("CARGO_PKG_VERSION"), role: "registry" })?;
    let shutdown = Shutdown::on_signals().map_err(|error| error.to_string())?;
    let member = tokio::spawn(landbridge_registry::run(config, page, shutdown));
    member.await.map_err(|died| died.to_string())?.map_err(|failure| failure.to_string())
}

async fn bridge(page: &Path) -> Result<(), String> {
    let config = landbridge_bridge::Config::load(Some(page), &[], &[]).map_err(|wrong| wrong.join("\n"))?;
    let shutdown = Shutdown::on_signals().map_err(|error| error.to_string())?;
    let bridge = tokio::spawn(landbridge_bridge::run(config, shutdown));
    bridge.await.map_err(|died| died.to_string())?
}
