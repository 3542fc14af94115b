//! Checks what a page says of ports: listeners for calls and service ports.

use std::collections::BTreeSet;

use super::{
    Cidr, Listener, ServicePort, page,
    read::{Mistakes, target_name},
};

/// The listeners and service ports of a page.
pub(super) fn ports(wrong: &mut Mistakes, page: &page::Page) -> (Vec<Listener>, Vec<ServicePort>) {
    let any = !page.listeners.is_empty() || !page.service_ports.is_empty();
    wrong.require(any, "listeners: at least one is needed (or a service port), or no call can come in");
    let mut names = BTreeSet::new();
    let all = page.listeners.iter().map(|listener| &listener.name);
    for name in all.chain(page.service_ports.iter().map(|port| &port.name)) {
        wrong.require(names.insert(name.as_str()), format!("listeners.{name}: this name is taken twice"));
    }
    let statics: BTreeSet<&str> = page.statics.iter().map(|fixed| fixed.name.as_str()).collect();
    let listeners = page.listeners.iter().map(|one| listener(wrong, one)).collect();
    let service_ports =
        page.service_ports.iter().filter_map(|one| service_port(wrong, one, &statics)).collect();
    (listeners, service_ports)
}

fn listener(wrong: &mut Mistakes, page: &page::Listener) -> Listener {
    let place = format!("listeners.{}.proxy_from", page.name);
    let proxy_from = ranges(wrong, &place, &page.proxy_from);
    Listener { name: page.name.as_str().into(), listen: page.listen, tls: page.tls.clone(), proxy_from }
}

fn service_port(
    wrong: &mut Mistakes,
    page: &page::ServicePort,
    statics: &BTreeSet<&str>,
) -> Option<ServicePort> {
    let place = format!("service_ports.{}", page.name);
    let target = target_name(wrong, &place, page.service.as_deref(), page.fixed.as_deref(), statics);
    wrong.require(
        !(page.http && page.proxy_to_endpoints),
        format!("{place}: http and proxy_to_endpoints exclude each other"),
    );
    wrong.require(page.idle_timeout_ms != Some(0), format!("{place}.idle_timeout_ms: at least 1"));
    let proxy_from = ranges(wrong, &format!("{place}.proxy_from"), &page.proxy_from);
    Some(ServicePort {
        name: page.name.as_str().into(),
        listen: page.listen,
        target: target?,
        idle_timeout_ms: page.idle_timeout_ms,
        proxy_from,
        proxy_to_endpoints: page.proxy_to_endpoints,
        http: page.http,
    })
}

/// Reads ranges of addresses.
pub(super) fn ranges(wrong: &mut Mistakes, place: &str, texts: &[String]) -> Vec<Cidr> {
    let range = |text: &String| {
        let range = Cidr::parse(text).ok_or_else(|| format!("{text:?} is no range such as 10.0.0.0/8"));
        wrong.taken(place, range)
    };
    texts.iter().filter_map(range).collect()
}
