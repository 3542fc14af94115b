//! Members that know each other by one name only: each is given a hosts file of the test, which tells all of them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Result;
use landbridge_tests::{
    authority::Authority,
    http,
    process::{Process, free_base},
    region::READY_WITHIN,
    wait::{until_async, within},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    NotRun,
    clients::{count, persisted},
};

/// The name of all.
const NAME: &str = "registry.east.test";

/// The name is asked again and again; a change of it is known everywhere within this.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

/// Runs a program with a hosts file of its own, as root of a namespace that only it sees.
const WITH_HOSTS: [&str; 6] =
    ["unshare", "--map-root-user", "--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#];

/// Members behind the name, each at an address of its own and all at the same ports.
struct Named {
    authority: Authority,
    folder: TempDir,
    port: u16,
    processes: BTreeMap<u16, Process>,
    /// Who is where.
    at: BTreeMap<u16, Ipv4Addr>,
}

impl Named {
    fn new() -> Result<Self> {
        let (authority, folder) = (Authority::new(), tempfile::tempdir()?);
        let named =
            Self { authority, folder, port: free_base()?, processes: BTreeMap::new(), at: BTreeMap::new() };
        named.tell(&[])?;
        let hosts = named.hosts();
        let may = with_hosts(&hosts).arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
        match may {
            Ok(status) if status.success() => Ok(named),
            Ok(_) | Err(_) => Err(NotRun("no hosts file can be put in place (unshare)".to_owned()).into()),
        }
    }

    fn hosts(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    /// What the name stands for from here on.
    fn tell(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let lines = addresses.iter().map(|address| format!("{address} {NAME}\n"));
        let text: String = std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(lines).collect();
        Ok(std::fs::write(self.hosts(), text)?)
    }

    fn start(&mut self, member: u16, at: Ipv4Addr) -> Result<()> {
        let files = self.authority.files(&format!("demo/east/registry/{member}"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(member))?;
        let sets = [
            "region=east".to_owned(),
            "deployment=demo".to_owned(),
            format!("member={member}"),
            format!("data_dir={}", self.folder.path().join(format!("data-{member}")).display()),
            format!("listen.host={at}"),
            format!("listen.http_port={}", self.port),
            format!("cluster.members_dns={NAME}:{}", self.port),
            "cluster.founders=3".to_owned(),
            format!("tls.certificate={}", files.certificate.display()),
            format!("tls.key={}", files.key.display()),
            format!("tls.authority={}", files.authority.display()),
            "raft.heartbeat_ms=150".to_owned(),
            "raft.election_min_ms=600".to_owned(),
            "raft.election_max_ms=900".to_owned(),
            "probes.enabled=false".to_owned(),
        ];
        let mut command = with_hosts(&self.hosts());
        command.arg(std::env::current_exe()?).arg("serve-registry").args(sets);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.insert(member, Process::of(&mut command)?);
        self.at.insert(member, at);
        Ok(())
    }

    fn kill(&mut self, member: u16) -> Result<()> {
        self.processes.remove(&member).map_or(Ok(()), |mut process| process.kill())
    }

    fn log(&self, member: u16) -> PathBuf {
        self.folder.path().join(format!("log-{member}"))
    }

    fn http(&self, member: u16) -> SocketAddr {
        SocketAddr::from((self.at[&member], self.port))
    }

    async fn ready(&self, member: u16) {
        let asked = async || {
            let (status, _) = http::ask(self.http(member), "GET", "/readyz").await?;
            (status == 200).then_some(())
        };
        if within(READY_WITHIN, asked).await.is_none() {
            let log = std::fs::read_to_string(self.log(member)).unwrap_or_default();
            panic!("member {member} is not ready within {READY_WITHIN:?}; it said:\n{log}");
        }
    }

    /// Waits until every member names all of them UP where they are.
    async fn all_are_known(&self) {
        for member in self.at.keys() {
            until_async(&format!("member {member} knows where all are"), KNOWN_WITHIN, async || {
                let (_, text) = http::ask(self.http(*member), "GET", "/landbridge/v1/members").await?;
                let rows: Value = serde_json::from_str(&text).ok()?;
                let is_known = |(other, at): (&u16, &Ipv4Addr)| {
                    let row = rows.as_array()?.iter().find(|row| row["member"] == *other)?;
                    let is_there = row.to_string().contains(&format!("{at}:"));
                    (is_there && row["state"] == "UP").then_some(())
                };
                self.at.iter().all(|place| is_known(place).is_some()).then_some(())
            })
            .await;
        }
    }
}

fn with_hosts(hosts: &std::path::Path) -> Command {
    let mut command = Command::new(WITH_HOSTS[0]);
    command.args(&WITH_HOSTS[1..]).arg(hosts);
    command
}

pub async fn members_behind_one_name_find_each_other_and_one_that_moves() -> Result<()> {
    let mut named = Named::new()?;
    let places = [2, 3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
    named.tell(&places[..2])?;
    for (member, at) in (1..).zip(&places[..2]) {
        named.start(member, *at)?;
    }
    named.ready(1).await;
    named.start(3, places[2])?;
    named.tell(&places)?;
    named.ready(3).await;
    named.all_are_known().await;
    persisted(named.http(3), "stays", 1).await;

    let elsewhere = Ipv4Addr::new(127, 0, 0, 5);
    named.kill(3)?;
    named.tell(&[places[0], places[1], elsewhere])?;
    named.start(3, elsewhere)?;
    named.ready(3).await;

    named.all_are_known().await;
    persisted(named.http(1), "stays", 2).await;
    for member in 1..=3 {
        until_async(&format!("member {member} shows what was written"), KNOWN_WITHIN, async || {
            count(named.http(member), "stays").await.filter(|shown| *shown == 2)
        })
        .await;
    }
    Ok(())
}
