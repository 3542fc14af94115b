//! Nacos 2.x and 3.x over gRPC: typed JSON in a protobuf envelope.

pub mod answer;
pub mod ask;
mod kind;
mod push;
mod request;
mod told;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

pub use kind::Kind;
pub use proto::{
    Metadata, Payload,
    bi_request_stream_client::BiRequestStreamClient,
    bi_request_stream_server::{BiRequestStream, BiRequestStreamServer},
    request_client::RequestClient,
    request_server::{Request as RequestService, RequestServer},
};
pub use push::Push;
pub use request::{
    Ack, BATCH_INSTANCES_MAX, ConnectionSetup, FuzzyWatch, PersistentChange, Publish, Request, Subscribe,
    WATCHED_MAX,
};
pub use told::{HOSTS_MAX, Seen, Told};

/// The generated messages, clients and servers.
#[allow(missing_docs, unused_qualifications, nonstandard_style, clippy::all, reason = "generated")]
pub mod proto {
    tonic::include_proto!("_");
}

/// The largest message either side takes, in bytes, as in Nacos; larger ones end the call.
pub const MESSAGE_BYTES_MAX: usize = 10 * 1024 * 1024;

/// `google.protobuf.Any` as Nacos uses it: only the value, never a type url.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Any {
    /// UTF-8 JSON.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Payload {
    /// A message of a type; nothing else is set, as Nacos servers do.
    pub fn new(type_name: &str, json: impl Into<Bytes>) -> Self {
        let metadata = Metadata { r#type: type_name.to_owned(), ..Metadata::default() };
        Self { metadata: Some(metadata), body: Some(Any { value: json.into() }) }
    }

    /// The type's simple class name, empty when missing.
    pub fn type_name(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.r#type)
    }

    /// The type, if it is one that clients send.
    pub fn kind(&self) -> Kind {
        Kind::of(self.type_name())
    }

    /// The JSON, empty when missing.
    pub fn json(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], |body| &body.value)
    }

    /// What the client says its address is; only to be shown, never to be trusted.
    pub fn client_ip(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.client_ip)
    }

    /// A header, in any case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = &self.metadata.as_ref()?.headers;
        let mut hits = headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        hits.next().map(|(_, value)| value.as_str())
    }

    /// The message with its gRPC prefix, for streams that write their own frames.
    pub fn framed(&self) -> Bytes {
        let length = self.encoded_len();
        let mut frame = BytesMut::with_capacity(length + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length).expect("messages are bounded far below 4 GiB"));
        self.encode_raw(&mut frame);
        frame.freeze()
    }
}
