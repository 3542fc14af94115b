//! A gateway as a process of its own on ports that stay, so that it can be told to end, killed and started again.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use landbridge_gateway::Config;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tests::{
    http::ask,
    process::{Process, accepts, free_port},
    wait::until_async,
};

/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves as `serve-gateway FILE` until told to end.
pub(crate) fn serve(arguments: &[String]) -> ExitCode {
    match try_serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gateway: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_serve(arguments: &[String]) -> Result<()> {
    let file = arguments.first().context("a gateway wants a file")?;
    let config = Config::load(Some(Path::new(file)), &[], &[]).map_err(|wrong| anyhow!(wrong.join("\n")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        landbridge_gateway::run(config, shutdown).await.map_err(anyhow::Error::msg)
    })
}

/// The handle of one gateway process.
pub(crate) struct Gate {
    /// Where calls come in.
    pub(crate) address: SocketAddr,
    /// Where operators ask.
    pub(crate) admin: SocketAddr,
    file: std::path::PathBuf,
    process: Process,
}

impl Gate {
    /// Starts a gateway in region `east`, zone `a`, with this page, of which the first port is left open.
    pub(crate) async fn start(folder: &Path, page: &str) -> Result<Self> {
        let [address, admin] =
            [free_port()?, free_port()?].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let page = page.replacen("127.0.0.1:0", &address.to_string(), 1);
        let file = folder.join("gateway.toml");
        let head = "region = \"east\"\nzone = \"a\"\nthreads = 1\nlog.level = \"error\"\n";
        fs::write(&file, format!("{head}admin.listen = \"{admin}\"\n{page}"))?;
        let process = Process::start("gateway", &[file.display().to_string()])?;
        let gate = Self { address, admin, file, process };
        gate.is_up().await?;
        Ok(gate)
    }

    async fn is_up(&self) -> Result<()> {
        accepts(self.address).await?;
        accepts(self.admin).await
    }

    /// Ends it as a power failure would, and starts it again on the same ports with the same page.
    pub(crate) async fn kill_and_start(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = Process::start("gateway", &[self.file.display().to_string()])?;
        self.is_up().await
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) -> Result<()> {
        self.process.signal("TERM")
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until_async("the gateway ends", PATIENCE, async || self.process.ended().ok().flatten()).await
    }

    /// What its operators are told.
    pub(crate) async fn told(&self, path: &str) -> Option<String> {
        ask(self.admin, "GET", path).await.filter(|(status, _)| *status == 200).map(|(_, text)| text)
    }
}
