//! When a member may answer questions (R14): when it shows no less than it showed before, or than its peers have announced.
//!
//! A writer that dies right after its feed was opened leaves a feed of which nobody has a copy. It counts as empty, and is not
//! waited for until it is closed, where nobody can have more of it: see [`is_void`].

use std::collections::BTreeSet;

use landbridge_feed::Holder;
use landbridge_model::{DirectoryEntry, FeedId, Mutant, planted};

use crate::settings::Settings;

/// Whether all listed feeds are here: each at its need, and at its writer's newest word unless that is silent.
pub(crate) fn complete(holder: &Holder, own: Option<&FeedId>, settings: &Settings) -> bool {
    let region = &settings.region;
    if own.is_none() || holder.settling(region) {
        return false;
    }
    let lone = settings.members <= 1;
    holder.directory(region).iter().all(|(feed, entry)| {
        let Some(copy) = holder.copy(feed) else { return is_void(holder, feed, entry, settings) };
        let seq = copy.position().seq;
        // A lone member does not wait to hear something, but a bridge that has more than the disk is worth a moment.
        let unheard = if lone { 0 } else { u64::MAX };
        let announced = holder.heartbeat(feed).map_or(unheard, |beat| beat.position.seq);
        let silent = holder.silent_ticks(feed) >= u64::from(settings.limits.unverified_ticks);
        (seq >= entry.need || planted(Mutant::ReadyWithoutNeed))
            && (own == Some(feed) || seq >= announced || silent || planted(Mutant::ReadyUnheard))
    })
}

/// Whether a feed without a copy here ended before anybody took it: no close has found anything in it, no heartbeat of it was
/// ever told by anybody, everybody was asked for it in vain while a majority is heard, and its writer has begun another life
/// since. What its writer showed a life earlier must be here: so it ended not long ago, and where all copies were lost with the
/// disks, a region goes on waiting for its clients.
fn is_void(holder: &Holder, feed: &FeedId, entry: &DirectoryEntry, settings: &Settings) -> bool {
    let directory = holder.directory(&settings.region);
    let lives = || {
        let held = directory.iter().filter(|(other, _)| holder.copy(other).is_some());
        held.filter(|(_, other)| other.member == entry.member).map(|(other, _)| other)
    };
    let heard = directory.iter().filter(|(other, _)| !holder.unverified(other));
    let heard: BTreeSet<_> = heard.map(|(_, other)| other.member).collect();
    let silent = holder.silent_ticks(feed) >= u64::from(settings.limits.unverified_ticks);
    let in_vain = heard.len() * 2 > settings.members && holder.asked_in_vain(feed);
    entry.need == 0
        && holder.heartbeat(feed).is_none()
        && silent
        && (in_vain || planted(Mutant::MissingIsEmpty))
        && lives().any(|life| life < feed)
        && lives().any(|life| life > feed)
}
