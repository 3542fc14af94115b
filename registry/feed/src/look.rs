//! What operators ask of a holder about one origin: a dry run of a reconcile, which changes nothing, and a real one.
//!
//! ```text
//! asked ──the Raft feed──▶ each feed that it lists, one after the other ──▶ done
//!   └── no stream to the region, or it ends ──▶ failed
//! ```
//!
//! Invariant: nothing that is only looked at enters a copy, whatever the far side says.

use std::collections::BTreeSet;

use landbridge_model::{FeedId, Position, RecordKey, Region};

use crate::{body::Body, holder::Holder, input::StreamId, shadow::Shadow, stream::Reach};

/// Keys that one look names; further ones are only counted.
pub const LOOK_KEYS_MAX: usize = 1000;

/// How a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differs {
    /// The origin says it, and it is not held.
    Missing,
    /// It is held, and the origin does not say it.
    Extra,
    /// Both have it, and not alike.
    Changed,
}

/// What differs between a feed as its origin says it and as it is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which feed.
    pub feed: FeedId,
    /// Where the copy stands; none if nothing is held.
    pub held: Option<Position>,
    /// Where the origin stood; none if it no longer lists the feed.
    pub told: Option<Position>,
    /// How many keys the origin says that are not held.
    pub missing: usize,
    /// How many keys are held that the origin does not say.
    pub extra: usize,
    /// How many keys both have, and not alike.
    pub changed: usize,
    /// The first of them, at most [`LOOK_KEYS_MAX`] of one look.
    pub keys: Vec<(Differs, RecordKey)>,
}

/// A look at what an origin says.
#[derive(Debug)]
pub struct Look {
    stream: Option<StreamId>,
    at: Option<FeedId>,
    waiting: BTreeSet<FeedId>,
    found: Vec<Difference>,
    failed: Option<&'static str>,
}

impl Look {
    /// What was found so far, feed by feed.
    pub fn found(&self) -> &[Difference] {
        &self.found
    }

    /// The feed of which an answer is awaited.
    pub fn awaits(&self) -> Option<&FeedId> {
        self.at.as_ref()
    }

    /// Whether it is over, or why it came to nothing.
    pub fn outcome(&self) -> Option<Result<(), &'static str>> {
        match self.failed {
            Some(why) => Some(Err(why)),
            None => self.at.is_none().then_some(Ok(())),
        }
    }

    fn fail(&mut self, why: &'static str) {
        self.failed = Some(why);
        self.at = None;
    }

    fn note(&mut self, feed: &FeedId, (held, here): (Option<Position>, &Body), there: Told<'_>) {
        let (told, there) = there;
        let mut difference =
            Difference { feed: feed.clone(), held, told, missing: 0, extra: 0, changed: 0, keys: Vec::new() };
        let mut room = LOOK_KEYS_MAX - self.found.iter().map(|found| found.keys.len()).sum::<usize>();
        for (key, here, there) in here.differences(there) {
            let (count, differs) = match (here, there) {
                (None, _) => (&mut difference.missing, Differs::Missing),
                (Some(_), None) => (&mut difference.extra, Differs::Extra),
                (Some(_), Some(_)) => (&mut difference.changed, Differs::Changed),
            };
            *count += 1;
            if room > 0 {
                room -= 1;
                difference.keys.push((differs, key.clone()));
            }
        }
        self.found.push(difference);
    }
}

type Told<'a> = (Option<Position>, &'a Body);

impl Holder {
    /// The latest look at an origin.
    pub fn look_of(&self, region: &Region) -> Option<&Look> {
        self.looks.get(region)
    }

    /// Starts to look at what a region's own bridge says of it.
    pub(crate) fn look(&mut self, region: Region) {
        let is_there = |reach: Reach, of: &Region| reach == Reach::Far && *of == region;
        let stream = self.streams.iter().find(|(_, held)| is_there(held.reach, &held.peer.region));
        let stream = stream.map(|(id, _)| *id);
        let waiting = BTreeSet::from([FeedId::Raft(region.clone())]);
        let mut look = Look { stream, at: None, waiting, found: Vec::new(), failed: None };
        if stream.is_none() {
            look.fail("no stream to a bridge of that region is up");
        }
        self.looks.insert(region.clone(), look);
        self.look_on(&region);
    }

    /// Goes on to the next feed.
    fn look_on(&mut self, region: &Region) {
        let Some(look) = self.looks.get_mut(region).filter(|look| look.failed.is_none()) else { return };
        look.at = look.waiting.pop_first();
        let (Some(feed), Some(id)) = (look.at.clone(), look.stream) else { return };
        if let Some(copy) = self.holdings.copy_mut(&feed) {
            copy.recount();
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.follower.look(&feed);
            self.hot.insert(id);
        }
    }

    /// Takes what a stream has told completely of the feed that is looked at.
    pub(crate) fn looked(&mut self, stream: StreamId) {
        let Some(held) = self.streams.get_mut(&stream) else { return };
        let Some((feed, position, shadow)) = held.follower.looked() else { return };
        self.hot.insert(stream);
        let region = feed.region().clone();
        let is_awaited = |look: &&mut Look| look.stream == Some(stream) && look.at.as_ref() == Some(&feed);
        let Some(look) = self.looks.get_mut(&region).filter(is_awaited) else { return };
        let nothing = Body::new();
        let copies = self.holdings.copies();
        let here = copies.get(&feed).map_or((None, &nothing), |copy| (Some(copy.position()), &copy.body));
        look.note(&feed, here, (Some(position), &shadow.body));
        if feed.is_raft() {
            let listed = listed(&shadow);
            let held = copies.iter().filter(|(feed, _)| *feed.region() == region && !feed.is_raft());
            for (feed, copy) in held.filter(|(feed, _)| !listed.contains(*feed)) {
                look.note(feed, (Some(copy.position()), &copy.body), (None, &nothing));
            }
            look.waiting = listed;
        }
        self.look_on(&region);
    }

    /// A stream is gone, and with it what was looked at on it.
    pub(crate) fn look_away(&mut self, stream: StreamId) {
        for look in self.looks.values_mut() {
            if look.stream == Some(stream) && look.outcome().is_none() {
                look.fail("the stream ended");
            }
        }
    }

    /// Doubts all copies of a region, as if a verification had found them to differ: they are served on and rebuilt.
    pub(crate) fn resync(&mut self, region: &Region) {
        let feeds: Vec<_> =
            self.holdings.copies().keys().filter(|feed| feed.region() == region).cloned().collect();
        for feed in feeds {
            let Some(stream) = self.choice.asked(&feed) else { continue };
            if let Some(copy) = self.holdings.copy_mut(&feed) {
                copy.doubt();
            }
            if let Some(held) = self.streams.get_mut(&stream) {
                held.follower.anew(&feed);
                self.hot.insert(stream);
            }
        }
    }
}

/// The open feeds that a told Raft feed lists.
fn listed(raft: &Shadow) -> BTreeSet<FeedId> {
    let directory = raft.body.records().filter_map(|(key, _)| match key {
        RecordKey::Directory(feed) => Some(feed.clone()),
        _ => None,
    });
    directory.collect()
}
