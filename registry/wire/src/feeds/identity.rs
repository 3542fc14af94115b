//! Feeds, positions, views, heartbeats and digests as protobuf.

use landbridge_feed::{BUCKETS, Digests};
use landbridge_model::{Era, FeedId, Heartbeat, Position, Region, View};

use super::{Malformed, need, proto};

pub(crate) fn feed_of(feed: &FeedId) -> proto::FeedId {
    let (region, opening) = match feed {
        FeedId::Raft(region) => (region, None),
        FeedId::Member { region, era, index } => (region, Some(proto::Opening { era: era.0, index: *index })),
    };
    proto::FeedId { region: region.as_str().into(), opening }
}

pub(crate) fn feed_from(feed: Option<&proto::FeedId>) -> Result<FeedId, Malformed> {
    let feed = need(feed, "feed")?;
    let region = region_from(&feed.region)?;
    Ok(match &feed.opening {
        Some(opening) => FeedId::Member { region, era: Era(opening.era), index: opening.index },
        None => FeedId::Raft(region),
    })
}

pub(super) fn region_from(text: &str) -> Result<Region, Malformed> {
    Region::parse(text).map_err(|e| Malformed::new("region", e))
}

pub(crate) fn position_of(position: Position) -> proto::Position {
    proto::Position { era: position.era.0, seq: position.seq }
}

pub(crate) fn position_from(position: Option<proto::Position>) -> Result<Position, Malformed> {
    let position = need(position, "position")?;
    Ok(Position { era: Era(position.era), seq: position.seq })
}

pub(crate) fn view_of(view: &View) -> proto::View {
    let peer = view.peer.as_ref().map_or("", Region::as_str).into();
    proto::View { policy: Some(position_of(view.policy)), peer }
}

pub(crate) fn view_from(view: Option<&proto::View>) -> Result<View, Malformed> {
    let view = need(view, "view")?;
    let peer = if view.peer.is_empty() { None } else { Some(region_from(&view.peer)?) };
    Ok(View { policy: position_from(view.policy)?, peer })
}

pub(super) fn heartbeat_of(heartbeat: &Heartbeat) -> proto::Heartbeat {
    let Heartbeat { n, position, unix_ms } = *heartbeat;
    proto::Heartbeat { n, position: Some(position_of(position)), unix_ms }
}

pub(super) fn heartbeat_from(heartbeat: Option<proto::Heartbeat>) -> Result<Heartbeat, Malformed> {
    let proto::Heartbeat { n, position, unix_ms } = need(heartbeat, "heartbeat")?;
    Ok(Heartbeat { n, position: position_from(position)?, unix_ms })
}

pub(super) fn digests_of(digests: &Digests) -> proto::Digests {
    proto::Digests { buckets: digests.0.to_vec() }
}

pub(super) fn digests_from(digests: proto::Digests) -> Result<Digests, Malformed> {
    let count = digests.buckets.len();
    <Box<[u64; BUCKETS]>>::try_from(digests.buckets.into_boxed_slice())
        .map(Digests)
        .map_err(|_| Malformed::new("digests", format_args!("{count} where {BUCKETS} must be")))
}
