//! The processes that are measured: members and bridges, each this program again with a page of its own.

use std::{path::Path, process::ExitCode};

use landbridge_runtime::{config::Layers, shutdown::Shutdown};
use landbridge_tests::serve;

/// Serves as `registry PAGE` or `bridge PAGE` until killed.
pub fn serve(role: &str, arguments: &[String]) -> ExitCode {
    let page = arguments.first().map(Path::new);
    serve::serve(role, async {
        let page = page.ok_or("a server wants its page")?;
        match role {
            "registry" => {
                let layers = Layers { defaults: "", file: Some(page), environment: &[], sets: &[] };
                serve::member(&layers).await
            }
            "bridge" => bridge(page).await,
            _ => Err("there is no such server".to_owned()),
        }
    })
}

async fn bridge(page: &Path) -> Result<(), String> {
    let config = landbridge_bridge::Config::load(Some(page), &[], &[]).map_err(|wrong| wrong.join("\n"))?;
    let shutdown = Shutdown::on_signals().map_err(|error| error.to_string())?;
    let bridge = tokio::spawn(landbridge_bridge::run(config, shutdown));
    bridge.await.map_err(|died| died.to_string())?
}
