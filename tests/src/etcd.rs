//! Three members of etcd as processes, to hold figures against; Debian's package `etcd-server` has the program.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http,
    process::{Process, free_port},
    wait::{until_async, within},
    writing::{Writing, patient},
};

/// The program, as Debian's package names it.
const ETCD: &str = "etcd";

/// Members.
const MEMBERS: u16 = 3;

/// A member answers, one leads and a first put is taken within this.
const STANDS_WITHIN: Duration = Duration::from_secs(60);

/// One group, with the paces and the syncs that it has by default.
pub struct Etcd {
    folder: TempDir,
    /// By member the ports for clients and for the other members.
    ports: BTreeMap<u16, (u16, u16)>,
    processes: BTreeMap<u16, Process>,
}

impl Etcd {
    /// Starts three members; none if etcd is not installed.
    pub fn start() -> Result<Option<Self>> {
        let version =
            Command::new(ETCD).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let mut ports = BTreeMap::new();
        for member in 1..=MEMBERS {
            ports.insert(member, (free_port()?, free_port()?));
        }
        let mut etcd = Self { folder: tempfile::tempdir()?, ports, processes: BTreeMap::new() };
        for member in 1..=MEMBERS {
            etcd.start_one(member)?;
        }
        Ok(Some(etcd))
    }

    /// Starts a member that does not run.
    pub fn start_one(&mut self, member: u16) -> Result<()> {
        let name = |member: &u16| format!("m{member}");
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all = self.ports.iter().map(|(member, (_, peer))| format!("{}={}", name(member), url(*peer)));
        let (client, peer) = self.ports[&member];
        let log = std::fs::File::create(self.folder.path().join(format!("log-{member}")))?;
        let mut command = Command::new(ETCD);
        command
            .args(["--name", &name(&member), "--data-dir", &self.data(member).to_string_lossy()])
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &all.collect::<Vec<_>>().join(",")])
            .args(["--initial-cluster-state", "new", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.processes.insert(member, Process::of(&mut command)?);
        Ok(())
    }

    /// Ends a member as a power failure would.
    pub fn kill(&mut self, member: u16) -> Result<()> {
        self.processes.get_mut(&member).context("the member runs")?.kill()
    }

    /// All members' numbers.
    pub fn members(&self) -> Vec<u16> {
        self.ports.keys().copied().collect()
    }

    /// All members' processes.
    pub fn processes(&self) -> Vec<&Process> {
        self.processes.values().collect()
    }

    /// Where clients call a member.
    pub fn address(&self, member: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[&member].0))
    }

    fn data(&self, member: u16) -> PathBuf {
        self.folder.path().join(format!("data-{member}"))
    }

    /// Waits until a first put is answered.
    pub async fn formed(&self) -> Result<()> {
        let taken = async || put(self.address(1), 0).await.then_some(());
        within(STANDS_WITHIN, taken).await.context("etcd never took a put")
    }

    /// Kills the leader so often, while so many clients write at each other member, and has each death looked at once writes
    /// go on: with the writing, and when it was.
    pub async fn deaths<T>(
        &mut self,
        rounds: usize,
        clients: usize,
        look: impl AsyncFn(&Writing, Instant) -> T,
    ) -> Result<Vec<T>> {
        let mut seen = Vec::new();
        for _ in 0..rounds {
            let leader = self.leader().await;
            let rest = self.members().into_iter().filter(|member| *member != leader);
            let rest: Vec<_> = rest.map(|member| self.address(member)).collect();
            let writing = Writing::start(&rest, clients, put_patiently);
            writing.goes_on().await;
            let killed = Instant::now();
            self.kill(leader)?;
            writing.goes_on().await;
            seen.push(look(&writing, killed).await);
            drop(writing);
            self.start_one(leader)?;
        }
        Ok(seen)
    }

    /// Who leads, once every member agrees on it.
    pub async fn leader(&self) -> u16 {
        until_async("one of etcd's members leads", STANDS_WITHIN, async || {
            let (mut leaders, mut ids) = (Vec::new(), BTreeMap::new());
            for member in self.ports.keys() {
                let (_, text) =
                    http::send(self.address(*member), "POST", "/v3/maintenance/status", &[], "{}").await?;
                let said: Value = serde_json::from_str(&text).ok()?;
                leaders.push(said["leader"].as_str()?.to_owned());
                ids.insert(said["header"]["member_id"].as_str()?.to_owned(), *member);
            }
            let same = leaders.iter().all(|leader| *leader == leaders[0]);
            same.then(|| ids.get(&leaders[0]).copied()).flatten()
        })
        .await
    }
}

/// Puts a number under itself, as a client that gives up in time; whether that was answered.
async fn put_patiently(at: SocketAddr, number: u32) -> bool {
    patient(put(at, number)).await
}

/// Puts a number under itself; whether that was answered.
pub async fn put(at: SocketAddr, number: u32) -> bool {
    let page = format!(r#"{{"key":"{0}","value":"{0}"}}"#, encoded(number));
    let said = http::send(at, "POST", "/v3/kv/put", &[], &page).await;
    said.is_some_and(|(status, _)| status == 200)
}

/// The bytes of a number as etcd's gateway wants them.
fn encoded(number: u32) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Nine digits are three groups of three bytes, so that nothing is padded.
    format!("{number:09}")
        .as_bytes()
        .chunks(3)
        .flat_map(|three| {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            [18, 12, 6, 0].map(|shift| char::from(LETTERS[(bits >> shift & 63) as usize]))
        })
        .collect()
}
