//! The region's members as the page names them: a list, a file with a list, or a name that stands for all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use landbridge_model::MemberId;
use serde::Deserialize;

use crate::peers::{MEMBERS_MAX, Place, parse, parse_name};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterPage {
    members: String,
    members_file: PathBuf,
    members_dns: String,
    founders: u16,
    pub(super) drain_ms: u64,
}

/// Where it is told who the members are and where they are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedIn {
    /// In the page itself, once and for all.
    Page,
    /// In a file that is read again.
    File(PathBuf),
    /// Behind a name that is resolved again; its addresses are asked for their numbers. The ports are everybody's.
    Name(Place),
}

/// The members of a region.
#[derive(Clone, Debug)]
pub struct CompanyConfig {
    /// All that are known by number, with this one; empty for a member alone. They found the region if nobody has yet.
    pub numbers: BTreeSet<MemberId>,
    /// Where those are found of whom the page or the file tells.
    pub places: BTreeMap<MemberId, Place>,
    /// Where to look again.
    pub listed_in: ListedIn,
}

impl CompanyConfig {
    /// Whether there are other members.
    pub fn several(&self) -> bool {
        self.numbers.len() > 1
    }
}

/// What the page says elsewhere and the members depend on.
pub(super) struct Around {
    pub(super) member: MemberId,
    pub(super) has_tls: bool,
    /// Where this member listens, if that could be read.
    pub(super) ip: Option<IpAddr>,
    /// Its HTTP, Raft and feeds ports.
    pub(super) ports: [u16; 3],
}

impl ClusterPage {
    /// The members with this one among them, or none for a member alone.
    pub(super) fn read(&self, around: &Around) -> Result<CompanyConfig, Vec<String>> {
        let [list, file, name] = [
            ("members", !self.members.trim().is_empty()),
            ("members_file", !self.members_file.as_os_str().is_empty()),
            ("members_dns", !self.members_dns.trim().is_empty()),
        ];
        let given: Vec<_> = [list, file, name].iter().filter(|key| key.1).map(|key| key.0).collect();
        if given.len() > 1 {
            return Err(vec![format!("cluster: {} exclude each other", given.join(" and "))]);
        }
        if self.founders != 0 && !name.1 {
            return Err(vec![
                "cluster.founders: only members_dns needs it, a list says who founds".to_owned(),
            ]);
        }
        let company = if name.1 {
            self.by_name(around)?
        } else if file.1 {
            self.by_file()?
        } else {
            let places = listed("cluster.members", &self.members)?;
            CompanyConfig { numbers: places.keys().copied().collect(), places, listed_in: ListedIn::Page }
        };
        let (key, member) = (given.first().unwrap_or(&"members"), around.member);
        if !company.numbers.is_empty() && !company.numbers.contains(&member) {
            return Err(vec![format!("cluster.{key}: this member, number {member}, is not listed")]);
        }
        if company.several() && !around.has_tls {
            return Err(vec![format!(
                "cluster.{key}: members speak over mutual TLS only, so [tls] must be given"
            )]);
        }
        Ok(company)
    }

    fn by_file(&self) -> Result<CompanyConfig, Vec<String>> {
        let (key, file) = ("cluster.members_file", self.members_file.as_path());
        let about = |error| vec![format!("{key}: {}: {error}", file.display())];
        let places = listed(key, &std::fs::read_to_string(file).map_err(about)?)?;
        // Read while somebody writes it, it is empty for a moment: whoever took that for "alone" would found a second group.
        if places.is_empty() {
            return Err(vec![format!("{key}: nobody is listed; a member alone is given no file")]);
        }
        let numbers = places.keys().copied().collect();
        Ok(CompanyConfig { numbers, places, listed_in: ListedIn::File(Path::to_owned(file)) })
    }

    fn by_name(&self, around: &Around) -> Result<CompanyConfig, Vec<String>> {
        let mut wrong = Vec::new();
        let name = parse_name(self.members_dns.trim());
        let name = name.map_err(|why| wrong.push(format!("cluster.members_dns: {why}"))).ok();
        if !(2..=MEMBERS_MAX as u16).contains(&self.founders) {
            wrong.push(format!(
                "cluster.founders: from 2 to {MEMBERS_MAX}: members 1 to so many found the region; write the same at all"
            ));
        }
        // What other members, bridges and gateways are told is where this one listens.
        let ip = around.ip.filter(|ip| !ip.is_unspecified());
        if around.ip.is_some() && ip.is_none() {
            wrong.push(
                "cluster.members_dns: listen.host must be the address at which others find this member"
                    .to_owned(),
            );
        }
        let (Some(name), Some(ip), true) = (name, ip, wrong.is_empty()) else { return Err(wrong) };
        let [http_port, raft_port, feeds_port] = around.ports;
        let me = Place { http_port, raft_port, feeds_port, ..name.at(ip) };
        Ok(CompanyConfig {
            numbers: (1..=self.founders).map(MemberId).chain([around.member]).collect(),
            places: BTreeMap::from([(around.member, me)]),
            listed_in: ListedIn::Name(name),
        })
    }
}

fn listed(key: &str, text: &str) -> Result<BTreeMap<MemberId, Place>, Vec<String>> {
    parse(text).map_err(|wrong| wrong.iter().map(|why| format!("{key}: {why}")).collect())
}
