//! Checks a page value by value and collects what is wrong.

use std::{collections::BTreeSet, fmt::Display, num::NonZero, path::Path, thread};

use ecow::EcoString;
use http::{HeaderName, HeaderValue, Method, StatusCode, uri::PathAndQuery};
use landbridge_gateway_core::{
    BudgetRules, Caller, Costs, Criticality, EndpointSpec, GuardRules, HealthRules, HedgeRules, HostMatch,
    Name, Orders, PickRules, Policy, Protocol, Route, RouteTable, Speech, Target,
};
use landbridge_model::{Address, Cluster, Region, ServiceKey, Zone};
use landbridge_runtime::config::{Layers, load};

use super::{
    Config, Crowding, DEFAULTS, Destination, EndpointTls, Hedging, Limit, Live, Probe, Probing, Retries,
    Settings, page,
    ports::{ports, ranges},
    relay::relay,
};

/// What is wrong with a page.
#[derive(Default)]
pub(super) struct Mistakes(Vec<String>);

impl Mistakes {
    /// Notes a mistake, if it is one, and goes on without the value.
    pub(super) fn taken<T, E: Display>(&mut self, place: impl Display, value: Result<T, E>) -> Option<T> {
        value.map_err(|why| self.0.push(format!("{place}: {why}"))).ok()
    }

    pub(super) fn require(&mut self, holds: bool, sentence: impl Display) {
        if !holds {
            self.0.push(sentence.to_string());
        }
    }
}

/// Reads one page over the defaults.
pub(super) fn from_text(text: &str) -> Result<Config, Vec<String>> {
    let table = |text: &str| toml::from_str::<toml::Table>(text).map_err(|error| vec![error.to_string()]);
    let merged = merge(table(DEFAULTS)?, table(text)?);
    let merged = toml::to_string(&merged).map_err(|error| vec![error.to_string()])?;
    from_layers(&merged, None, &[], &[])
}

fn merge(mut under: toml::Table, over: toml::Table) -> toml::Table {
    for (key, value) in over {
        let merged = match (under.remove(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over).into(),
            (_, value) => value,
        };
        under.insert(key, merged);
    }
    under
}

/// Reads all layers.
pub(super) fn from_layers(
    defaults: &str,
    file: Option<&Path>,
    environment: &[(String, String)],
    sets: &[String],
) -> Result<Config, Vec<String>> {
    checked(load(&Layers { defaults, file, environment, sets })?)
}

fn checked(page: page::Page) -> Result<Config, Vec<String>> {
    let mut wrong = Mistakes::default();
    let region = wrong.taken("region", Region::parse(&page.region));
    let zone = wrong.taken("zone", Zone::parse(&page.zone));
    let name = page.name.clone().unwrap_or_else(|| format!("landbridge-{}-{}", page.region, page.zone));
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    wrong.require(!name.is_empty() && name.chars().all(fits), "name: letters, digits, dashes and dots only");
    if let Err(why) = page.log.check() {
        wrong.0.push(format!("log: {why}"));
    }
    if let Some(registry) = &page.registry {
        wrong.require(!registry.addresses.is_empty(), "registry.addresses: at least one is needed");
    }
    if let Some(presence) = &page.presence {
        wrong.taken("presence.address", Address::parse(&presence.address));
        wrong.require(!presence.registries.is_empty(), "presence.registries: at least one is needed");
        wrong
            .require(page.registry.is_some(), "presence: needs [registry], which says what callers come for");
        wrong.require(!page.listeners.is_empty(), "presence: needs a listener, whose port is registered");
    }
    connections(&mut wrong, &page.connections);
    tracing(&mut wrong, &page.tracing);
    let (listeners, service_ports) = ports(&mut wrong, &page);
    let (relay, peers) = relay(&mut wrong, &page);
    let live = live(&mut wrong, &page).map(|live| Live { peers, ..live });
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    match (region, zone, live) {
        (Some(region), Some(zone), Some(live)) if wrong.0.is_empty() => Ok(Config {
            home: Caller { region, zone },
            name: name.into(),
            threads: if page.threads == 0 { cores() } else { page.threads },
            admin: page.admin,
            registry: page.registry,
            presence: page.presence,
            relay,
            listeners,
            service_ports,
            connections: page.connections,
            live,
            log: page.log,
            access_log: Destination { file: page.access_log.file, queue_max: page.access_log.queue_max },
            tracing: page.tracing,
            source: None,
        }),
        _ => Err(wrong.0),
    }
}

fn tracing(wrong: &mut Mistakes, page: &page::Tracing) {
    wrong.require((0.0..=1.0).contains(&page.share), "tracing.share: from 0 to 1");
    wrong.require(page.queue_max > 0, "tracing.queue_max: at least 1");
    let possible = cfg!(feature = "otel") || page.collector.is_none();
    wrong.require(possible, "tracing.collector: this program was built without the feature otel");
}

fn connections(wrong: &mut Mistakes, page: &page::Connections) {
    let positive = [
        ("open_max", page.open_max as u64),
        ("tunnels_max", page.tunnels_max as u64),
        ("header_timeout_ms", page.header_timeout_ms),
        ("idle_timeout_ms", page.idle_timeout_ms),
        ("stream_idle_timeout_ms", page.stream_idle_timeout_ms),
        ("headers_max", page.headers_max as u64),
        ("streams_max", u64::from(page.streams_max)),
    ];
    for (key, value) in positive {
        wrong.require(value > 0, format!("connections.{key}: at least 1"));
    }
    wrong.require(page.header_bytes_max >= 8_192, "connections.header_bytes_max: at least 8192");
    wrong.require(page.headers_max <= 100, "connections.headers_max: at most 100");
}

fn live(wrong: &mut Mistakes, page: &page::Page) -> Option<Live> {
    let mut names = BTreeSet::new();
    let mut statics = Vec::new();
    for fixed in &page.statics {
        let place = format!("statics.{}", fixed.name);
        wrong.require(names.insert(fixed.name.as_str()), format!("{place}: this name is taken twice"));
        let endpoints =
            fixed.endpoints.iter().filter_map(|endpoint| static_endpoint(wrong, &place, endpoint));
        statics.push((Name::Static(fixed.name.as_str().into()), endpoints.collect()));
    }
    let routes = page.listeners.iter().map(|listener| routes(wrong, listener, &names)).collect();
    let costs: Vec<_> = page
        .ladder
        .costs
        .iter()
        .filter_map(|(region, cost)| Some((wrong.taken("ladder.costs", Region::parse(region))?, *cost)))
        .collect();
    let share = |share: f64| (0.0..=1.0).contains(&share);
    wrong.require(share(page.protection.share_max), "protection.share_max: from 0 to 1");
    let guard = GuardRules {
        share_max: page.protection.share_max,
        floor: page.protection.endpoints_floor,
        window_ms: page.protection.window_ms,
        hold_max_ms: page.protection.hold_max_ms,
    };
    let settings = settings(wrong, page)?;
    let orders = orders(wrong, &page.ladder.orders);
    Some(Live { routes, statics, costs: Costs::new(costs), orders, peers: Vec::new(), guard, settings })
}

/// Services by the order in which their regions are tried.
fn orders(wrong: &mut Mistakes, page: &[page::Order]) -> Orders {
    let mut all = Vec::new();
    for order in page {
        let parsed =
            order.regions.iter().filter_map(|text| wrong.taken("ladder.orders", Region::parse(text)));
        let regions: Vec<_> = parsed.collect();
        wrong.require(!regions.is_empty(), "ladder.orders: regions must name at least one");
        for text in &order.services {
            let name = wrong.taken("ladder.orders.services", any_name(text));
            all.extend(name.map(|name| (name, regions.clone())));
        }
    }
    Orders::new(all)
}

/// Reads `static:name` or `[[namespace@@]group@@]service`.
pub(crate) fn any_name(text: &str) -> Result<Name, String> {
    match text.strip_prefix("static:") {
        Some(name) => Ok(Name::Static(name.into())),
        None => service_name(text),
    }
}

fn static_endpoint(wrong: &mut Mistakes, place: &str, page: &page::StaticEndpoint) -> Option<EndpointSpec> {
    let weight = page.weight.unwrap_or(1.0);
    wrong.require((0.0..=10_000.0).contains(&weight), format!("{place}: weight is from 0 to 10000"));
    wrong.require(page.port > 0, format!("{place}: port 0 cannot be called"));
    let zone = page.zone.as_deref().map_or_else(|| Ok(Zone::unknown()), Zone::parse);
    let protocol = page.protocol.as_deref().map_or_else(|| Ok(Protocol::default()), str::parse);
    let tls_name = page.tls_name.as_deref().map(EcoString::from);
    let speech = Speech { protocol: wrong.taken(place, protocol)?, tls_name };
    Some(EndpointSpec {
        address: wrong.taken(place, Address::parse(&page.address))?,
        port: page.port,
        cluster: Cluster::parse("").expect("the default cluster is a valid name"),
        region: wrong.taken(place, Region::parse(&page.region))?,
        zone: wrong.taken(place, zone)?,
        weight,
        healthy: true,
        unverified: false,
        stale: false,
        speech,
    })
}

fn routes(wrong: &mut Mistakes, page: &page::Listener, statics: &BTreeSet<&str>) -> RouteTable {
    let place = format!("listeners.{}", page.name);
    let suffix =
        page.host_suffix.as_deref().map(|suffix| suffix.trim_start_matches('.').to_ascii_lowercase());
    wrong.require(suffix.as_deref() != Some(""), format!("{place}.host_suffix: must not be empty"));
    let routes = page.routes.iter().filter_map(|route| {
        let place = format!("{place}.routes.{}", route.id);
        one_route(wrong, &place, route, statics)
    });
    RouteTable {
        listener: page.name.as_str().into(),
        routes: routes.collect(),
        host_suffix: suffix.map(|suffix| format!(".{suffix}").into()),
        by_path: page.by_path,
        by_header: page.by_header,
    }
}

fn one_route(
    wrong: &mut Mistakes,
    place: &str,
    page: &page::Route,
    statics: &BTreeSet<&str>,
) -> Option<Route> {
    for (key, path) in [("path_prefix", &page.path_prefix), ("rewrite_prefix", &page.rewrite_prefix)] {
        let fits = |path: &String| path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
        wrong.require(
            path.as_ref().is_none_or(fits),
            format!("{place}.{key}: a path that starts with a slash"),
        );
    }
    let rewrites = page.rewrite_prefix.is_none() || page.path_prefix.is_some();
    wrong.require(rewrites, format!("{place}.rewrite_prefix: needs a path_prefix to replace"));
    let header = |wrong: &mut Mistakes, name: &str, value: &str| {
        let known = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no header name"));
        let fits = HeaderValue::try_from(value).map_err(|_| format!("{value:?} is no header value"));
        wrong.taken(place, fits)?;
        Some((EcoString::from(wrong.taken(place, known)?.as_str()), EcoString::from(value)))
    };
    let headers = page.headers.iter().filter_map(|(name, value)| header(wrong, name, value)).collect();
    let targets = targets(wrong, place, page, statics);
    let criticality = page.criticality.as_deref().map(|text| {
        let none = || format!("criticality: {text:?} is none of sheddable, normal and critical");
        Criticality::named(text).ok_or_else(none)
    });
    Some(Route {
        id: page.id.as_str().into(),
        hosts: page.hosts.iter().map(|host| HostMatch::parse(host)).collect(),
        path_prefix: page.path_prefix.as_deref().map(EcoString::from),
        headers,
        targets,
        rewrite_prefix: page.rewrite_prefix.as_deref().map(|path| path.trim_end_matches('/').into()),
        policy: Policy {
            timeout_ms: page.timeout_ms,
            try_timeout_ms: page.try_timeout_ms,
            tries_max: page.tries_max,
            criticality: criticality.and_then(|criticality| wrong.taken(place, criticality)),
            repeatable: page.repeatable,
        },
    })
}

/// Where a route leads: one service, or several by weight.
fn targets(wrong: &mut Mistakes, place: &str, page: &page::Route, statics: &BTreeSet<&str>) -> Vec<Target> {
    let only = page::Target { service: page.service.clone(), fixed: page.fixed.clone(), weight: 1 };
    let named = page.service.is_some() || page.fixed.is_some();
    let all = if page.targets.is_empty() { std::slice::from_ref(&only) } else { &page.targets };
    let unclear = named != page.targets.is_empty();
    wrong.require(!unclear, format!("{place}: exactly one of service, static and targets is needed"));
    wrong.require(all.iter().any(|one| one.weight > 0), format!("{place}.targets: one must weigh something"));
    let target = |one: &page::Target| {
        let name = target_name(wrong, place, one.service.as_deref(), one.fixed.as_deref(), statics);
        Some(Target { name: name?, weight: one.weight })
    };
    if unclear { Vec::new() } else { all.iter().filter_map(target).collect() }
}

/// A registered service, or static endpoints that are configured.
pub(super) fn target_name(
    wrong: &mut Mistakes,
    place: &str,
    service: Option<&str>,
    fixed: Option<&str>,
    statics: &BTreeSet<&str>,
) -> Option<Name> {
    match (service, fixed) {
        (Some(service), None) => wrong.taken(place, service_name(service)),
        (None, Some(name)) => {
            let known = statics.contains(name);
            wrong.require(known, format!("{place}.static: no static endpoints are called {name:?}"));
            Some(Name::Static(name.into()))
        }
        (Some(_), Some(_)) | (None, None) => {
            wrong.require(false, format!("{place}: exactly one of service and static is needed"));
            None
        }
    }
}

/// Reads `[[namespace@@]group@@]service`.
pub(crate) fn service_name(text: &str) -> Result<Name, String> {
    let parts: Vec<&str> = text.split("@@").collect();
    let key = match parts[..] {
        [service] => ServiceKey::parse("", "", service),
        [group, service] => ServiceKey::parse("", group, service),
        [namespace, group, service] => ServiceKey::parse(namespace, group, service),
        _ => return Err(format!("{text:?} is not [[namespace@@]group@@]service")),
    };
    key.map(Name::Registered).map_err(|why| why.to_string())
}

fn settings(wrong: &mut Mistakes, page: &page::Page) -> Option<Settings> {
    wrong.require(page.ladder.over_provision >= 1.0, "ladder.over_provision: at least 1");
    wrong.require((0.0..=1.0).contains(&page.ladder.panic_share), "ladder.panic_share: from 0 to 1");
    wrong.require((0.0..=1.0).contains(&page.access_log.share), "access_log.share: from 0 to 1");
    wrong.require(page.admission.queue_ms > 0, "admission.queue_ms: at least 1");
    wrong.require(page.access_log.queue_max > 0, "access_log.queue_max: at least 1");
    let sharing = &page.limit_sharing;
    wrong.require(sharing.every_ms >= 50, "limit_sharing.every_ms: at least 50");
    wrong.require(sharing.kept_ms / 3 >= sharing.every_ms, "limit_sharing.kept_ms: at least three rounds");
    wrong.require((1..=1_000).contains(&sharing.keys_max), "limit_sharing.keys_max: from 1 to 1000");
    wrong.require(page.timeouts.overall_ms > 0 && page.timeouts.try_ms > 0, "timeouts: at least 1 ms each");
    wrong
        .require((0.0..=1.0).contains(&page.ladder.region_share_min), "ladder.region_share_min: from 0 to 1");
    wrong.require(
        (0.0..=1.0).contains(&page.health.failure_share_max),
        "health.failure_share_max: from 0 to 1",
    );
    let slow_factor = page.ladder.slow_factor;
    wrong.require(
        slow_factor == 0.0 || (2.0..=1_000.0).contains(&slow_factor),
        "ladder.slow_factor: 0, or from 2 to 1000",
    );
    wrong.require((1..=60_000).contains(&page.ladder.slow_ms), "ladder.slow_ms: from 1 to 60000");
    let health = HealthRules {
        failures_max: page.health.failures_max,
        probe_failures_max: page.probing.failures_max,
        failure_share_max: page.health.failure_share_max,
        share_calls_min: page.health.share_calls_min,
        slow_start_ms: page.health.slow_start_ms,
        eject_ms: page.health.eject_ms,
        eject_max_ms: page.health.eject_max_ms,
        failure_penalty_us: page.health.failure_penalty_ms.saturating_mul(1_000),
        latency_decay_ms: page.health.latency_decay_ms,
        slow_floor_us: page.ladder.slow_ms.saturating_mul(1_000),
        slow_factor,
    };
    let over_provision = page.ladder.over_provision;
    let trusted = ranges(wrong, "admission.trusted_cidrs", &page.admission.trusted_cidrs);
    let limits = page.limits.iter().filter_map(|limit| limit_of(wrong, limit)).collect();
    Some(Settings {
        pick: PickRules {
            over_provision,
            panic_share: page.ladder.panic_share,
            region_share_min: page.ladder.region_share_min,
            health,
        },
        upstream: page.upstream,
        endpoint_tls: endpoint_tls(wrong, page),
        overall_ms: page.timeouts.overall_ms,
        try_ms: page.timeouts.try_ms,
        retries: retries(wrong, &page.retries),
        probing: probing(wrong, page),
        hedging: hedging(wrong, page.hedging, page.health.silence_min_ms),
        in_flight_max: page.admission.in_flight_max,
        crowding: page
            .admission
            .adaptive
            .then_some(Crowding { queue_max: page.admission.queue_max, queue_ms: page.admission.queue_ms }),
        limiter_keys_max: page.admission.limiter_keys_max,
        sharing: page.limit_sharing,
        trusted,
        limits,
        access_share: page.access_log.share,
        show_place: page.answers.show_place,
    })
}

/// Endpoints that speak TLS need somebody to be trusted.
fn endpoint_tls(wrong: &mut Mistakes, page: &page::Page) -> Option<EndpointTls> {
    let secure = |endpoint: &page::StaticEndpoint| {
        let protocol = endpoint.protocol.as_deref().and_then(|text| text.parse::<Protocol>().ok());
        protocol.is_some_and(Protocol::is_secure)
    };
    let needed = page.statics.iter().flat_map(|fixed| &fixed.endpoints).any(secure);
    wrong.require(
        !needed || page.endpoint_tls.is_some(),
        "endpoint_tls: needed by endpoints that speak https or h2",
    );
    if let Some(tls) = &page.endpoint_tls {
        let whole = tls.certificate.is_some() == tls.key.is_some();
        wrong.require(whole, "endpoint_tls: certificate and key come together");
    }
    page.endpoint_tls.clone()
}

/// The greatest status that gRPC knows.
const GRPC_STATUS_MAX: u32 = 16;

fn retries(wrong: &mut Mistakes, page: &page::Retries) -> Retries {
    let method =
        |text: &String| Method::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is no method"));
    let status = |code: &u16| StatusCode::from_u16(*code).map_err(|_| format!("{code} is no status"));
    let failures = |code: &u32| (1..=GRPC_STATUS_MAX).contains(code);
    let all_fail = page.grpc_statuses.iter().all(failures);
    wrong.require(all_fail, format!("retries.grpc_statuses: from 1 to {GRPC_STATUS_MAX}"));
    wrong.require((1..=8).contains(&page.tries_max), "retries.tries_max: from 1 (the first try) to 8");
    Retries {
        methods: page.methods.iter().filter_map(|m| wrong.taken("retries.methods", method(m))).collect(),
        statuses: page.statuses.iter().filter_map(|s| wrong.taken("retries.statuses", status(s))).collect(),
        grpc_statuses: page.grpc_statuses.clone(),
        tries_max: page.tries_max,
        body_bytes_max: page.body_bytes_max,
        budget: BudgetRules {
            percent: page.budget_percent,
            per_second: page.budget_per_second,
            burst: page.budget_burst,
        },
        pause_ms: page.pause_ms,
    }
}

fn probing(wrong: &mut Mistakes, page: &page::Page) -> Probing {
    wrong.require(page.probing.at_once_max > 0, "probing.at_once_max: at least 1");
    let mut probes = Vec::new();
    for one in &page.probes {
        let (path, interval_ms, timeout_ms) = (&one.path, one.interval_ms, one.timeout_ms);
        let plain = |path: &String| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        wrong.require(path.as_ref().is_none_or(plain), "probes.path: a path that starts with a slash");
        wrong.require(interval_ms >= 100, "probes.interval_ms: at least 100");
        wrong.require((1..=interval_ms).contains(&timeout_ms), "probes.timeout_ms: from 1 to interval_ms");
        let probe = Probe { path: path.as_deref().map(EcoString::from), interval_ms, timeout_ms };
        let names = one.services.iter().filter_map(|text| wrong.taken("probes.services", any_name(text)));
        probes.extend(names.map(|name| (name, probe.clone())));
    }
    Probing { at_once_max: page.probing.at_once_max, probes }
}

fn hedging(wrong: &mut Mistakes, page: page::Hedging, silence_min_ms: u64) -> Hedging {
    let (delay_min_ms, delay_max_ms) = (page.delay_min_ms, page.delay_max_ms);
    wrong.require(
        delay_max_ms == 0 || (1..=delay_max_ms).contains(&delay_min_ms),
        "hedging.delay_min_ms: from 1 to hedging.delay_max_ms",
    );
    let (percent, per_second, burst) = (page.budget_percent, page.budget_per_second, page.budget_burst);
    Hedging {
        rules: HedgeRules { delay_min_ms, delay_max_ms, silence_min_ms },
        budget: BudgetRules { percent, per_second, burst },
    }
}

fn limit_of(wrong: &mut Mistakes, page: &page::Limit) -> Option<Limit> {
    wrong.require(page.requests_per_second > 0, "limits.requests_per_second: at least 1");
    wrong.require(page.burst > 0, "limits.burst: at least 1");
    let mut services = None;
    for text in page.services.iter().flatten() {
        let name = wrong.taken("limits.services", any_name(text))?;
        services.get_or_insert_with(BTreeSet::new).insert(name);
    }
    let (requests_per_second, burst) = (page.requests_per_second.max(1), page.burst.max(1));
    Some(Limit { by: page.by, services, requests_per_second, burst })
}
