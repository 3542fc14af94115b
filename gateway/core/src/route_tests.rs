//! Tests of finding services: rules one by one, then explanations over random tables.

use proptest::prelude::*;

use super::*;
use crate::{
    ladder::Costs,
    pick::{PickRules, explain, pick},
    service::testing::{RULES as HEALTH, caller, eject, spec},
    snapshot::Book,
};

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
    let names =
        [registered("", "", "orders"), registered("dev", "pay", "Card_Check"), Name::Static("web".into())];
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
    for path in ["/svc/orders/../pay/x", "/svc/orders/%2e%2E/x", "/svc/orders/..%2fx", "/svc/orders\\..\\x"] {
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
    let find = |host, path, headers| table.find(&index(), &[[Some(2)].into()], &Call(host, path, headers));
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

/// What tables, calls and services of random states are made of: few, so that they meet.
const HOSTS: [&str; 4] =
    ["shop.example", "a.shop.example", "*.shop.example", "orders.default-group.public.svc.local"];
const PREFIXES: [&str; 3] = ["/api", "/api/v1/", "/svc/orders"];
const PATHS: [&str; 7] =
    ["/", "/api", "/api/v1/x", "/apix", "/svc/orders/x", "/svc/nobody", "/api/../svc/orders"];
const VALUES: [&str; 2] = ["yes", "no"];
const SERVICES: [&str; 3] = ["orders", "pay", "nobody"];

fn random_route() -> impl Strategy<Value = Route> {
    let hosts = prop::collection::vec(0..3_usize, 0..3);
    let headers = prop::collection::vec((0..2_usize, 0..VALUES.len()), 0..3);
    let targets = prop::collection::vec((0..SERVICES.len(), 0..3_u32), 1..3);
    let prefix = (prop::option::of(0..PREFIXES.len()), any::<bool>());
    (hosts, prefix, headers, targets).prop_map(|(hosts, (prefix, rewrites), headers, targets)| Route {
        id: "r".into(),
        hosts: hosts.into_iter().map(|at| HostMatch::parse(HOSTS[at])).collect(),
        path_prefix: prefix.map(|at| PREFIXES[at].into()),
        headers: headers
            .into_iter()
            .map(|(name, value)| (["x-a", "x-b"][name].into(), VALUES[value].into()))
            .collect(),
        targets: targets
            .into_iter()
            .map(|(at, weight)| Target { name: registered("", "", SERVICES[at]), weight })
            .collect(),
        rewrite_prefix: (rewrites && prefix.is_some()).then(|| "/new".into()),
        policy: Policy::default(),
    })
}

fn random_table() -> impl Strategy<Value = RouteTable> {
    let routes = prop::collection::vec(random_route(), 0..5);
    (routes, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(routes, by_path, by_header, by_host)| {
        let host_suffix = by_host.then(|| ".svc.local".into());
        RouteTable { routes, by_path, by_header, host_suffix, ..RouteTable::default() }
    })
}

/// A call that shows what it was made with.
#[derive(Clone, Debug)]
struct Shown {
    host: &'static str,
    path: &'static str,
    headers: BTreeMap<&'static str, &'static str>,
    dice: u64,
}

impl Asked for Shown {
    fn host(&self) -> &str {
        self.host
    }

    fn path(&self) -> &str {
        self.path
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).copied()
    }

    fn dice(&self) -> u64 {
        self.dice
    }
}

fn random_call() -> impl Strategy<Value = Shown> {
    let value = || prop::option::of(0..VALUES.len());
    let service = prop::option::weighted(0.2, 0..SERVICES.len());
    let place = (0..HOSTS.len(), 0..PATHS.len());
    (place, value(), value(), service, any::<u64>()).prop_map(|((host, path), a, b, service, dice)| {
        let values = [("x-a", a.map(|at| VALUES[at])), ("x-b", b.map(|at| VALUES[at]))];
        let named = [(SERVICE_HEADER, service.map(|at| SERVICES[at]))];
        let headers = values.into_iter().chain(named).filter_map(|(name, value)| Some((name, value?)));
        Shown { host: HOSTS[host], path: PATHS[path], headers: headers.collect(), dice }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_explained_call_goes_where_a_routed_one_goes_and_every_reason_is_true(
        table in random_table(), call in random_call(), sizes in [0..4_usize, 0..4_usize], ejected in any::<bool>(),
    ) {
        let mut book = Book::new(caller("home", "a"), Costs::default(), vec![table.clone()]);
        for (name, size) in SERVICES.iter().zip(sizes) {
            let specs = (0..size).map(|n| crate::EndpointSpec { port: 1 + n as u16, ..spec("home", "a") });
            book.put(registered("", "", name), specs.collect(), &HEALTH, landbridge_model::Moment(0));
        }
        let snapshot = book.snapshot();

        let matched = snapshot.find(0, &call);
        let told = snapshot.explain(0, &call);

        prop_assert_eq!(matched, told.matched);
        let (last, before) = told.looked.split_last().unwrap();
        prop_assert!(before.iter().all(|looked| looked.misfit.is_some()));
        prop_assert_eq!(last.misfit.is_some(), matched == Matched::NoRoute);
        for looked in &told.looked {
            if let Rule::Route(position) = looked.rule {
                let routes = vec![table.routes[position as usize].clone()];
                let alone = RouteTable { routes, ..RouteTable::default() };
                let mut alone = Book::new(caller("home", "a"), Costs::default(), vec![alone]);
                let missed = alone.snapshot().find(0, &call) == Matched::NoRoute;
                prop_assert_eq!(missed, looked.misfit.is_some(), "a reason that does not hold");
            }
        }
        if let Matched::To { service, route, .. } = matched {
            prop_assert_eq!(route.map(Rule::Route).unwrap_or(last.rule), last.rule);
            let rules = PickRules { over_provision: 1.4, panic_share: 0.2, region_share_min: 0.25, health: HEALTH };
            let service = snapshot.service(service);
            if ejected && !service.endpoints().is_empty() {
                eject(service, 0, 0);
            }
            let now = landbridge_model::Moment(1);
            let decision = pick(&rules, service, service.home(), now, call.dice, &[]);
            prop_assert_eq!(decision, explain(&rules, service, service.home(), now, call.dice, &[]).decision);
        }
    }
}
