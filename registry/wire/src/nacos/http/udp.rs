//! Pushes to Nacos 1.x clients over UDP, and their acknowledgements.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;

use crate::nacos::{
    EncodedService,
    json::{self, Text, quote, whole},
};

/// From this size on a packet is compressed, in bytes.
const COMPRESSED_FROM_BYTES: usize = 1024;

/// The largest packet, in bytes: what fits a datagram. A larger one is not sent; such a client polls.
pub const PACKET_BYTES_MAX: usize = 65_507;

/// The largest acknowledgement that is looked at, in bytes.
const ACK_BYTES_MAX: usize = 1024;

/// How the clients that listen for packets name themselves.
const LISTENERS: [&str; 5] =
    ["Nacos-Java-Client", "Nacos-DNS", "Nacos-C-Client", "Nacos-Go-Client", "Nacos-CSharp-Client"];

/// Whether a client of this `User-Agent` understands packets.
pub fn understands(user_agent: &str) -> bool {
    LISTENERS.iter().any(|name| user_agent.starts_with(name))
}

/// A packet; `reference` comes back in the acknowledgement. None if it would not fit a datagram.
pub fn packet(service: &EncodedService, last_ref_ms: u64, reference: u64) -> Option<Bytes> {
    let answer = service.answer(last_ref_ms);
    let answer = std::str::from_utf8(&answer).expect("our JSON is made of strings");
    let mut json = Vec::with_capacity(answer.len() * 5 / 4 + 64);
    json.extend_from_slice(br#"{"type":"dom","data":"#);
    quote(&mut json, answer);
    json.extend_from_slice(br#","lastRefTime":"#);
    whole(&mut json, reference);
    json.push(b'}');
    let packet = if json.len() < COMPRESSED_FROM_BYTES { json } else { compressed(&json) };
    (packet.len() <= PACKET_BYTES_MAX).then(|| packet.into())
}

fn compressed(json: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(json.len() / 4), Compression::fast());
    encoder.write_all(json).expect("memory takes all bytes");
    encoder.finish().expect("memory takes all bytes")
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawAck<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    last_ref_time: Text<'a>,
}

/// The reference that an acknowledgement repeats, as a number or (Java) as a text; none if it is no acknowledgement.
pub fn acknowledged(datagram: &[u8]) -> Option<u64> {
    if datagram.len() > ACK_BYTES_MAX {
        return None;
    }
    let ack: RawAck<'_> = json::read("push-ack", datagram).ok()?;
    (ack.r#type.as_str() == "push-ack").then(|| ack.last_ref_time.as_str().parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use landbridge_model::ServiceKey;
    use proptest::prelude::*;

    use super::*;
    use crate::nacos::{ClusterFilter, Naming};

    fn service(hosts: usize) -> EncodedService {
        let key = ServiceKey::parse("", "", "svc").expect("a valid key");
        let host = Bytes::from_static(br#"{"ip":"10.0.0.1"}"#);
        EncodedService::new(Naming::Grouped, &key, &ClusterFilter::default(), &vec![host; hosts], false)
    }

    #[test]
    fn a_small_packet_is_plain_and_a_large_one_compressed() {
        let small = packet(&service(1), 5, 77).expect("it fits");
        let large = packet(&service(1000), 5, 77).expect("it fits compressed");

        let mut text = String::new();
        flate2::read::GzDecoder::new(&large[..]).read_to_string(&mut text).expect("gzip of text");
        for json in [std::str::from_utf8(&small).expect("text"), &text] {
            let read: serde_json::Value = serde_json::from_str(json).expect("JSON");
            let data: serde_json::Value =
                serde_json::from_str(read["data"].as_str().expect("a text")).expect("JSON inside");
            assert_eq!((read["type"].as_str(), read["lastRefTime"].as_u64()), (Some("dom"), Some(77)));
            assert_eq!(
                (data["name"].as_str(), data["lastRefTime"].as_u64()),
                (Some("DEFAULT_GROUP@@svc"), Some(5))
            );
        }
    }

    #[test]
    fn an_acknowledgement_may_hold_a_number_or_a_text() {
        assert_eq!(acknowledged(br#"{"type":"push-ack","lastRefTime":"77","data":""}"#), Some(77));
        assert_eq!(acknowledged(br#"{"type":"push-ack","lastRefTime":77,"data":""}"#), Some(77));
        assert_eq!(acknowledged(br#"{"type":"unknown-ack","lastRefTime":77,"data":""}"#), None);
    }

    #[test]
    fn node_is_pushed_to_because_it_calls_itself_java() {
        assert!(understands("Nacos-Java-Client:v1.0.0"));
        assert!(!understands("Nacos-Python-Client:v0.1.16"));
    }

    proptest! {
        #[test]
        fn random_datagrams_never_panic(bytes: Vec<u8>) {
            let _ = acknowledged(&bytes);
        }
    }
}
