//! What holders of feeds say to each other, as protobuf frames.
//!
//! Invariant: a frame that decodes holds only valid names, numbers within their bounds, and records that fit their keys.

mod dictionary;
mod frame;
mod hello;
mod identity;
mod pack;
mod record;

use std::fmt;

use ecow::EcoString;
use landbridge_feed::Message;
use landbridge_model::{FeedId, InstanceKey, ServiceKey};

pub use hello::{Hello, PROTOCOL_MAX, PROTOCOL_MIN, PROTOCOL_PACKED};
pub use pack::{Packer, Unpacker};
pub use proto::{
    Frame,
    feeds_client::FeedsClient,
    feeds_server::{Feeds, FeedsServer},
};

pub(crate) use dictionary::{changes_from, changes_of};
pub(crate) use frame::records_from;
pub(crate) use identity::{feed_from, feed_of, position_from, position_of, view_from, view_of};

/// The generated messages, client and server of `landbridge.feeds.v1`.
#[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
pub mod proto {
    tonic::include_proto!("landbridge.feeds.v1");
}

/// The largest frame a holder takes, in bytes; a stream that sends a larger one is closed.
///
/// A policy of the greatest size fits; bulk is cut far below it.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most changes or records in one frame; a frame with more is malformed.
pub const CHANGES_MAX: usize = 64 * 1024;

/// The most feeds in one `Beats`; a frame with more is malformed.
pub const BEATS_MAX: usize = 16 * 1024;

/// The most keys in one forwarded batch of beats; a frame with more is malformed.
pub const BEAT_KEYS_MAX: usize = 64 * 1024;

/// What a peer sent and cannot have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    at: &'static str,
    why: EcoString,
}

impl Malformed {
    pub(crate) fn new(at: &'static str, why: impl fmt::Display) -> Self {
        Self { at, why: ecow::eco_format!("{why}") }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.why)
    }
}

impl std::error::Error for Malformed {}

/// Everything that a frame can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The first frame of each direction.
    Hello(Hello),
    /// Between the two holders.
    Message(Message),
    /// So many bytes of what was sent have been taken in.
    Credit {
        /// Their number.
        bytes: u64,
    },
    /// Beats of clients whose records stand in the receiver's feed (R11).
    BeatForward(BeatForward),
    /// The answer to one.
    BeatAnswer(BeatAnswer),
}

/// Beats that one member took for records in another's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeatForward {
    /// Chosen by the sender; the answer repeats it.
    pub ticket: u64,
    /// The feed that holds the winning records.
    pub feed: FeedId,
    /// Which records.
    pub keys: Vec<(ServiceKey, InstanceKey)>,
}

/// Which of the forwarded beats were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeatAnswer {
    /// Of the question.
    pub ticket: u64,
    /// Places in the question's list whose records are not the answerer's; all others are renewed.
    pub not_mine: Vec<u32>,
}

/// Encodes a message between holders.
pub fn encode(message: &Message) -> Frame {
    frame::encode(message)
}

impl Said {
    /// Encodes whatever is to be said.
    pub fn encode(&self) -> Frame {
        use proto::frame::Said as Arm;
        let arm = match self {
            Self::Message(message) => return frame::encode(message),
            Self::Hello(hello) => Arm::Hello(hello.encode()),
            Self::Credit { bytes } => Arm::Credit(proto::Credit { bytes: *bytes }),
            Self::BeatForward(forward) => Arm::BeatForward(frame::encode_forward(forward)),
            Self::BeatAnswer(answer) => Arm::BeatAnswer(proto::BeatAnswer {
                ticket: answer.ticket,
                not_mine: answer.not_mine.clone(),
            }),
        };
        Frame { said: Some(arm) }
    }
}

/// Decodes a frame, or tells what is wrong with it.
pub fn decode(frame: Frame) -> Result<Said, Malformed> {
    frame::decode(frame)
}

/// A part that the protocol asks for.
pub(crate) fn need<T>(part: Option<T>, at: &'static str) -> Result<T, Malformed> {
    part.ok_or_else(|| Malformed::new(at, "it is missing"))
}

/// A count within its bound.
pub(crate) fn within(count: usize, max: usize, at: &'static str) -> Result<(), Malformed> {
    if count > max {
        Err(Malformed::new(at, format_args!("{count} where at most {max} may be")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::{Change, RecordKey};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::samples;

    proptest! {
        #[test]
        fn every_message_survives_the_wire(message in samples::message()) {
            let bytes = encode(&message).encode_to_vec();
            let frame = Frame::decode(bytes.as_slice()).expect("what was encoded");

            prop_assert_eq!(decode(frame), Ok(Said::Message(message)));
        }

        #[test]
        fn forwarded_beats_survive_the_wire(
            ticket: u64,
            feed in samples::feed(),
            keys in proptest::collection::vec((samples::service(), samples::instance_key()), 0..9),
            not_mine: Vec<u32>,
        ) {
            let forward = Said::BeatForward(BeatForward { ticket, feed, keys });
            let answer = Said::BeatAnswer(BeatAnswer { ticket, not_mine });

            prop_assert_eq!(decode(forward.encode()), Ok(forward));
            prop_assert_eq!(decode(answer.encode()), Ok(answer));
        }

        #[test]
        fn cut_and_altered_frames_never_panic(
            message in samples::message(),
            cut in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let mut bytes = encode(&message).encode_to_vec();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            for part in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                let _ = Frame::decode(part).map(decode);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Frame::decode(bytes.as_slice()).map(decode);
        }
    }

    fn batch(changes: proto::Changes) -> Frame {
        let region = proto::FeedId { region: "east".into(), opening: None };
        let live = proto::Live { feed: Some(region), changes: Some(changes) };
        Frame { said: Some(proto::frame::Said::Live(live)) }
    }

    fn complaint(frame: Frame) -> String {
        decode(frame).expect_err("a malformed frame").to_string()
    }

    #[test]
    fn a_record_under_a_key_of_another_kind_is_malformed() {
        let change = proto::Change {
            key: Some(proto::change::Key::PolicyKey("west".into())),
            record: Some(proto::change::Record::Settling(proto::Nothing {})),
        };
        let changes = proto::Changes { changes: vec![change], ..Default::default() };

        assert_eq!(complaint(batch(changes)), "record: its kind is not that of its key");
    }

    #[test]
    fn a_place_outside_the_dictionary_is_malformed() {
        let key = proto::change::Key::DefinitionKey(3);
        let changes = proto::Changes {
            changes: vec![proto::Change { key: Some(key), record: None }],
            ..Default::default()
        };

        assert_eq!(complaint(batch(changes)), "service: there is none at place 3");
    }

    #[test]
    fn weights_outside_their_bounds_are_malformed() {
        for weight in [f64::NAN, f64::INFINITY, -0.5, 10_000.5] {
            let instance = proto::Instance { weight, ..Default::default() };
            let changes = proto::Changes { instances: vec![instance], ..Default::default() };

            assert!(complaint(batch(changes)).starts_with("weight: "));
        }
    }

    #[test]
    fn a_frame_without_a_known_arm_is_malformed() {
        assert_eq!(complaint(Frame { said: None }), "frame: it is missing");
    }

    #[test]
    fn each_service_key_and_word_stands_once_in_a_batch() {
        let service = ServiceKey::parse("public", "pay", "orders").expect("a valid key");
        let instance = std::sync::Arc::new(landbridge_model::Instance::plain(
            landbridge_model::Metadata::new([("version".into(), "1".into())]).expect("within bounds"),
        ));
        let changes = (0..100u16).map(|port| {
            let key = InstanceKey {
                ip: landbridge_model::Address::parse("10.0.0.1").expect("a valid address"),
                port,
                cluster: landbridge_model::Cluster::parse("").expect("a valid cluster"),
            };
            let record = landbridge_model::Record::Persistent(instance.clone());
            Change { key: RecordKey::Persistent(service.clone(), key), record: Some(record) }
        });
        let region = landbridge_model::Region::parse("east").expect("a valid region");
        let live = Message::Live { feed: FeedId::Raft(region), changes: changes.collect() };

        let bytes = encode(&live).encode_to_vec();

        let count = |word: &[u8]| bytes.windows(word.len()).filter(|part| *part == word).count();
        assert_eq!((count(b"orders"), count(b"version")), (1, 1));
        assert!(bytes.len() < 100 * 25, "{} bytes for 100 small changes", bytes.len());
    }
}
