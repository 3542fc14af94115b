//! Frames packed for the way between regions: one zstd stream for each direction, flushed after every frame, so that names and
//! metadata that were said once cost a few bytes ever after.
//!
//! Invariant: what is unpacked from one frame is within [`FRAME_BYTES_MAX`], and both sides' memory within the window.

use std::io;

use prost::Message as _;
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, Operation, OutBuffer};

use super::{FRAME_BYTES_MAX, Frame, Malformed, proto};
use proto::frame::Said as Arm;

/// How far back what was said can be referred to, as a power of two: 256 KiB.
const WINDOW_LOG: u32 = 18;

/// How hard the packer tries: the fastest of zstd's ordinary levels.
const LEVEL: i32 = 1;

/// How much is packed or unpacked at a time, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// Packs the frames of one direction of one stream, in order.
pub struct Packer {
    encoder: Encoder<'static>,
}

impl Packer {
    /// A packer that has said nothing; fails only without memory.
    pub fn new() -> io::Result<Self> {
        let mut encoder = Encoder::new(LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self { encoder })
    }

    /// Packs the next frame; fails only without memory, and then the stream is over.
    pub fn pack(&mut self, frame: &Frame) -> io::Result<Frame> {
        let plain = frame.encode_to_vec();
        let (mut zstd, mut chunk) = (Vec::new(), [0; CHUNK_BYTES]);
        let mut rest = &plain[..];
        while !rest.is_empty() {
            let status = self.encoder.run_on_buffers(rest, &mut chunk)?;
            zstd.extend_from_slice(&chunk[..status.bytes_written]);
            rest = &rest[status.bytes_read..];
        }
        loop {
            let mut out = OutBuffer::around(&mut chunk[..]);
            let left = self.encoder.flush(&mut out)?;
            let written = out.pos();
            zstd.extend_from_slice(&chunk[..written]);
            if left == 0 {
                return Ok(Frame { said: Some(Arm::Packed(proto::Packed { zstd })) });
            }
        }
    }
}

/// Unpacks the frames of one direction of one stream, in order.
pub struct Unpacker {
    decoder: Decoder<'static>,
}

impl Unpacker {
    /// An unpacker that has heard nothing; fails only without memory.
    pub fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder })
    }

    /// The frame in a packed frame; any other frame is given back as it came.
    pub fn open(&mut self, frame: Frame) -> Result<Frame, Malformed> {
        match frame.said {
            Some(Arm::Packed(packed)) => self.unpack(&packed.zstd),
            other => Ok(Frame { said: other }),
        }
    }

    fn unpack(&mut self, mut rest: &[u8]) -> Result<Frame, Malformed> {
        let (mut plain, mut chunk) = (Vec::new(), [0; CHUNK_BYTES]);
        loop {
            let status = self.decoder.run_on_buffers(rest, &mut chunk);
            let status = status.map_err(|error| Malformed::new("packed", error))?;
            plain.extend_from_slice(&chunk[..status.bytes_written]);
            rest = &rest[status.bytes_read..];
            if plain.len() > FRAME_BYTES_MAX {
                return Err(Malformed::new("packed", "it holds more than a frame may"));
            }
            if rest.is_empty() && status.bytes_written < CHUNK_BYTES {
                break;
            }
            if status.bytes_read == 0 && status.bytes_written == 0 {
                return Err(Malformed::new("packed", "it leads nowhere"));
            }
        }
        Frame::decode(plain.as_slice()).map_err(|error| Malformed::new("packed", error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landbridge_feed::Message;
    use landbridge_model::{
        Address, Change, Cluster, Era, FeedId, Instance, InstanceKey, Life, MemberId, Metadata, Position,
        Record, RecordKey, Region, Registration, ServiceKey, Stamp, View,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        feeds::{Said, decode, encode},
        samples,
    };

    fn pair() -> (Packer, Unpacker) {
        (Packer::new().expect("memory"), Unpacker::new().expect("memory"))
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_in_order(messages in proptest::collection::vec(samples::message(), 1..8)) {
            let (mut packer, mut unpacker) = pair();
            for message in messages {
                let packed = packer.pack(&encode(&message)).expect("memory");

                prop_assert_eq!(unpacker.open(packed).and_then(decode), Ok(Said::Message(message)));
            }
        }

        #[test]
        fn altered_packs_never_panic(
            message in samples::message(),
            at in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let (mut packer, mut unpacker) = pair();
            let Some(Arm::Packed(mut packed)) = packer.pack(&encode(&message)).expect("memory").said else {
                panic!("it was not packed");
            };
            let place = at.index(packed.zstd.len());
            packed.zstd[place] = byte;
            packed.zstd.truncate(cut.index(packed.zstd.len() + 1));
            let _ = unpacker.open(Frame { said: Some(Arm::Packed(packed)) }).and_then(decode);
        }
    }

    /// One registration as a Spring program makes it, in a batch of its own.
    fn registration(number: u64) -> Frame {
        let region = Region::parse("east").expect("a region");
        let service = ServiceKey::parse("", "", &format!("orders-{}", number % 50)).expect("a name");
        let key = InstanceKey {
            ip: Address::parse(&format!("10.3.{}.{}", number / 250, number % 250)).expect("an address"),
            port: 8080,
            cluster: Cluster::parse("").expect("the default"),
        };
        let pairs = [
            ("preserved.register.source", "SPRING_CLOUD"),
            ("management.endpoints.web.base-path", "/actuator"),
            ("spring.application.version", "4.2.1-build.977"),
            ("zone", "a"),
        ];
        let metadata = Metadata::new(pairs.map(|(key, value)| (key.into(), value.into()))).expect("few");
        let record = Record::Registration(Registration {
            stamp: Stamp { clock: 1_700_000_000_000 << 16 | number << 20, member: MemberId(1) },
            take: 0,
            life: Life::Session(Arc::new(Instance::plain(metadata))),
        });
        let at = |seq| Position { era: Era(1_700_000_000_000), seq };
        encode(&Message::Batch {
            feed: FeedId::Member { region: region.clone(), era: Era(1_700_000_000_000), index: 7 },
            view: View { policy: at(9), peer: Some(region) },
            from: at(number),
            to: at(number + 1),
            changes: vec![Change { key: RecordKey::Instance(service, key), record: Some(record) }],
        })
    }

    #[test]
    fn a_registration_alone_costs_a_third_once_the_like_of_it_was_said() {
        let (mut packer, _) = pair();
        let frames: Vec<Frame> = (0..500).map(registration).collect();

        let sizes = frames.iter().map(|frame| packer.pack(frame).expect("memory").encoded_len());
        let packed: usize = sizes.skip(100).sum();

        let plain: usize = frames.iter().skip(100).map(Frame::encoded_len).sum();
        println!("a registration: {} bytes plain, {} packed", plain / 400, packed / 400);
        assert!(packed * 3 < plain, "{packed} of {plain}");
    }

    #[test]
    fn a_pack_that_holds_more_than_a_frame_may_is_malformed() {
        let huge = zstd::stream::encode_all(&vec![0; 8 * FRAME_BYTES_MAX][..], 1).expect("memory");
        let (_, mut unpacker) = pair();
        assert!(huge.len() < 64 * 1024, "{} bytes are no bomb", huge.len());

        let said = unpacker.open(Frame { said: Some(Arm::Packed(proto::Packed { zstd: huge })) });

        assert!(said.is_err());
    }

    #[test]
    fn a_pack_inside_a_pack_and_one_that_nobody_agreed_on_are_malformed() {
        let (mut packer, mut unpacker) = pair();
        let (mut inner, _) = pair();
        let once = inner.pack(&registration(1)).expect("memory");
        assert!(decode(once.clone()).is_err());

        let twice = packer.pack(&once).expect("memory");

        assert!(unpacker.open(twice).and_then(decode).is_err());
    }
}
