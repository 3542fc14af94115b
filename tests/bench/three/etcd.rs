//! Three members of etcd, and the one call to them that is compared: a put.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use http::uri::PathAndQuery;
use landbridge_tests::{
    process::{Process, free_port},
    sdk::dial,
    wait::within,
};
use tempfile::TempDir;
use tonic::{Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// A group must take its first put within this.
const FORMED_WITHIN: Duration = Duration::from_secs(60);

/// etcd's `PutRequest`; other fields stay at what they are by default.
#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// etcd's `PutResponse`, of which nothing is read.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

/// A group of three.
pub struct Etcd {
    pub members: Vec<Process>,
    pub addresses: Vec<SocketAddr>,
    _data: TempDir,
}

impl Etcd {
    /// Starts three members; none if etcd is not installed.
    pub fn start() -> Result<Option<Self>> {
        let data = tempfile::tempdir()?;
        let mut ports = Vec::new();
        for _ in 0..3 {
            ports.push((free_port()?, free_port()?));
        }
        let peer = |(place, (_, port)): (usize, &(u16, u16))| format!("m{place}=http://127.0.0.1:{port}");
        let cluster = ports.iter().enumerate().map(peer).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (place, (client, peer)) in ports.iter().enumerate() {
            let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let mut command = Command::new("etcd");
            command
                .args(["--name", &format!("m{place}"), "--initial-cluster", &cluster])
                .arg("--data-dir")
                .arg(data.path().join(place.to_string()))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster-state", "new", "--log-level", "panic"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            match Process::of(&mut command) {
                Ok(process) => members.push(process),
                Err(_) if place == 0 => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let addresses = ports.iter().map(|(client, _)| SocketAddr::from(([127, 0, 0, 1], *client))).collect();
        Ok(Some(Self { members, addresses, _data: data }))
    }

    /// Waits until a first put is answered.
    pub async fn formed(&self) -> Result<()> {
        let put = async || {
            let mut client = Client::dial(self.addresses[0]).await.ok()?;
            client.put("first".into(), Vec::new()).await.ok()
        };
        within(FORMED_WITHIN, put).await.context("etcd never took a put")
    }
}

/// One connection.
#[derive(Clone)]
pub struct Client(Grpc<Channel>);

impl Client {
    /// Connects to one member.
    pub async fn dial(at: SocketAddr) -> Result<Self> {
        Ok(Self(Grpc::new(dial(at).await?)))
    }

    /// Puts a value; answered when a majority has it on disk.
    pub async fn put(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        self.0.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let codec = ProstCodec::<Put, Done>::default();
        self.0.unary(Request::new(Put { key: key.into_bytes(), value }), path, codec).await?;
        Ok(())
    }
}
