//! A member of its own for each test, in this process, on free ports.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use landbridge_registry::{Config, Failure};
use landbridge_runtime::{
    config::Layers,
    shutdown::Shutdown,
    telemetry::{BuildInfo, install},
};
use landbridge_tests::{
    http,
    process::{accepts, free_base},
    wait::until_async,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A lone member is ready after its first tick; much more is a fault.
pub const READY_WITHIN: Duration = Duration::from_secs(20);

/// What guarded members sign their tokens with.
pub const TOKEN_KEY: &str = "a key of tests that nobody else has to know";

/// A running member.
pub struct One {
    base: u16,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), Failure>>,
    data: TempDir,
}

impl One {
    /// Starts a member and waits until its ports accept and it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a member that asks for names, with the cheapest passwords there are and these settings.
    pub async fn start_guarded(more: &[&str]) -> Self {
        let key = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(key.path(), TOKEN_KEY).expect("written");
        let file = format!("auth.token_key_file={}", key.path().display());
        Self::start_with(&[&["auth.enabled=true", "auth.password_cost=4", &file], more].concat()).await
    }

    /// Starts a member with these settings and waits until its ports accept.
    pub async fn launch(more: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let base = free_base().expect("free ports");
        let mut sets =
            vec![format!("data_dir={}", data.path().display()), format!("listen.http_port={base}")];
        sets.extend(more.iter().map(ToString::to_string));
        let layers = Layers { defaults: "", file: None, environment: &[], sets: &sets };
        let config = Config::read(&layers).expect("the defaults and two keys are right");
        let page = install(BuildInfo { version: "0", role: "registry" }).expect("a recorder");
        let shutdown = Shutdown::new();
        let running = tokio::spawn(landbridge_registry::run(config, page, shutdown.clone()));
        let one = Self { base, shutdown, running, data };
        accepts(one.grpc()).await.expect("the gRPC port accepts");
        one
    }

    /// Starts a member with these settings and waits until it is ready.
    pub async fn start_with(more: &[&str]) -> Self {
        let one = Self::launch(more).await;
        until_async("the member is ready", READY_WITHIN, async || {
            (one.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
        one
    }

    /// The folder with everything durable.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The HTTP port.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base))
    }

    /// The gRPC port.
    pub fn grpc(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base + 1000))
    }

    /// Status and text of a page; 0 if nobody answers.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path).await
    }

    /// Status and text of any call without a body; 0 if nobody answers.
    pub async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        http::ask(self.http(), method, path).await.unwrap_or_default()
    }

    /// Ends it in order.
    pub async fn end(self) -> Result<(), Failure> {
        self.shutdown.begin();
        self.running.await.expect("the member does not panic")
    }
}
