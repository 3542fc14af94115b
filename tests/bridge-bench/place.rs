//! Regions as processes: one member each, bridges, and wires between them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use http::Method;
use landbridge_client::Admin;
use landbridge_runtime::tls::TlsFiles;
use landbridge_tests::{
    authority::Authority,
    http as by_hand,
    process::{Process, free_base},
    wait::within,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Whatever is waited for comes within this.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A region: a member, and any number of bridges.
pub struct Place {
    pub name: &'static str,
    folder: TempDir,
    files: TlsFiles,
    /// HTTP; gRPC, feeds and Raft stand beside it.
    base: u16,
    /// For each bridge its feeds and its operators' port.
    ports: Vec<(u16, u16)>,
    pub member: Option<Process>,
    pub bridges: Vec<Option<Process>>,
}

/// Where the bridges of another region are dialled; none to be dialled by them only.
pub type Peer<'a> = (&'a str, Vec<u16>);

impl Place {
    /// A region with so many bridges, none of which is started.
    pub fn new(authority: &Authority, name: &'static str, bridges: usize) -> Result<Self> {
        let ports = (0..bridges).map(|_| Ok((free_base()?, free_base()?))).collect::<Result<_>>()?;
        Ok(Self {
            name,
            folder: tempfile::tempdir()?,
            files: authority.files(&format!("demo/{name}/registry/1")),
            base: free_base()?,
            ports,
            member: None,
            bridges: (0..bridges).map(|_| None).collect(),
        })
    }

    fn page(&self, name: &str, text: &str, tls: &TlsFiles) -> Result<String> {
        let path = self.folder.path().join(name);
        let tls = format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\nauthority = {:?}\n[log]\nlevel = \"warn\"\n",
            tls.certificate, tls.key, tls.authority
        );
        std::fs::write(&path, format!("{text}{tls}"))?;
        Ok(path.display().to_string())
    }

    /// Starts the member and waits until it answers.
    pub async fn start_member(&mut self) -> Result<()> {
        let page = format!(
            "region = {:?}\ndeployment = \"demo\"\ndata_dir = {:?}\n[listen]\nhttp_port = {}\nfeeds_port = {}\n",
            self.name,
            self.folder.path().join("member"),
            self.base,
            self.feeds()
        );
        let page = self.page("registry.toml", &page, &self.files)?;
        self.member = Some(Process::start_logged("registry", &[page], &self.log("registry"))?);
        let address = ([127, 0, 0, 1], self.base).into();
        let ready = async || (by_hand::ask(address, "GET", "/readyz").await?.0 == 200).then_some(());
        within(PATIENCE, ready).await.with_context(|| format!("the member of {} is not ready", self.name))
    }

    /// Starts a bridge; it is ready later.
    pub fn start_bridge(&mut self, authority: &Authority, at: usize, peers: &[Peer<'_>]) -> Result<()> {
        let (feeds, admin) = self.ports[at];
        let listed = peers.iter().map(|(peer, ports)| {
            let addresses: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
            format!("{peer} = [{}]\n", addresses.join(", "))
        });
        let page = format!(
            "region = {:?}\nregistries = [\"127.0.0.1:{}\"]\ndata = {:?}\n[peers]\n{}[feeds]\nlisten = \
             \"127.0.0.1:{feeds}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n",
            self.name,
            self.feeds(),
            self.folder.path().join(format!("bridge-{at}")),
            listed.collect::<String>()
        );
        let tls = authority.files(&format!("demo/{}/bridge/{}", self.name, bridge_name(at)));
        let page = self.page(&format!("bridge-{at}.toml"), &page, &tls)?;
        let log = self.log(&format!("bridge-{at}"));
        self.bridges[at] = Some(Process::start_logged("bridge", &[page], &log)?);
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// Where SDKs call.
    pub fn grpc(&self) -> u16 {
        self.base + 1000
    }

    /// Where the member's followers call.
    pub fn feeds(&self) -> u16 {
        self.base + 1001
    }

    /// Where other regions call a bridge.
    pub fn bridge_feeds(&self, at: usize) -> u16 {
        self.ports[at].0
    }

    /// A page of a bridge's operators' door; none if it does not answer.
    pub async fn bridge_page(&self, at: usize, page: &str) -> Option<Value> {
        let address = ([127, 0, 0, 1], self.ports[at].1).into();
        let (status, text) = by_hand::ask(address, "GET", &format!("/landbridge/v1/{page}")).await?;
        (status == 200).then(|| serde_json::from_str(&text).ok())?
    }

    /// What a bridge says of a region it holds.
    pub async fn region_at(&self, bridge: usize, region: &str) -> Option<Value> {
        let rows = self.bridge_page(bridge, "regions").await?;
        rows.as_array()?.iter().find(|row| row["region"] == region).cloned()
    }

    /// Which of its bridges imports a region, once all of them that run say the same.
    pub async fn importer(&self, region: &str) -> Result<usize> {
        let found = within(PATIENCE, async || {
            let mut named = None;
            for at in (0..self.bridges.len()).filter(|at| self.bridges[*at].is_some()) {
                let rows = self.bridge_page(at, "links").await?;
                let row = rows.as_array()?.iter().find(|r| r["peer"] == region && r["direction"] == "in")?;
                let importer = row["importer"].as_str()?.to_owned();
                if named.get_or_insert_with(|| importer.clone()) != &importer {
                    return None;
                }
            }
            named
        });
        let name =
            found.await.with_context(|| format!("nobody in {} is listed to import {region}", self.name))?;
        let at = (0..self.bridges.len()).find(|at| bridge_name(*at) == name);
        at.with_context(|| format!("{name} is no bridge of {}", self.name))
    }

    /// Lets everything leave for a peer.
    pub async fn let_leave(&self, peer: &str) -> Result<()> {
        let admin = Admin::new(&format!("127.0.0.1:{}", self.base), None, 5_000);
        let path = format!("/landbridge/v1/policies/export/{peer}");
        let page = json!({ "allow": ["*/*/*"], "deny": [] });
        let taken =
            within(PATIENCE, async || admin.write::<Value>(Method::PUT, &path, &page).await.ok()).await;
        ensure!(taken.is_some(), "{} does not take its policy for {peer}", self.name);
        Ok(())
    }

    /// Resident memory of a bridge, MiB.
    pub fn bridge_mib(&self, at: usize) -> Result<f64> {
        self.bridges[at].as_ref().context("it runs")?.rss_mib()
    }
}

/// The name of a bridge in its certificate.
fn bridge_name(at: usize) -> String {
    format!("b{}", at + 1)
}
