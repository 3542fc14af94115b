//! Follows the region's registry: each table it publishes becomes news for the writer.
//!
//! The follower serves from its keepsake until a registry answers, and whenever none does.

use std::sync::Arc;

use landbridge_client::{Carrying, FollowConfig, Follower, Holding, Table};
use landbridge_model::Region;
use landbridge_runtime::{shutdown::Shutdown, tls::Identity};
use tokio::sync::watch;

use crate::config::Registry;

/// A table is taken at most once in this time: a burst of changes becomes one view.
const PUBLISH_MS: u64 = 20;

/// The keepsake is written at most once in this time.
const KEEPSAKE_MS: u64 = 1_000;

/// Starts to follow. An error is a wrong certificate, or one that cannot be read.
pub(crate) async fn follow(
    registry: &Registry,
    region: &Region,
    shutdown: &Shutdown,
) -> Result<watch::Receiver<Arc<Table>>, String> {
    let identity = Identity::load(registry.tls.clone())?;
    identity.keep_fresh(shutdown);
    let config = FollowConfig {
        region: region.clone(),
        registries: registry.addresses.clone(),
        identity,
        keepsake: registry.keepsake.clone(),
        publish_ms: PUBLISH_MS,
        keepsake_ms: KEEPSAKE_MS,
        holding: Holding::STANDARD,
        carrying: Carrying::STANDARD,
    };
    let follower = Follower::start(config, shutdown).await?;
    let (tables, news) = watch::channel(follower.table());
    let mut changes = follower.changed();
    let ending = shutdown.clone();
    shutdown.spawn(async move {
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() || tables.send(follower.table()).is_err() {
                        return;
                    }
                }
                () = ending.wait() => return,
            }
        }
    });
    Ok(news)
}
