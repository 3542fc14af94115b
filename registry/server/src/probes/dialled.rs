//! Opens the connection of a probe within its time, to nowhere that is forbidden, and hands it to its method.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use landbridge_model::InstanceKey;
use landbridge_registry_core::probing::Finding;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{
    checker::{Checker, Probe},
    http, mysql,
};
use crate::config::Probes;

/// Probes one instance.
pub(super) async fn probe(instance: &InstanceKey, checker: &Checker, limits: Probes) -> Finding {
    let connect = Duration::from_millis(limits.connect_ms);
    let stream = match timeout(connect, connected(instance, checker, limits)).await {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => return Finding::Unable,
        Ok(Err(error)) => return judge(&error),
        Err(_) => return Finding::Soft,
    };
    let talk = async {
        match &checker.probe {
            Probe::Tcp => Ok(Finding::Well),
            Probe::Http(page) => http::ask(stream, &host(instance, checker), page).await,
            Probe::MySql(query) => mysql::ask(stream, query).await,
        }
    };
    match timeout(Duration::from_millis(limits.answer_ms), talk).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => judge(&error),
        Err(_) => Finding::Soft,
    }
}

/// A connection to the instance; none if it may not be probed.
async fn connected(
    instance: &InstanceKey,
    checker: &Checker,
    limits: Probes,
) -> io::Result<Option<TcpStream>> {
    let bare = instance.ip.as_str().trim_start_matches('[').trim_end_matches(']');
    let port = checker.port.unwrap_or(instance.port);
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, port)),
        Err(_) => lookup_host((bare, port)).await?.next(),
    };
    let address =
        address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    if !limits.allow_local && is_local(address.ip()) {
        return Ok(None);
    }
    TcpStream::connect(address).await.map(Some)
}

/// Nothing listens there: that is certain. All else may pass (Nacos 2.5 `TcpHealthCheckProcessor`).
fn judge(error: &io::Error) -> Finding {
    if error.kind() == io::ErrorKind::ConnectionRefused { Finding::Hard } else { Finding::Soft }
}

/// How the page's server is named in the request.
fn host(instance: &InstanceKey, checker: &Checker) -> String {
    let ip = instance.ip.as_str();
    let port = checker.port.unwrap_or(instance.port);
    if ip.contains(':') && !ip.starts_with('[') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// This machine, its link, and what is no single machine.
fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::{Address, Cluster};

    use super::*;

    #[test]
    fn a_probe_reaches_no_machine_of_our_own_in_any_spelling() {
        let local =
            ["127.0.0.1", "127.9.9.9", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1", "0.0.0.0"];
        let other = ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1"];

        assert!(local.iter().all(|ip| is_local(ip.parse().expect("an address"))));
        assert!(!other.iter().any(|ip| is_local(ip.parse().expect("an address"))));
    }

    #[tokio::test]
    async fn a_forbidden_target_says_nothing_about_its_health() {
        let limits = Probes {
            enabled: true,
            connect_ms: 500,
            answer_ms: 1_000,
            at_once_max: 1,
            hard_times: 1,
            allow_local: false,
        };
        let instance = InstanceKey {
            ip: Address::parse("localhost").expect("a name"),
            port: 1,
            cluster: Cluster::parse("").expect("the default cluster"),
        };

        let finding = probe(&instance, &Checker { probe: Probe::Tcp, port: None }, limits).await;

        assert_eq!(finding, Finding::Unable);
        let allowed = Probes { allow_local: true, ..limits };
        let finding = probe(&instance, &Checker { probe: Probe::Tcp, port: None }, allowed).await;
        assert_eq!(finding, Finding::Hard, "nothing listens on port 1");
    }
}
