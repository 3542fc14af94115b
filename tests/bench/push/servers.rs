//! The servers whose pushes are measured: a member of ours, and r-nacos where `RNACOS` names its program.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{
    process::{Process, free_base, free_port},
    sdk::dial,
    wait::within,
};
use landbridge_wire::nacos::grpc::{Payload, RequestClient, ask};
use serde::Deserialize;
use tempfile::TempDir;
use tonic::transport::Channel;

/// A server must take calls within this.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// A server that takes calls.
pub struct Server {
    pub process: Process,
    /// Where it speaks gRPC.
    pub address: SocketAddr,
    _data: TempDir,
}

impl Server {
    /// A member alone, with the limits of the default page but one: all subscribers here come from one address.
    pub fn ours() -> Result<Self> {
        let (base, data) = (free_base()?, tempfile::tempdir()?);
        let sets = [
            format!("data_dir={}", data.path().display()),
            format!("listen.http_port={base}"),
            "limits.connections_per_address=0".to_owned(),
            "log.level=warn".to_owned(),
        ];
        Ok(Self::of(Process::start("registry", &sets)?, base, data))
    }

    /// r-nacos alone; none if nothing names its program.
    pub fn r_nacos() -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("RNACOS") else { return Ok(None) };
        let (base, data) = (free_base()?, tempfile::tempdir()?);
        let mut command = Command::new(program);
        command
            .env("RNACOS_HTTP_PORT", base.to_string())
            .env("RNACOS_GRPC_PORT", (base + 1000).to_string())
            .env("RNACOS_HTTP_CONSOLE_PORT", free_port()?.to_string())
            .env("RNACOS_RAFT_NODE_ADDR", format!("127.0.0.1:{}", base + 1000))
            .env("RNACOS_RAFT_NODE_ID", "1")
            .env("RNACOS_RAFT_AUTO_INIT", "true")
            .env("RNACOS_DATA_DIR", data.path())
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::of(&mut command).context("the program that RNACOS names cannot be started")?;
        Ok(Some(Self::of(process, base, data)))
    }

    fn of(process: Process, base: u16, data: TempDir) -> Self {
        Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, base + 1000)), _data: data }
    }

    /// Waits until it takes calls.
    pub async fn started(&self) -> Result<()> {
        let asked = async || {
            let channel = dial(self.address).await.ok()?;
            done(&mut RequestClient::new(channel), ask::server_check()).await.ok()
        };
        within(STARTED_WITHIN, asked).await.context("the server does not start")?;
        Ok(())
    }
}

/// What SDKs go by: r-nacos says no `success`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    result_code: i64,
}

/// Asks once and expects success, as any of the servers says it.
pub async fn done(requests: &mut RequestClient<Channel>, payload: Payload) -> Result<()> {
    let answer = requests.request(payload).await?.into_inner();
    let outcome: Outcome = serde_json::from_slice(answer.json())?;
    ensure!(outcome.result_code == 200, "refused: {}", String::from_utf8_lossy(answer.json()));
    Ok(())
}
