//! The one call to etcd that is compared, over gRPC: a put.

use std::net::SocketAddr;

use anyhow::Result;
use http::uri::PathAndQuery;
use landbridge_tests::sdk::dial;
use tonic::{Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

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
