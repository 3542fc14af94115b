//! A region of several members, each a process of its own, started, killed and ended at will.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    authority::Authority,
    http,
    process::{Process, free_base, free_port},
    wait::{until_async, within},
};

/// A member is ready within this, on a machine that does other things too; a feed that was left behind by a dead one is
/// waited for no longer than 10 s.
pub const READY_WITHIN: Duration = Duration::from_secs(120);

/// A member that ends does so within this.
pub const ENDED_WITHIN: Duration = Duration::from_secs(120);

/// So many lines of a member's log are told when something is wrong.
const LOG_LINES: usize = 60;

struct Seat {
    base: u16,
    /// One above the gRPC port by default, where the kernel puts connections that dial: not free for sure at a restart.
    feeds: u16,
    /// What the others call; differs from the member's own ports where something stands between.
    detours: BTreeMap<u16, (u16, u16)>,
    process: Option<Process>,
}

impl Seat {
    fn free() -> Result<Self> {
        Ok(Self { base: free_base()?, feeds: free_port()?, detours: BTreeMap::new(), process: None })
    }
}

/// A region of several members.
pub struct Region {
    authority: Authority,
    folder: TempDir,
    seats: BTreeMap<u16, Seat>,
    /// Further keys for every member.
    pub sets: Vec<String>,
}

impl Region {
    /// A region of so many members, none of which is started.
    pub fn new(members: u16) -> Result<Self> {
        let mut seats = BTreeMap::new();
        for member in 1..=members {
            seats.insert(member, Seat::free()?);
        }
        let folder = tempfile::tempdir()?;
        // Patient, so that a busy machine does not move leadership without need.
        let patient = ["raft.heartbeat_ms=150", "raft.election_min_ms=600", "raft.election_max_ms=900"];
        // What most tests register is nowhere, and its health is not what they ask about.
        let sets = patient.into_iter().chain(["probes.enabled=false"]);
        let sets = sets.map(str::to_owned).collect();
        Ok(Self { authority: Authority::new(), folder, seats, sets })
    }

    /// Who signs for everybody of the region.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Another member, with an empty disk; those that run do not know it before they read their list again.
    pub fn seat(&mut self, member: u16) -> Result<()> {
        self.seats.insert(member, Seat::free()?);
        self.write_list()
    }

    /// All members' numbers.
    pub fn members(&self) -> Vec<u16> {
        self.seats.keys().copied().collect()
    }

    /// Where a member calls another one's Raft port and feeds, instead of their own.
    pub fn detour(&mut self, from: u16, to: u16, raft_port: u16, feeds_port: u16) {
        self.seats.get_mut(&to).expect("a member").detours.insert(from, (raft_port, feeds_port));
    }

    /// The list of members as one of them is given it.
    fn list(&self, reader: u16) -> String {
        let line = |(member, seat): (&u16, &Seat)| {
            let own = (seat.base - 1000, seat.feeds);
            let (raft, feeds) = seat.detours.get(&reader).copied().unwrap_or(own);
            format!("{member}@127.0.0.1:{}?raft_port={raft}&feeds_port={feeds}\n", seat.base)
        };
        self.seats.iter().map(line).collect()
    }

    /// Writes every member's list anew, each in one go: somebody may be reading it.
    pub fn write_list(&self) -> Result<()> {
        for member in self.seats.keys() {
            let new = self.list_file(*member).with_extension("new");
            std::fs::write(&new, self.list(*member))?;
            std::fs::rename(&new, self.list_file(*member))?;
        }
        Ok(())
    }

    fn list_file(&self, member: u16) -> PathBuf {
        self.folder.path().join(format!("members-{member}"))
    }

    /// Where a member's data lies.
    pub fn data(&self, member: u16) -> PathBuf {
        self.folder.path().join(format!("data-{member}"))
    }

    /// What a member has said so far.
    pub fn log(&self, member: u16) -> String {
        std::fs::read_to_string(self.log_file(member)).unwrap_or_default()
    }

    fn log_file(&self, member: u16) -> PathBuf {
        self.folder.path().join(format!("log-{member}"))
    }

    /// Starts a member; it is ready later.
    pub fn start(&mut self, member: u16) -> Result<()> {
        self.write_list()?;
        let files = self.authority.files(&format!("demo/east/registry/{member}"));
        let Seat { base, feeds, .. } = self.seat_of(member)?;
        let mut sets = vec![
            "region=east".to_owned(),
            "deployment=demo".to_owned(),
            format!("member={member}"),
            format!("data_dir={}", self.data(member).display()),
            format!("listen.http_port={base}"),
            format!("listen.feeds_port={feeds}"),
            format!("cluster.members_file={}", self.list_file(member).display()),
            format!("tls.certificate={}", files.certificate.display()),
            format!("tls.key={}", files.key.display()),
            format!("tls.authority={}", files.authority.display()),
        ];
        sets.extend(self.sets.iter().cloned());
        let process = Process::start_logged("registry", &sets, &self.log_file(member))?;
        self.seats.get_mut(&member).context("a member")?.process = Some(process);
        Ok(())
    }

    /// Starts every member that does not run.
    pub fn start_all(&mut self) -> Result<()> {
        for member in self.members() {
            if self.seat_of(member)?.process.is_none() {
                self.start(member)?;
            }
        }
        Ok(())
    }

    /// Ends a member as a power failure would.
    pub fn kill(&mut self, member: u16) -> Result<()> {
        match self.seats.get_mut(&member).and_then(|seat| seat.process.take()) {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Asks a member to end in order.
    pub fn ask_to_end(&self, member: u16) -> Result<()> {
        self.process(member)?.signal("TERM")
    }

    /// Waits until a member that was asked has ended, and says so if that was not in order.
    pub async fn ended(&mut self, member: u16) -> Result<()> {
        let seat = self.seats.get_mut(&member).context("a member")?;
        let process = seat.process.as_mut().context("the member runs")?;
        let what = format!("member {member} ends");
        let status = until_async(&what, ENDED_WITHIN, async || process.ended().ok().flatten()).await;
        seat.process = None;
        ensure!(status.success(), "member {member} ended with {status}:\n{}", self.log(member));
        Ok(())
    }

    /// A member's process.
    pub fn process(&self, member: u16) -> Result<&Process> {
        self.seat_of(member)?.process.as_ref().context("the member runs")
    }

    /// Whether a member was started and neither killed nor found ended.
    pub fn runs(&self, member: u16) -> bool {
        self.seats.get(&member).is_some_and(|seat| seat.process.is_some())
    }

    /// How a member ended by itself, if it did.
    pub fn ended_by_itself(&mut self, member: u16) -> Result<Option<std::process::ExitStatus>> {
        let seat = self.seats.get_mut(&member).context("a member")?;
        match &mut seat.process {
            Some(process) => process.ended(),
            None => Ok(None),
        }
    }

    fn seat_of(&self, member: u16) -> Result<&Seat> {
        self.seats.get(&member).with_context(|| format!("no member {member}"))
    }

    /// The HTTP address of a member.
    pub fn http(&self, member: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.seats[&member].base))
    }

    /// The gRPC address of a member.
    pub fn grpc(&self, member: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.seats[&member].base + 1000))
    }

    /// The Raft and feeds ports of a member.
    pub fn inner_ports(&self, member: u16) -> (u16, u16) {
        let seat = &self.seats[&member];
        (seat.base - 1000, seat.feeds)
    }

    /// Status and text of a call without a body; 0 if nobody answers.
    pub async fn ask(&self, member: u16, method: &str, path: &str) -> (u16, String) {
        http::ask(self.http(member), method, path).await.unwrap_or_default()
    }

    /// What a page of the operators' door says.
    pub async fn page(&self, member: u16, page: &str) -> Option<Value> {
        let (status, text) = self.ask(member, "GET", &format!("/landbridge/v1/{page}")).await;
        (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()
    }

    /// Waits until a member is ready.
    pub async fn ready(&self, member: u16) {
        let asked = async || (self.ask(member, "GET", "/readyz").await.0 == 200).then_some(());
        if within(READY_WITHIN, asked).await.is_none() {
            panic!("member {member} is not ready within {READY_WITHIN:?}; it said:\n{}", self.log(member));
        }
    }

    /// Waits until every member that runs is ready.
    pub async fn all_ready(&self) {
        for member in self.members().into_iter().filter(|member| self.runs(*member)) {
            self.ready(member).await;
        }
    }

    /// The member that leads, once one does.
    pub async fn leader(&self) -> u16 {
        let running: Vec<u16> = self.members().into_iter().filter(|member| self.runs(*member)).collect();
        until_async("a member leads", READY_WITHIN, async || {
            for member in &running {
                let status = self.page(*member, "status").await;
                if status.is_some_and(|status| status["leads"] == true) {
                    return Some(*member);
                }
            }
            None
        })
        .await
    }

    /// What every member that runs says of itself and of the others, and the end of each log.
    pub async fn tell_all(&self) -> String {
        let mut told = String::new();
        for member in self.members() {
            told.push_str(&format!("== member {member}\n"));
            for page in ["status", "members", "raft", "regions"] {
                let said = self.page(member, page).await.unwrap_or_default();
                told.push_str(&format!("{page}: {said}\n"));
            }
            let log = self.log(member);
            let lines: Vec<_> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                told.push_str(line);
                told.push('\n');
            }
        }
        told
    }

    /// The instances of a service of the default group that a member shows, as `ip:port`; none if it does not answer.
    pub async fn shown(&self, member: u16, service: &str) -> Option<Vec<String>> {
        let path = format!("/nacos/v1/ns/instance/list?serviceName={service}");
        let (status, text) = self.ask(member, "GET", &path).await;
        let answer: Value = (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()?;
        let hosts = answer["hosts"].as_array()?;
        let mut shown: Vec<_> = hosts
            .iter()
            .map(|host| format!("{}:{}", host["ip"].as_str().unwrap_or_default(), host["port"]))
            .collect();
        shown.sort();
        Some(shown)
    }
}
