//! Which service a call is for: configured routes first, then header, host name and path, as a listener allows them.
//!
//! Invariant: a path with dot segments never passes a rule that looks at the path.

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

impl RouteTable {
    /// Finds where a call goes. `targets` are the positions of the configured routes' services.
    pub fn find(&self, index: &Index, targets: &[Positions], asked: &impl Asked) -> Matched {
        for (position, (route, targets)) in (0..).zip(self.routes.iter().zip(targets)) {
            if let Some(cut) = route.takes(asked) {
                if cut > 0 && hides(asked.path()) {
                    return Matched::UnsafePath;
                }
                let to = |service| Matched::To { service, route: Some(position), cut };
                return route.choose(targets, asked).map_or(Matched::NoSuchService, to);
            }
        }
        self.find_by_name(index, asked)
    }

    fn find_by_name(&self, index: &Index, asked: &impl Asked) -> Matched {
        let found = |service: Option<u32>, cut| match service {
            Some(service) => Matched::To { service, route: None, cut },
            None => Matched::NoSuchService,
        };
        if self.by_header
            && let Some(name) = asked.header(SERVICE_HEADER)
        {
            return found(index.named(name), 0);
        }
        if let Some(suffix) = &self.host_suffix {
            let host = asked.host();
            let stem = host.len().checked_sub(suffix.len()).map(|end| host.split_at_checked(end));
            if let Some(Some((stem, end))) = stem
                && end.eq_ignore_ascii_case(suffix)
            {
                return found(index.under_host(stem), 0);
            }
        }
        if self.by_path
            && let Some(rest) = asked.path().strip_prefix(SERVICE_PREFIX)
        {
            let name = rest.split('/').next().unwrap_or_default();
            if hides(asked.path()) {
                return Matched::UnsafePath;
            }
            return found(index.named(name), SERVICE_PREFIX.len() + name.len());
        }
        Matched::NoRoute
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
    fn takes(&self, asked: &impl Asked) -> Option<usize> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| host.takes(asked.host())) {
            return None;
        }
        if !self.headers.iter().all(|(name, value)| asked.header(name) == Some(value.as_str())) {
            return None;
        }
        let Some(prefix) = &self.path_prefix else { return Some(0) };
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let rest = asked.path().strip_prefix(prefix)?;
        let whole_segment = rest.is_empty() || rest.starts_with('/');
        whole_segment.then_some(if self.rewrite_prefix.is_some() { prefix.len() } else { 0 })
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
mod tests {
    use super::*;

    fn one(name: &str, weight: u32) -> Target {
        Target { name: Name::Static(name.into()), weight }
    }

    struct Dice(u64);

    impl Asked for Dice {
        fn host(&self) -> &str {
            "any"
        }

        fn path(&self) -> &str {
            "/"
        }

        fn header(&self, _: &str) -> Option<&str> {
            None
        }

        fn dice(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_route_spreads_its_calls_by_weight_over_the_services_that_are_there() {
        let route = Route {
            id: "split".into(),
            hosts: Vec::new(),
            path_prefix: None,
            headers: Vec::new(),
            targets: vec![one("old", 9), one("new", 1), one("none", 0)],
            rewrite_prefix: None,
            policy: Policy::default(),
        };
        let table = RouteTable { routes: vec![route], ..RouteTable::default() };
        let counted = |targets: [Option<u32>; 3]| {
            let targets = [Positions::from(targets)];
            let find = |dice| table.find(&Index::default(), &targets, &Dice(dice));
            let to = |service| Matched::To { service, route: Some(0), cut: 0 };
            [0, 1, 2].map(|service| (0..1_000).filter(|dice| find(*dice) == to(service)).count())
        };

        assert_eq!(counted([Some(0), Some(1), Some(2)]), [900, 100, 0]);
        assert_eq!(counted([None, Some(1), Some(2)]), [0, 1_000, 0], "what is not there gets nothing");
        assert_eq!(counted([None, None, Some(2)]), [0, 0, 0]);
    }

    struct Call(&'static str, &'static str, &'static [(&'static str, &'static str)]);

    impl Asked for Call {
        fn host(&self) -> &str {
            self.0
        }

        fn path(&self) -> &str {
            self.1
        }

        fn header(&self, name: &str) -> Option<&str> {
            self.2.iter().find(|(have, _)| *have == name).map(|(_, value)| *value)
        }

        fn dice(&self) -> u64 {
            0
        }
    }

    fn registered(namespace: &str, group: &str, service: &str) -> Name {
        Name::Registered(ServiceKey::parse(namespace, group, service).unwrap())
    }

    fn index() -> Index {
        let names = [
            registered("", "", "orders"),
            registered("dev", "pay", "Card_Check"),
            Name::Static("web".into()),
        ];
        Index::new(names.iter())
    }

    fn open() -> RouteTable {
        let host_suffix = Some(".svc.local".into());
        RouteTable { host_suffix, by_path: true, by_header: true, ..RouteTable::default() }
    }

    fn to(service: u32, cut: usize) -> Matched {
        Matched::To { service, route: None, cut }
    }

    #[test]
    fn a_host_name_finds_its_service_whatever_its_case() {
        let find = |host| open().find(&index(), &[], &Call(host, "/", &[]));

        assert_eq!(find("orders.default-group.public.svc.local"), to(0, 0));
        assert_eq!(find("Orders.DEFAULT_GROUP.public.SVC.local"), to(0, 0));
        assert_eq!(find("card-check.pay.dev.svc.local"), to(1, 0));
        assert_eq!(find("orders.svc.local"), Matched::NoSuchService);
        assert_eq!(find("svc.local"), Matched::NoRoute);
        assert_eq!(find("\u{e9}vc.local"), Matched::NoRoute);
    }

    #[test]
    fn a_path_finds_its_service_and_loses_the_prefix() {
        let find = |path| open().find(&index(), &[], &Call("any", path, &[]));

        assert_eq!(find("/svc/orders/a/b"), to(0, "/svc/orders".len()));
        assert_eq!(find("/svc/orders"), to(0, "/svc/orders".len()));
        assert_eq!(find("/svc/dev@@pay@@Card_Check/x"), to(1, "/svc/dev@@pay@@Card_Check".len()));
        assert_eq!(find("/svc/nobody/x"), Matched::NoSuchService);
        assert_eq!(find("/other"), Matched::NoRoute);
    }

    #[test]
    fn a_path_that_hides_where_it_leads_is_refused() {
        for path in
            ["/svc/orders/../pay/x", "/svc/orders/%2e%2E/x", "/svc/orders/..%2fx", "/svc/orders\\..\\x"]
        {
            let found = open().find(&index(), &[], &Call("any", path, &[]));
            assert_eq!(found, Matched::UnsafePath, "{path}");
        }
        assert_eq!(open().find(&index(), &[], &Call("any", "/svc/orders/a..b/.c", &[])), to(0, 11));
    }

    #[test]
    fn the_header_names_a_service_only_where_the_listener_allows_it() {
        let call = Call("any", "/", &[(SERVICE_HEADER, "orders")]);
        let closed = RouteTable { by_header: false, ..open() };

        assert_eq!(open().find(&index(), &[], &call), to(0, 0));
        assert_eq!(closed.find(&index(), &[], &call), Matched::NoRoute);
    }

    #[test]
    fn a_configured_route_wins_and_takes_whole_segments_only() {
        let route = Route {
            id: "web".into(),
            hosts: vec![HostMatch::parse("*.Shop.example")],
            path_prefix: Some("/api/".into()),
            headers: vec![("x-canary".into(), "yes".into())],
            targets: vec![one("web", 1)],
            rewrite_prefix: Some("/v2".into()),
            policy: Policy::default(),
        };
        let table = RouteTable { routes: vec![route], ..open() };
        let find =
            |host, path, headers| table.find(&index(), &[[Some(2)].into()], &Call(host, path, headers));
        let canary: &[(&str, &str)] = &[("x-canary", "yes")];

        let hit = Matched::To { service: 2, route: Some(0), cut: 4 };
        assert_eq!(find("a.shop.example", "/api/x", canary), hit);
        assert_eq!(find("a.shop.example", "/api", canary), hit);
        for (host, path, headers) in [
            ("shop.example", "/api/x", canary),
            ("a.shop.example", "/apix", canary),
            ("a.shop.example", "/api/x", &[]),
        ] {
            assert_eq!(find(host, path, headers), Matched::NoRoute, "{host}{path}");
        }
        assert_eq!(find("a.shop.example", "/api/../x", canary), Matched::UnsafePath);
    }
}
