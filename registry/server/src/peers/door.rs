//! Where other members call: their Raft calls go to the store, a hail is answered at once.
//!
//! Invariant: only members of this region, by certificate, are heard.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use landbridge_model::Region;
use landbridge_runtime::{
    http::{self, HttpLimits, Serving},
    shutdown::Shutdown,
    tls::{Identity, PeerName},
};
use landbridge_store::{CallError, Rpc, Store};
use landbridge_wire::peers::{
    HailAnswer, HailCall, MESSAGE_BYTES_MAX, Peers, PeersServer, RaftAnswer, RaftCall,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use super::call::number_of;
use crate::{session::Sessions, state::State};

/// Calls of one peer that are open at once; more wait.
const CALLS_MAX: u32 = 256;

/// Connections of all peers; each needs one, and a second while it makes a new one.
const CONNECTIONS_MAX: u32 = 64;

/// Who answers Raft calls.
pub type RaftAnswers =
    Arc<dyn Fn(Rpc, Bytes) -> Pin<Box<dyn Future<Output = Result<Bytes, CallError>> + Send>> + Send + Sync>;

/// The service of one member.
#[derive(Clone)]
pub struct Door {
    raft: RaftAnswers,
    store: Store,
    state: Option<Arc<State>>,
    sessions: Option<Arc<Sessions>>,
    /// Whose members are heard; none only where the network itself is trusted, as in a simulation.
    region: Option<Region>,
}

impl Door {
    /// Answers with this store, whoever calls: for a network that is trusted, such as a simulated one.
    pub fn trusting(store: Store) -> PeersServer<Self> {
        Self { raft: answers(store.clone()), store, state: None, sessions: None, region: None }.service()
    }

    fn service(self) -> PeersServer<Self> {
        PeersServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(region) = &self.region else { return Ok(()) };
        let name = request.extensions().get::<PeerName>();
        let name = name.ok_or_else(|| Status::internal("the connection has no name"))?;
        match number_of(name, region) {
            Some(_) => Ok(()),
            None => {
                Err(Status::permission_denied(format!("{name} is no member of region {region}'s registry")))
            }
        }
    }
}

fn answers(store: Store) -> RaftAnswers {
    Arc::new(move |rpc, body| {
        let store = store.clone();
        Box::pin(async move { store.answer(rpc, body).await })
    })
}

#[tonic::async_trait]
impl Peers for Door {
    async fn raft(&self, request: Request<RaftCall>) -> Result<Response<RaftAnswer>, Status> {
        self.admit(&request)?;
        let RaftCall { rpc, body } = request.into_inner();
        let known = Rpc::from_number(rpc);
        let rpc = known.ok_or_else(|| Status::unimplemented(format!("call {rpc} is not known")))?;
        match (self.raft)(rpc, body).await {
            Ok(body) => Ok(Response::new(RaftAnswer { body })),
            Err(CallError::Unreachable(why)) => Err(Status::unavailable(why)),
            Err(CallError::Failed(why)) => Err(Status::failed_precondition(why)),
        }
    }

    async fn hail(&self, request: Request<HailCall>) -> Result<Response<HailAnswer>, Status> {
        self.admit(&request)?;
        let phase = self.state.as_ref().map_or("ready", |state| state.phase());
        let version = env!("CARGO_PKG_VERSION");
        Ok(Response::new(HailAnswer {
            phase: phase.to_owned(),
            version: version.to_owned(),
            applied: self.store.places().applied.unwrap_or_default(),
            disk: self.store.left().word().to_owned(),
            connections: self
                .sessions
                .as_ref()
                .map(|sessions| u32::try_from(sessions.count()).unwrap_or(u32::MAX)),
        }))
    }
}

/// Serves until the process ends.
pub(crate) async fn serve(
    listener: TcpListener,
    identity: Identity,
    store: Store,
    (region, state, sessions): (Region, Arc<State>, Arc<Sessions>),
    shutdown: Shutdown,
) {
    let limits = HttpLimits {
        connections_max: CONNECTIONS_MAX,
        connections_per_address_max: CONNECTIONS_MAX,
        streams_max: CALLS_MAX,
        // A part of a snapshot, or a full append, in one go.
        stream_window_bytes: 2 << 20,
        connection_window_bytes: 4 << 20,
        ..HttpLimits::recommended().streaming()
    };
    let serving = Serving { listener, what: "raft", tls: Some(identity), limits, shutdown };
    let raft = answers(store.clone());
    let door = Door { raft, store, state: Some(state), sessions: Some(sessions), region: Some(region) };
    http::serve(serving, door.service()).await;
}
