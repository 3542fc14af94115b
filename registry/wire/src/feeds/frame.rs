//! Whole frames: one message of a stream as protobuf.

use landbridge_feed::{BUCKETS, BucketContent, Message};
use landbridge_model::{Change, Record, RecordKey};

use super::{
    BEAT_KEYS_MAX, BEATS_MAX, BeatAnswer, BeatForward, Hello, Malformed, Said,
    dictionary::{Reader, Writer, changes_from, changes_of},
    identity::{
        digests_from, digests_of, feed_from, feed_of, heartbeat_from, heartbeat_of, position_from,
        position_of, region_from, view_from, view_of,
    },
    need, proto, record, within,
};
use proto::frame::Said as Arm;

pub(super) fn encode(message: &Message) -> proto::Frame {
    let arm = match message {
        Message::Want { feed, have, digests } => Arm::Want(proto::Want {
            feed: Some(feed_of(feed)),
            have: have.as_ref().map(|(view, position)| proto::Copy {
                view: Some(view_of(view)),
                position: Some(position_of(*position)),
            }),
            digests: digests.as_ref().map(digests_of),
        }),
        Message::Unwant { feed } => Arm::Unwant(proto::Unwant { feed: Some(feed_of(feed)) }),
        Message::Batch { feed, view, from, to, changes } => Arm::Batch(proto::Batch {
            feed: Some(feed_of(feed)),
            view: Some(view_of(view)),
            from: Some(position_of(*from)),
            to: Some(position_of(*to)),
            changes: Some(encode_changes(changes)),
        }),
        Message::Begin { feed, view } => {
            Arm::Begin(proto::Begin { feed: Some(feed_of(feed)), view: Some(view_of(view)) })
        }
        Message::Live { feed, changes } => {
            Arm::Live(proto::Live { feed: Some(feed_of(feed)), changes: Some(encode_changes(changes)) })
        }
        Message::Bucket { feed, bucket, content } => {
            let (records, last, digest) = match content {
                BucketContent::Same { digest } => (None, true, *digest),
                BucketContent::Records { records, last } => {
                    (Some(changes_of(records.iter().map(|(key, record)| (key, Some(record))))), *last, 0)
                }
            };
            let bucket = u32::from(*bucket);
            Arm::Bucket(proto::Bucket { feed: Some(feed_of(feed)), bucket, records, last, digest })
        }
        Message::End { feed, view, position } => Arm::End(proto::End {
            feed: Some(feed_of(feed)),
            view: Some(view_of(view)),
            position: Some(position_of(*position)),
        }),
        Message::Beats { unix_ms, beats, hears } => {
            let beats = beats.iter().map(|(feed, heartbeat)| proto::Beat {
                feed: Some(feed_of(feed)),
                heartbeat: Some(heartbeat_of(heartbeat)),
            });
            let hears = hears.iter().map(|region| region.as_str().into()).collect();
            Arm::Beats(proto::Beats { unix_ms: *unix_ms, beats: beats.collect(), hears })
        }
        Message::Verify { feed, view, position, digests, n } => Arm::Verify(proto::Verify {
            feed: Some(feed_of(feed)),
            view: Some(view_of(view)),
            position: Some(position_of(*position)),
            digests: Some(digests_of(digests)),
            n: *n,
        }),
    };
    proto::Frame { said: Some(arm) }
}

fn encode_changes(changes: &[Change]) -> proto::Changes {
    changes_of(changes.iter().map(|change| (&change.key, change.record.as_ref())))
}

pub(super) fn encode_forward(forward: &BeatForward) -> proto::BeatForward {
    let mut writer = Writer::default();
    let keys = forward.keys.iter();
    let keys = keys.map(|(service, key)| record::instance_key_of(&mut writer, service, key)).collect();
    let feed = Some(feed_of(&forward.feed));
    proto::BeatForward { ticket: forward.ticket, feed, services: writer.into_services(), keys }
}

pub(super) fn decode(frame: proto::Frame) -> Result<Said, Malformed> {
    let message = match need(frame.said, "frame")? {
        Arm::Packed(_) => return Err(Malformed::new("packed", "nobody agreed on it")),
        Arm::Hello(hello) => return Ok(Said::Hello(Hello::decode(&hello)?)),
        Arm::Credit(credit) => return Ok(Said::Credit { bytes: credit.bytes }),
        Arm::BeatForward(forward) => return Ok(Said::BeatForward(forward_from(forward)?)),
        Arm::BeatAnswer(answer) => {
            within(answer.not_mine.len(), BEAT_KEYS_MAX, "not_mine")?;
            return Ok(Said::BeatAnswer(BeatAnswer { ticket: answer.ticket, not_mine: answer.not_mine }));
        }
        Arm::Want(want) => want_from(want)?,
        Arm::Unwant(unwant) => Message::Unwant { feed: feed_from(unwant.feed.as_ref())? },
        Arm::Batch(batch) => Message::Batch {
            feed: feed_from(batch.feed.as_ref())?,
            view: view_from(batch.view.as_ref())?,
            from: position_from(batch.from)?,
            to: position_from(batch.to)?,
            changes: changes_from(need(batch.changes, "changes")?)?,
        },
        Arm::Begin(begin) => {
            Message::Begin { feed: feed_from(begin.feed.as_ref())?, view: view_from(begin.view.as_ref())? }
        }
        Arm::Live(live) => Message::Live {
            feed: feed_from(live.feed.as_ref())?,
            changes: changes_from(need(live.changes, "changes")?)?,
        },
        Arm::Bucket(bucket) => bucket_from(bucket)?,
        Arm::End(end) => Message::End {
            feed: feed_from(end.feed.as_ref())?,
            view: view_from(end.view.as_ref())?,
            position: position_from(end.position)?,
        },
        Arm::Beats(beats) => beats_from(beats)?,
        Arm::Verify(verify) => Message::Verify {
            feed: feed_from(verify.feed.as_ref())?,
            view: view_from(verify.view.as_ref())?,
            position: position_from(verify.position)?,
            digests: digests_from(need(verify.digests, "digests")?)?,
            n: verify.n,
        },
    };
    Ok(Said::Message(message))
}

fn want_from(want: proto::Want) -> Result<Message, Malformed> {
    let have = match &want.have {
        Some(copy) => Some((view_from(copy.view.as_ref())?, position_from(copy.position)?)),
        None => None,
    };
    let digests = want.digests.map(digests_from).transpose()?;
    Ok(Message::Want { feed: feed_from(want.feed.as_ref())?, have, digests })
}

fn bucket_from(bucket: proto::Bucket) -> Result<Message, Malformed> {
    let feed = feed_from(bucket.feed.as_ref())?;
    let number = u16::try_from(bucket.bucket).ok().filter(|number| usize::from(*number) < BUCKETS);
    let number = need(number, "bucket")?;
    let content = match bucket.records {
        None => BucketContent::Same { digest: bucket.digest },
        Some(records) => BucketContent::Records { records: records_from(records)?, last: bucket.last },
    };
    Ok(Message::Bucket { feed, bucket: number, content })
}

/// Records of a bucket or a copy: none of them may be absent.
pub(crate) fn records_from(changes: proto::Changes) -> Result<Vec<(RecordKey, Record)>, Malformed> {
    let changes = changes_from(changes)?.into_iter();
    changes.map(|change| Ok((change.key, need(change.record, "record")?))).collect()
}

fn beats_from(beats: proto::Beats) -> Result<Message, Malformed> {
    within(beats.beats.len(), BEATS_MAX, "beats")?;
    within(beats.hears.len(), BEATS_MAX, "hears")?;
    let hears = beats.hears.iter().map(|region| region_from(region)).collect::<Result<_, _>>()?;
    let unix_ms = beats.unix_ms;
    let beats = beats.beats.iter();
    let beats = beats.map(|beat| Ok((feed_from(beat.feed.as_ref())?, heartbeat_from(beat.heartbeat)?)));
    Ok(Message::Beats { unix_ms, beats: beats.collect::<Result<_, Malformed>>()?, hears })
}

fn forward_from(forward: proto::BeatForward) -> Result<BeatForward, Malformed> {
    within(forward.keys.len(), BEAT_KEYS_MAX, "keys")?;
    let reader = Reader::new(&forward.services, Vec::new(), &[])?;
    let keys = forward.keys.iter().map(|key| record::instance_key_from(&reader, key));
    Ok(BeatForward {
        ticket: forward.ticket,
        feed: feed_from(forward.feed.as_ref())?,
        keys: keys.collect::<Result<_, _>>()?,
    })
}
