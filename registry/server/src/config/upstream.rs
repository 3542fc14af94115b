//! Where configs are kept, if not nowhere.

use serde::Deserialize;

/// The most servers that are named.
const SERVERS_MAX: usize = 32;

/// The port of a server that names none.
const PORT: u16 = 8848;

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigPage {
    upstream: String,
    connect_ms: u64,
}

/// The Nacos that keeps configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Host and HTTP port of each of its servers; gRPC is 1000 above.
    pub servers: Vec<(String, u16)>,
    /// Time for a connection, and for a client to be taken, in milliseconds.
    pub connect_ms: u64,
}

impl ConfigPage {
    /// Reads the servers, none if none is named.
    pub(super) fn read(&self) -> Result<Option<UpstreamConfig>, String> {
        if self.connect_ms == 0 {
            return Err("connect_ms must be at least 1".to_owned());
        }
        let names = self.upstream.split(',').map(str::trim).filter(|name| !name.is_empty());
        let servers = names.map(server).collect::<Result<Vec<_>, _>>()?;
        if servers.len() > SERVERS_MAX {
            return Err(format!("upstream names more than {SERVERS_MAX} servers"));
        }
        let connect_ms = self.connect_ms;
        Ok((!servers.is_empty()).then_some(UpstreamConfig { servers, connect_ms }))
    }
}

/// `host`, `host:port` or `http://host:port`; an IPv6 address stands in brackets.
fn server(name: &str) -> Result<(String, u16), String> {
    let wrong = || format!("upstream: {name:?} is not of the form host:port");
    let plain = name.strip_prefix("http://").unwrap_or(name).trim_end_matches('/');
    let (host, port) = match plain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        Some(_) | None => (plain, PORT),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(fits) || (host.contains(':') && !host.starts_with('[')) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(upstream: &str) -> Result<Option<UpstreamConfig>, String> {
        ConfigPage { upstream: upstream.to_owned(), connect_ms: 1 }.read()
    }

    #[test]
    fn servers_are_named_by_host_and_port() {
        let servers = |text: &str| read(text).map(|read| read.map(|config| config.servers));
        let of = |host: &str, port| (host.to_owned(), port);

        assert_eq!(servers(" "), Ok(None));
        assert_eq!(
            servers("nacos-0, http://10.0.0.2:8849/,[::1]:9"),
            Ok(Some(vec![of("nacos-0", 8848), of("10.0.0.2", 8849), of("[::1]", 9)]))
        );
        for wrong in ["host:port", "https://a:1", "a b", "::1"] {
            assert!(servers(wrong).is_err(), "{wrong}");
        }
    }
}
