//! SDK connections as Nacos's own make them: one channel, one stream, many calls in flight.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use landbridge_model::{Address, Cluster, Instance, InstanceKey, Metadata, Namespace, ServiceKey};
use landbridge_wire::nacos::{
    Enrolment,
    grpc::{BiRequestStreamClient, Payload, RequestClient, ask},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

/// Acks that wait to be sent.
const ACKS_MAX: usize = 64;

/// One connection.
pub struct Connection {
    /// Unary calls.
    pub requests: RequestClient<Channel>,
    /// Our side of the stream.
    pub words: mpsc::Sender<Payload>,
    /// The server's side of it.
    pub heard: Streaming<Payload>,
}

/// Dials a server without any set-up.
pub async fn dial(address: SocketAddr) -> Result<Channel> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await
        .context("the server cannot be dialled")
}

/// Dials and sets the connection up; it is ready when the server has sent its abilities.
pub async fn connect(address: SocketAddr) -> Result<Connection> {
    set_up(dial(address).await?).await
}

/// Sets a connection up that was dialled in whatever way.
pub async fn set_up(channel: Channel) -> Result<Connection> {
    let (words, said) = mpsc::channel(ACKS_MAX);
    words.send(ask::setup("Landbridge-Tests:v1", &Namespace::parse("")?, true)).await?;
    let mut streams = BiRequestStreamClient::new(channel.clone());
    let mut heard = streams.request_bi_stream(ReceiverStream::new(said)).await?.into_inner();
    let ack = heard.message().await?.context("the stream ended before the set-up")?;
    ensure!(ack.type_name() == "SetupAckRequest", "the server said {} first", ack.type_name());
    Ok(Connection { requests: RequestClient::new(channel), words, heard })
}

/// Asks once and expects success.
pub async fn ask_well(requests: &mut RequestClient<Channel>, payload: Payload) -> Result<Payload> {
    let answer = requests.request(payload).await?.into_inner();
    let said = String::from_utf8_lossy(answer.json()).into_owned();
    ensure!(said.contains(r#""success":true"#), "refused: {said}");
    Ok(answer)
}

/// A service of the default group.
pub fn service(name: &str) -> ServiceKey {
    ServiceKey::parse("", "", name).expect("tests name services well")
}

/// An instance with metadata as Spring and Dubbo send it.
pub fn enrolment(place: u32) -> Enrolment {
    let ip = Ipv4Addr::from(0x0a00_0000 + (place >> 8));
    let pairs = [("zone", "a"), ("version", "1.0.0"), ("preserved.register.source", "SPRING_CLOUD")];
    let metadata = Metadata::new(pairs.map(|(key, value)| (key.into(), value.into())));
    Enrolment {
        key: InstanceKey {
            ip: Address::parse(&ip.to_string()).expect("an IP address is an address"),
            port: 1024 + (place & 0xff) as u16,
            cluster: Cluster::parse("").expect("the default cluster is valid"),
        },
        instance: Instance::plain(metadata.expect("three pairs are within bounds")),
        ephemeral: true,
    }
}
