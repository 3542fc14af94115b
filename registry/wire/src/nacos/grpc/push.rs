//! A push, framed so that ten thousand subscribers share one body and only the request id differs.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::Payload;
use crate::nacos::EncodedService;

/// Type of the message.
const KIND: &str = "NotifySubscriberRequest";

/// JSON before the request id.
const BEFORE_ID: &[u8] = br#"{"headers":{},"requestId":""#;

/// JSON between the request id and what all subscribers share.
const AFTER_ID: &[u8] = br#"","serviceInfo":"#;

/// One revision of a service for all its subscribers with the same filter.
#[derive(Clone, Debug)]
pub struct Push {
    /// JSON from the value of `serviceInfo` to the end.
    shared: Bytes,
}

impl Push {
    /// Encodes what all subscribers share.
    pub fn new(service: &EncodedService, last_ref_ms: u64) -> Self {
        const TAIL: &[u8] = br#","module":"naming"}"#;
        let mut json = Vec::with_capacity(service.length_max() + TAIL.len());
        service.write(&mut json, last_ref_ms);
        json.extend_from_slice(TAIL);
        Self { shared: Bytes::from(json) }
    }

    /// Two pieces that together are one gRPC frame: the first is the subscriber's own, the second is shared.
    pub fn framed(&self, request_id: u64) -> [Bytes; 2] {
        let id = request_id.to_string();
        let json = BEFORE_ID.len() + id.len() + AFTER_ID.len() + self.shared.len();
        let metadata = field_length(KIND.len());
        let any = field_length(json);
        let message = field_length(metadata) + field_length(any);

        let mut head = BytesMut::with_capacity(128);
        head.put_u8(0);
        head.put_u32(u32::try_from(message).expect("messages are bounded far below 4 GiB"));
        open_field(&mut head, 2, metadata);
        open_field(&mut head, 3, KIND.len());
        head.put_slice(KIND.as_bytes());
        open_field(&mut head, 3, any);
        open_field(&mut head, 2, json);
        head.put_slice(BEFORE_ID);
        head.put_slice(id.as_bytes());
        head.put_slice(AFTER_ID);
        [head.freeze(), self.shared.clone()]
    }

    /// The same message in one piece, for a generated stream; copies the body.
    pub fn payload(&self, request_id: u64) -> Payload {
        let id = request_id.to_string();
        Payload::new(KIND, [BEFORE_ID, id.as_bytes(), AFTER_ID, &self.shared].concat())
    }

    /// How large it is without the part of the request id, in bytes; for budgets.
    pub fn bytes(&self) -> usize {
        self.shared.len()
    }
}

/// The length of a field of few enough number and so long a content.
fn field_length(content: usize) -> usize {
    1 + encoded_len_varint(content as u64) + content
}

fn open_field(buffer: &mut BytesMut, number: u32, length: usize) {
    encode_key(number, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
}
