//! The proxies that are compared, each with one worker, two backends, kept connections and repeats of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use landbridge_tests::process::{Process, accepts, free_base};
use serde_json::json;
use tempfile::TempDir;

use crate::servers;

/// Which HTTP both sides speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2 in clear text.
    Two,
}

/// A proxy.
#[derive(Clone, Copy)]
pub enum Peer {
    /// The gateway, everything on.
    Landbridge,
    /// A bare relay on hyper.
    Relay,
    /// From the path.
    Haproxy,
    /// From the path.
    Nginx,
    /// From the variable `ENVOY`.
    Envoy,
}

/// A port of this machine.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A process, where it listens, and its files; or why there is none.
type Started = std::result::Result<(Process, SocketAddr, TempDir), String>;

impl Peer {
    pub const ALL: [Self; 5] = [Self::Landbridge, Self::Relay, Self::Haproxy, Self::Nginx, Self::Envoy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Landbridge => "landbridge",
            Self::Relay => "relay",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    /// Starts it before two backends, if it is on this machine.
    pub async fn start(self, version: Version, backends: &[u16; 2]) -> Result<Started> {
        let port = free_base()?;
        let files = tempfile::tempdir()?;
        let folder = files.path();
        let started = match self {
            Self::Landbridge => {
                let places = servers::Places {
                    listen: loopback(port),
                    admin: loopback(free_base()?),
                    backends: *backends,
                    http2: version == Version::Two,
                };
                let page = servers::page(&places, folder)?;
                let file = written(folder, "gateway.toml", &page)?;
                Ok(Process::start("gateway", &[file.display().to_string()])?)
            }
            Self::Relay => {
                let version = if version == Version::One { 1 } else { 2 };
                let words = [version, port, backends[0], backends[1]].map(|word| word.to_string());
                Ok(Process::start("relay", &words)?)
            }
            Self::Haproxy => haproxy(folder, port, version, backends),
            Self::Nginx => nginx(folder, port, version, backends),
            Self::Envoy => envoy(folder, port, version, backends),
        };
        let process = match started {
            Ok(process) => process,
            Err(why) => return Ok(Err(why)),
        };
        accepts(loopback(port)).await.with_context(|| format!("{} does not start", self.name()))?;
        Ok(Ok((process, loopback(port), files)))
    }
}

fn written(folder: &Path, name: &str, text: &str) -> std::io::Result<PathBuf> {
    let file = folder.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

/// Starts a program, or says that it is not there.
fn run(program: &str, arguments: &[&str]) -> std::result::Result<Process, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process::of(&mut command).map_err(|error| format!("{program}: {error:#}"))
}

fn haproxy(
    folder: &Path,
    port: u16,
    version: Version,
    backends: &[u16; 2],
) -> std::result::Result<Process, String> {
    let proto = if version == Version::Two { " proto h2" } else { "" };
    let page = format!(
        "global\n  nbthread 1\n  maxconn 8000\n\
         defaults\n  mode http\n  option http-keep-alive\n  http-reuse always\n  retries 3\n  option redispatch\n  \
         retry-on conn-failure empty-response response-timeout 503\n  \
         timeout connect 500ms\n  timeout client 60s\n  timeout server 5s\n  timeout http-request 10s\n\
         frontend calls\n  bind 127.0.0.1:{port}{proto}\n  default_backend web\n\
         backend web\n  balance roundrobin\n  \
         server a 127.0.0.1:{}{proto}\n  server b 127.0.0.1:{}{proto}\n",
        backends[0], backends[1]
    );
    let file = written(folder, "haproxy.cfg", &page).map_err(|error| error.to_string())?;
    run("haproxy", &["-db", "-f", &file.display().to_string()])
}

fn nginx(
    folder: &Path,
    port: u16,
    version: Version,
    backends: &[u16; 2],
) -> std::result::Result<Process, String> {
    if version == Version::Two {
        return Err("speaks no HTTP/2 to backends but gRPC".to_owned());
    }
    let at = folder.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.map(|name| format!("  {name}_temp_path {at}/{name};\n")).concat();
    let page = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\n\
         events {{ worker_connections 8000; }}\n\
         http {{\n  access_log off;\n{paths}\
         upstream web {{ server 127.0.0.1:{}; server 127.0.0.1:{}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000;\n\
         location / {{ proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_next_upstream error timeout http_503; proxy_next_upstream_tries 4; proxy_connect_timeout 500ms; }} }} }}\n",
        backends[0], backends[1]
    );
    let file = written(folder, "nginx.conf", &page).map_err(|error| error.to_string())?;
    run("nginx", &["-p", &at.to_string(), "-c", &file.display().to_string()])
}

fn envoy(
    folder: &Path,
    port: u16,
    version: Version,
    backends: &[u16; 2],
) -> std::result::Result<Process, String> {
    let program = std::env::var("ENVOY").map_err(|_| "ENVOY names no program".to_owned())?;
    let socket = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let endpoints = backends.map(|port| json!({ "endpoint": { "address": socket(port) } }));
    let route = json!({
        "match": { "prefix": "/" },
        "route": {
            "cluster": "web", "timeout": "30s",
            "retry_policy": { "retry_on": "5xx,reset,connect-failure", "num_retries": 3, "per_try_timeout": "5s" },
        },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "calls",
        "codec_type": if version == Version::Two { "HTTP2" } else { "HTTP1" },
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    let protocol = if version == Version::Two { "http2_protocol_options" } else { "http_protocol_options" };
    let page = json!({ "static_resources": {
        "listeners": [{
            "name": "calls", "address": socket(port),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
            }] }],
        }],
        "clusters": [{
            "name": "web", "type": "STATIC", "connect_timeout": "0.5s", "lb_policy": "LEAST_REQUEST",
            "outlier_detection": {},
            "load_assignment": { "cluster_name": "web", "endpoints": [{ "lb_endpoints": endpoints }] },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { protocol: {} },
                },
            },
        }],
    } });
    let file = written(folder, "envoy.json", &page.to_string()).map_err(|error| error.to_string())?;
    run(
        &program,
        &["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", &file.display().to_string()],
    )
}
