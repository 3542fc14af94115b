//! Calls to other members: one connection to each, made when it is needed and made again after it broke.
//!
//! Invariant: bytes go only to who shows a member's certificate of this region with the number that is called.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use landbridge_model::{MemberId, Region};
use landbridge_runtime::tls::{Identity, PeerName, PeerRole};
use landbridge_store::{Call, CallError, Rpc, Transport};
use landbridge_wire::peers::{HailAnswer, HailCall, MESSAGE_BYTES_MAX, PeersClient, RaftCall};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::list::{Addresses, Place};

/// How long a connection may take to stand, TLS counted in.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// After a failed attempt a caller waits so long, so that retries never spin.
const FAILED_PAUSE: Duration = Duration::from_millis(25);

/// How long a connection may be silent before it is asked for a sign of life, and how long that may take.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// No call is open longer than this, whatever its caller thinks.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// What a connection is made of.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// A way to open a connection to an address; another network, such as a simulated one, brings its own.
pub type Connect =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>> + Send + Sync>;

/// The ordinary way.
pub fn over_tcp() -> Connect {
    Arc::new(|address| {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    })
}

/// How a member is called.
#[derive(Clone)]
pub struct Calls {
    shared: Arc<Shared>,
}

struct Shared {
    addresses: Addresses,
    region: Region,
    /// None only where the network itself is trusted, as in a simulation.
    identity: Option<Identity>,
    connect: Connect,
    channels: Mutex<BTreeMap<MemberId, Channel>>,
}

impl Calls {
    /// Calls to the members of a list.
    pub fn new(addresses: Addresses, region: Region, identity: Option<Identity>, connect: Connect) -> Self {
        let channels = Mutex::default();
        Self { shared: Arc::new(Shared { addresses, region, identity, connect, channels }) }
    }

    /// Asks a member how it is.
    pub(crate) async fn hail(&self, to: MemberId, within: Duration) -> Result<HailAnswer, String> {
        let asked = async { self.client(to).hail(HailCall {}).await };
        match timeout(within, asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(innermost(&status)),
            Err(_) => Err(format!("no answer in {} ms", within.as_millis())),
        }
    }

    /// Which member of the region stands at a place, as its certificate says.
    pub(crate) async fn number_at(&self, place: &Place) -> Result<MemberId, String> {
        let asked = timeout(CONNECT_WITHIN, self.shared.name_at(place)).await;
        let name =
            asked.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
        number_of(&name, &self.shared.region)
            .ok_or_else(|| format!("{name} is no member of region {}'s registry", self.shared.region))
    }

    fn client(&self, to: MemberId) -> PeersClient<Channel> {
        PeersClient::new(self.channel(to))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn channel(&self, to: MemberId) -> Channel {
        let mut channels = self.shared.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let dialled = || {
            let shared = Arc::clone(&self.shared);
            let connector = tower::service_fn(move |_| {
                let shared = Arc::clone(&shared);
                Box::pin(async move { shared.open(to).await.map(TokioIo::new) })
                    as Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Io>>>> + Send>>
            });
            Endpoint::from_static("http://landbridge")
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE)
                .keep_alive_while_idle(true)
                .connect_with_connector_lazy(connector)
        };
        channels.entry(to).or_insert_with(dialled).clone()
    }
}

impl Shared {
    async fn open(&self, to: MemberId) -> io::Result<Box<dyn Io>> {
        let opened = timeout(CONNECT_WITHIN, self.connect(to)).await;
        let opened = opened.unwrap_or_else(|_| Err(io::Error::other("no connection in time")));
        if opened.is_err() {
            tokio::time::sleep(FAILED_PAUSE).await;
        }
        opened
    }

    async fn name_at(&self, place: &Place) -> io::Result<PeerName> {
        let identity = self.identity.as_ref().ok_or_else(|| io::Error::other("nobody has a name here"))?;
        let (_, name) = identity.connect((self.connect)(place.raft()).await?).await?;
        Ok(name)
    }

    async fn connect(&self, to: MemberId) -> io::Result<Box<dyn Io>> {
        let place = self.addresses.of(to).ok_or_else(|| io::Error::other("no address is known"))?;
        let io = (self.connect)(place.raft()).await?;
        let Some(identity) = &self.identity else { return Ok(io) };
        let (io, name) = identity.connect(io).await?;
        if number_of(&name, &self.region) != Some(to) {
            return Err(io::Error::other(format!("{name} answered at {} of member {to}", place.raft())));
        }
        Ok(Box::new(io))
    }
}

/// Which member of the region a certificate names, if it names one.
pub(crate) fn number_of(name: &PeerName, region: &Region) -> Option<MemberId> {
    let here = name.role == PeerRole::Registry && name.region == region.as_str();
    here.then(|| name.id.parse().ok().map(MemberId)).flatten()
}

impl Transport for Calls {
    fn call(&self, to: MemberId, rpc: Rpc, body: Bytes) -> Call<'_> {
        let mut client = self.client(to);
        Box::pin(async move {
            let asked = client.raft(RaftCall { rpc: rpc.number(), body });
            match timeout(CALL_WITHIN, asked).await {
                Ok(Ok(answer)) => Ok(answer.into_inner().body),
                Ok(Err(status)) => Err(failed(&status)),
                Err(_) => Err(CallError::Failed("no answer in time".to_owned())),
            }
        })
    }
}

/// A peer that said no is there; everything else is a broken way.
fn failed(status: &Status) -> CallError {
    let why = innermost(status);
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => CallError::Unreachable(why),
        _ => CallError::Failed(why),
    }
}

/// A status's innermost cause, where the useful words are; its own message if it has none.
fn innermost(status: &Status) -> String {
    let Some(mut cause) = std::error::Error::source(status) else { return status.message().to_owned() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
