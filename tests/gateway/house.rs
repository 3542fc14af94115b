//! A gateway that runs in this process on free ports.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Result, anyhow};
use landbridge_client::Table;
use landbridge_gateway::{Config, Gateway, Surroundings};
use landbridge_runtime::{
    shutdown::Shutdown,
    telemetry::{self, BuildInfo},
};
use tokio::sync::watch;

/// The gateway, and the registry's voice.
pub(crate) struct House {
    /// Where calls come in.
    pub(crate) address: SocketAddr,
    /// Where other gateways call, if they may.
    pub(crate) relay: Option<SocketAddr>,
    /// Where operators ask.
    pub(crate) admin: SocketAddr,
    /// Publishes tables as a registry's follower does.
    pub(crate) tables: watch::Sender<Arc<Table>>,
    shutdown: Shutdown,
    _gateway: Gateway,
}

impl House {
    /// Starts a gateway in region `east`, zone `a`; everything the page leaves out is as deployed.
    pub(crate) async fn open(page: &str) -> Result<Self> {
        Self::of_threads(1, page).await
    }

    /// The same with so many threads.
    pub(crate) async fn of_threads(threads: usize, page: &str) -> Result<Self> {
        let page = format!(
            "region = \"east\"\nzone = \"a\"\nthreads = {threads}\nadmin.listen = \"127.0.0.1:0\"\n{page}"
        );
        let config = Config::read(&page).map_err(|wrong| anyhow!(wrong.join("\n")))?;
        let (tables, news) = watch::channel(Arc::default());
        let shutdown = Shutdown::new();
        let metrics = telemetry::install(BuildInfo { version: "test", role: "gateway" });
        let metrics = metrics.map_err(|why| anyhow!(why))?;
        let surroundings = Surroundings { tables: news, shutdown: shutdown.clone(), metrics };
        let gateway =
            Gateway::start(config, surroundings).await.map_err(|wrong| anyhow!(wrong.join("\n")))?;
        let (address, relay, admin) = (gateway.addresses()[0], gateway.relay(), gateway.admin());
        Ok(Self { address, relay, admin, tables, shutdown, _gateway: gateway })
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// A page with one listener that sends everything for `web.test` to one static service of these endpoints.
pub(crate) fn page(endpoints: &[String], more: &str) -> String {
    format!(
        "{more}\n[[statics]]\nname = \"web\"\nendpoints = [{}]\n\
         [[listeners]]\nname = \"calls\"\nlisten = \"127.0.0.1:0\"\nby_path = true\n\
         [[listeners.routes]]\nid = \"all\"\nhosts = [\"web.test\"]\nstatic = \"web\"\n",
        endpoints.join(", ")
    )
}

/// One line of `endpoints` in a static service.
pub(crate) fn at(address: SocketAddr, region: &str, zone: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("{{ address = \"{ip}\", port = {port}, region = \"{region}\", zone = \"{zone}\" }}")
}
