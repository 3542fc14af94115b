//! When a member may answer questions (R14): when it shows no less than it showed before, or than its peers have announced.

use landbridge_feed::Holder;
use landbridge_model::{FeedId, Mutant, Region, planted};

use crate::settings::Limits;

/// Whether all listed feeds are here: each at its need, and at its writer's newest word unless that is silent.
pub(crate) fn complete(
    holder: &Holder,
    region: &Region,
    own: Option<&FeedId>,
    lone: bool,
    limits: &Limits,
) -> bool {
    if own.is_none() || holder.settling(region) {
        return false;
    }
    holder.directory(region).iter().all(|(feed, entry)| {
        let Some(copy) = holder.copy(feed) else { return false };
        let seq = copy.position().seq;
        // A lone member does not wait to hear something, but a bridge that has more than the disk is worth a moment.
        let unheard = if lone { 0 } else { u64::MAX };
        let announced = holder.heartbeat(feed).map_or(unheard, |beat| beat.position.seq);
        let silent = holder.silent_ticks(feed) >= u64::from(limits.unverified_ticks);
        (seq >= entry.need || planted(Mutant::ReadyWithoutNeed))
            && (own == Some(feed) || seq >= announced || silent || planted(Mutant::ReadyUnheard))
    })
}
