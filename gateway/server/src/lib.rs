//! The gateway as a process: one tower stack per core, connection pools, and a table that follows the registry.
//!
//! Invariant: cores share one immutable view and atomics; no call waits for another core, a lock or a queue.

pub mod config;
mod follow;
mod gateway;
mod prober;

mod view;
mod writer;

mod local;
mod ports;
mod presence;
mod proxy;
mod service_port;
mod worker;

mod admission;
mod connection;
mod crossing;
mod head;
mod seat;
mod tls;
mod watched;

mod toll;
mod tunnel;
mod upgrade;

mod layers;
mod stack;

mod answer;
mod dial;
mod fingerprint;
mod form;
mod limiter;
mod line;
mod neighbours;
mod payload;
mod pool;
mod refusal;
mod relay;

mod access;
mod admin;
mod metrics;
mod tally;

#[cfg(test)]
mod testing;

use std::sync::Arc;

use landbridge_client::Table;
use landbridge_runtime::{
    shutdown::Shutdown,
    telemetry::{self, BuildInfo},
};
use tokio::sync::watch;

pub use config::Config;
pub use gateway::{Gateway, Surroundings};
pub use writer::spec_of;

/// Runs a gateway until the process is told to end; an error is what keeps it from starting, or from ending in order.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), String> {
    let metrics = telemetry::install(BuildInfo { version: env!("CARGO_PKG_VERSION"), role: "gateway" })?;
    metrics.keep_up(&shutdown);
    // Without a registry nobody sends; the sender is kept so that this is not taken for an end.
    let (_nobody, silence) = watch::channel(Arc::<Table>::default());
    let tables = match &config.registry {
        Some(registry) => follow::follow(registry, &config.home.region, &shutdown).await?,
        None => silence,
    };
    let surroundings = Surroundings { tables, shutdown: shutdown.clone(), metrics };
    let gateway =
        Gateway::start(config.clone(), surroundings).await.map_err(|mistakes| mistakes.join("; "))?;
    tracing::info!(event = "gateway_started", threads = config.threads, region = %config.home.region);
    let mut reloads = shutdown.reloads();
    loop {
        tokio::select! {
            () = shutdown.wait() => break,
            Ok(()) = reloads.changed() => reload(&gateway, &config).await,
        }
    }
    gateway.ended().await.map_err(|left| left.join("; "))
}

/// Reads the config again and takes what can be taken while calls run; says what cannot.
async fn reload(gateway: &Gateway, running: &Config) {
    match running.again() {
        Ok(fresh) => {
            let later = running.needs_restart(&fresh);
            if !later.is_empty() {
                tracing::warn!(event = "reload_partial", keys = ?later, "these change with a restart only");
            }
            match gateway.reload(fresh).await {
                Ok(()) => tracing::info!(event = "reloaded", "new calls are treated by the new settings"),
                Err(mistakes) => {
                    tracing::error!(event = "reload_refused", ?mistakes, "the running settings stay");
                }
            }
        }
        Err(mistakes) => {
            tracing::error!(event = "reload_refused", ?mistakes, "the running settings stay as they are");
        }
    }
}
