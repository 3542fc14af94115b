//! Which service a call is for: configured routes first, then header, host name and path, as a listener allows them.
//!
//! Invariant: a path with dot segments never passes a rule that looks at the path.
//! Invariant: an explanation runs the very code of the search; it only listens.

use std::collections::BTreeMap;

use ecow::EcoString;
use landbridge_model::ServiceKey;

use crate::{admission::Criticality, service::Name};

/// The path under which services are reached by name.
pub const SERVICE_PREFIX: &str = "/svc/";

/// The header that names a service.
pub const SERVICE_HEADER: &str = "x-landbridge-service";

/// The host names a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// This name, in lower case.
    Exact(EcoString),
    /// Any name that ends in this, in lower case, with its leading dot.
    Under(EcoString),
}

impl HostMatch {
    /// Reads `name` or `*.name`.
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(rest) => Self::Under(rest.into()),
            None => Self::Exact(text.into()),
        }
    }

    fn takes(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Under(rest) => {
                let start = host.len().checked_sub(rest.len());
                let tail = start.filter(|start| *start > 0).and_then(|start| host.get(start..));
                tail.is_some_and(|tail| tail.eq_ignore_ascii_case(rest))
            }
        }
    }
}

/// What a route may set for its calls; what it leaves out is the gateway's own setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How long a call may take to its first answer byte, all tries together.
    pub timeout_ms: Option<u64>,
    /// How long one try may take.
    pub try_timeout_ms: Option<u64>,
    /// The most tries.
    pub tries_max: Option<u32>,
    /// How much its calls matter, if their caller may not say so or does not.
    pub criticality: Option<Criticality>,
    /// Whether its calls may be repeated; otherwise their method says so.
    pub repeatable: Option<bool>,
}

/// One of the services a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which one.
    pub name: Name,
    /// Its part of the calls, in proportion to the others'; with 0 it gets none.
    pub weight: u32,
}

/// A configured route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in answers.
    pub id: EcoString,
    /// Host names it takes; empty takes any.
    pub hosts: Vec<HostMatch>,
    /// The path it takes, whole segments; `None` takes any.
    pub path_prefix: Option<EcoString>,
    /// Headers that must be there with these very values (names in lower case).
    pub headers: Vec<(EcoString, EcoString)>,
    /// Where it leads, at least one.
    pub targets: Vec<Target>,
    /// What replaces the path prefix.
    pub rewrite_prefix: Option<EcoString>,
    /// Its own settings.
    pub policy: Policy,
}

/// How one listener finds services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// Its name in answers and metrics.
    pub listener: EcoString,
    /// Takes `service.group.namespace.<suffix>`, with this suffix in lower case and a leading dot.
    pub host_suffix: Option<EcoString>,
    /// Takes `/svc/<service>/`.
    pub by_path: bool,
    /// Takes the header `x-landbridge-service`.
    pub by_header: bool,
    /// Configured routes; the first that matches wins over everything else.
    pub routes: Vec<Route>,
}

/// What a call shows of itself.
pub trait Asked {
    /// The host without its port.
    fn host(&self) -> &str;
    /// The path without its query.
    fn path(&self) -> &str;
    /// A header's value, by its name in lower case.
    fn header(&self, name: &str) -> Option<&str>;
    /// A random number, thrown where a route leads to several services.
    fn dice(&self) -> u64;
}

/// The positions of a route's targets in a snapshot; `None` for those that are not in it.
pub type Positions = Box<[Option<u32>]>;

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// To this service.
    To {
        /// The service's position in the snapshot.
        service: u32,
        /// The configured route, if one matched.
        route: Option<u32>,
        /// How many bytes at the start of the path are replaced (by the route's `rewrite_prefix`, or nothing).
        cut: usize,
    },
    /// To a service that is not in the table.
    NoSuchService,
    /// Nowhere.
    NoRoute,
    /// A rule over paths met a path that hides where it leads.
    UnsafePath,
}

/// Finds services by name. Shared by all snapshots with the same set of names.
#[derive(Debug, Default)]
pub struct Index {
    by_host: BTreeMap<EcoString, u32>,
    by_name: BTreeMap<EcoString, u32>,
    by_target: BTreeMap<Name, u32>,
}

/// A service's three parts as a host name: lower case, underscores as dashes (a host name cannot hold them).
fn host_form(key: &ServiceKey) -> EcoString {
    let joined = format!("{}.{}.{}", key.service(), key.group(), key.namespace());
    joined.chars().map(host_char).collect()
}

fn host_char(c: char) -> char {
    if c == '_' { '-' } else { c.to_ascii_lowercase() }
}

impl Index {
    /// Indexes names in the order of their services. Of two that share a host form, the first keeps it.
    pub fn new<'a>(names: impl Iterator<Item = &'a Name>) -> Self {
        let mut index = Self::default();
        for (position, name) in (0..).zip(names) {
            index.by_target.insert(name.clone(), position);
            if let Name::Registered(key) = name {
                index.by_host.entry(host_form(key)).or_insert(position);
                for text in name_forms(key) {
                    index.by_name.insert(text, position);
                }
            }
        }
        index
    }

    /// The position of a service.
    pub fn of(&self, name: &Name) -> Option<u32> {
        self.by_target.get(name).copied()
    }

    fn under_host(&self, stem: &str) -> Option<u32> {
        if stem.bytes().any(|byte| byte == b'_' || byte.is_ascii_uppercase()) {
            let plain: String = stem.chars().map(host_char).collect();
            return self.by_host.get(plain.as_str()).copied();
        }
        self.by_host.get(stem).copied()
    }

    /// The position of the service that a header or path names: `[[namespace@@]group@@]service`.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }
}

/// The ways to write a service's name, shortest where the defaults allow it.
fn name_forms(key: &ServiceKey) -> Vec<EcoString> {
    let mut forms: Vec<EcoString> = vec![key.to_string().into()];
    if key.namespace().as_str() == "public" {
        forms.push(key.grouped().into());
        if key.group().as_str() == "DEFAULT_GROUP" {
            forms.push(key.service().as_str().into());
        }
    }
    forms
}

/// What a table looks at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A configured route, by its position.
    Route(u32),
    /// The header that names a service.
    ByHeader,
    /// A host name below the listener's suffix.
    ByHost,
    /// The path that names a service.
    ByPath,
}

/// Why a rule did not take a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The listener does not allow it.
    Closed,
    /// The call is for another host.
    Host,
    /// A header is not there or has another value; for a route its position among the headers it wants.
    Header(u32),
    /// The path begins otherwise.
    Path,
}

/// One rule as an explanation shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Which one.
    pub rule: Rule,
    /// Why it did not take the call; `None` for the one that did.
    pub misfit: Option<Misfit>,
}

/// Why a call is for the service it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The outcome, as routing has it.
    pub matched: Matched,
    /// The rules that were looked at, in that order; at most the last took the call.
    pub looked: Vec<Looked>,
}

/// Listens to a call being matched.
trait Witness {
    fn looked(&mut self, rule: Rule, misfit: Option<Misfit>);
}

/// The witness of the request path: nothing is left of it after compilation.
struct Nobody;

impl Witness for Nobody {
    fn looked(&mut self, _: Rule, _: Option<Misfit>) {}
}

impl Witness for Vec<Looked> {
    fn looked(&mut self, rule: Rule, misfit: Option<Misfit>) {
        self.push(Looked { rule, misfit });
    }
}

impl RouteTable {
    /// Finds where a call goes. `targets` are the positions of the configured routes' services.
    pub fn find(&self, index: &Index, targets: &[Positions], asked: &impl Asked) -> Matched {
        self.search(index, targets, asked, &mut Nobody)
    }

    /// Finds as [`RouteTable::find`] does and tells why.
    pub fn explain(&self, index: &Index, targets: &[Positions], asked: &impl Asked) -> Routed {
        let mut looked = Vec::new();
        let matched = self.search(index, targets, asked, &mut looked);
        Routed { matched, looked }
    }

    fn search(
        &self,
        index: &Index,
        targets: &[Positions],
        asked: &impl Asked,
        witness: &mut impl Witness,
    ) -> Matched {
        for (position, (route, targets)) in (0..).zip(self.routes.iter().zip(targets)) {
            let taken = route.takes(asked);
            witness.looked(Rule::Route(position), taken.err());
            if let Ok(cut) = taken {
                if cut > 0 && hides(asked.path()) {
                    return Matched::UnsafePath;
                }
                let to = |service| Matched::To { service, route: Some(position), cut };
                return route.choose(targets, asked).map_or(Matched::NoSuchService, to);
            }
        }
        self.search_by_name(index, asked, witness)
    }

    fn search_by_name(&self, index: &Index, asked: &impl Asked, witness: &mut impl Witness) -> Matched {
        let found = |service: Option<u32>, cut| match service {
            Some(service) => Matched::To { service, route: None, cut },
            None => Matched::NoSuchService,
        };
        let by_header = self.header_name(asked);
        witness.looked(Rule::ByHeader, by_header.err());
        if let Ok(name) = by_header {
            return found(index.named(name), 0);
        }
        let by_host = self.host_stem(asked);
        witness.looked(Rule::ByHost, by_host.err());
        if let Ok(stem) = by_host {
            return found(index.under_host(stem), 0);
        }
        let by_path = self.path_name(asked);
        witness.looked(Rule::ByPath, by_path.err());
        match by_path {
            Ok(_) if hides(asked.path()) => Matched::UnsafePath,
            Ok(name) => found(index.named(name), SERVICE_PREFIX.len() + name.len()),
            Err(_) => Matched::NoRoute,
        }
    }

    /// The service that the header names.
    fn header_name<'a>(&self, asked: &'a impl Asked) -> Result<&'a str, Misfit> {
        if self.by_header {
            asked.header(SERVICE_HEADER).ok_or(Misfit::Header(0))
        } else {
            Err(Misfit::Closed)
        }
    }

    /// What stands before the suffix of host names.
    fn host_stem<'a>(&self, asked: &'a impl Asked) -> Result<&'a str, Misfit> {
        let suffix = self.host_suffix.as_ref().ok_or(Misfit::Closed)?;
        let host = asked.host();
        let parts = host.len().checked_sub(suffix.len()).and_then(|end| host.split_at_checked(end));
        let (stem, end) = parts.ok_or(Misfit::Host)?;
        if end.eq_ignore_ascii_case(suffix) { Ok(stem) } else { Err(Misfit::Host) }
    }

    /// The service that the path names.
    fn path_name<'a>(&self, asked: &'a impl Asked) -> Result<&'a str, Misfit> {
        if !self.by_path {
            return Err(Misfit::Closed);
        }
        let rest = asked.path().strip_prefix(SERVICE_PREFIX).ok_or(Misfit::Path)?;
        Ok(rest.split('/').next().unwrap_or_default())
    }
}

impl Route {
    /// One of the targets that are there, by their weights.
    fn choose(&self, positions: &[Option<u32>], asked: &impl Asked) -> Option<u32> {
        if let [only] = positions {
            return *only;
        }
        let there = || {
            let both = self.targets.iter().zip(positions);
            both.filter_map(|(target, position)| Some((u64::from(target.weight), (*position)?)))
        };
        let all: u64 = there().map(|(weight, _)| weight).sum();
        let mut left = asked.dice().checked_rem(all)?;
        for (weight, position) in there() {
            match left.checked_sub(weight) {
                Some(less) => left = less,
                None => return Some(position),
            }
        }
        None
    }

    /// The length of the path prefix it replaces, if it takes the call.
    fn takes(&self, asked: &impl Asked) -> Result<usize, Misfit> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| host.takes(asked.host())) {
            return Err(Misfit::Host);
        }
        for (position, (name, value)) in (0..).zip(&self.headers) {
            if asked.header(name) != Some(value.as_str()) {
                return Err(Misfit::Header(position));
            }
        }
        let Some(prefix) = &self.path_prefix else { return Ok(0) };
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let rest = asked.path().strip_prefix(prefix).ok_or(Misfit::Path)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(Misfit::Path);
        }
        Ok(if self.rewrite_prefix.is_some() { prefix.len() } else { 0 })
    }
}

/// True if a path holds dot segments or an encoded slash, plain or percent-encoded: its server may read another path.
fn hides(path: &str) -> bool {
    if !path.contains(['.', '%', '\\']) {
        return false;
    }
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%5c", "\\");
    plain.contains("%2f") || plain.split(['/', '\\']).any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
