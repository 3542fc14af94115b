//! Signs of life: the newest heartbeat of each feed, who is unverified, and how each region stands.
//!
//! Invariant: only an advance of `n` is news; relays repeat old values (R26).
//! Invariant: silence marks, and deletes nothing (R19).

use std::collections::{BTreeMap, VecDeque};

use landbridge_model::{FeedId, Heartbeat, Moment, Mutant, Position, Region, planted};

use crate::{input::Standing, settings::Limits};

/// Heartbeats of a feed that are kept until its copy has reached them; older ones are not measured.
const RECENT_MAX: usize = 32;

/// What is known of writers' lives.
#[derive(Debug)]
pub(crate) struct Beats {
    tick: u64,
    unverified_ticks: u64,
    heard: BTreeMap<FeedId, Heard>,
    origins: BTreeMap<Region, Silence>,
    /// The feeds that this process vouches for itself: the one it writes, and the one it has just left.
    own: Vec<FeedId>,
}

#[derive(Debug)]
struct Heard {
    /// The tick when the feed became known here; it was not silent before.
    since: u64,
    newest: Option<Heartbeat>,
    /// The tick of the last advance; the first heartbeat after a start is none.
    advanced: Option<u64>,
    /// What the copy may not have reached yet, oldest first.
    recent: VecDeque<Heartbeat>,
    reached: Option<Heartbeat>,
}

#[derive(Debug)]
struct Silence {
    /// The tick of the last advance of any feed.
    since: u64,
    at: Moment,
    standing: Standing,
}

impl Beats {
    pub fn new(limits: &Limits) -> Self {
        Self {
            tick: 0,
            unverified_ticks: limits.unverified_ticks,
            heard: BTreeMap::new(),
            origins: BTreeMap::new(),
            own: Vec::new(),
        }
    }

    /// Own ticks so far.
    pub fn ticks(&self) -> u64 {
        self.tick
    }

    /// Counts a tick, however long it took; tells which feeds turn unverified by it.
    pub fn tick(&mut self, ticks: u64) -> Vec<FeedId> {
        self.tick += ticks;
        let turned = |heard: &Heard| heard.advanced.is_some_and(|at| self.tick - at == self.unverified_ticks);
        let feeds = self.heard.iter().filter(|(_, heard)| turned(heard)).map(|(feed, _)| feed.clone());
        feeds.filter(|feed| !self.vouches(feed)).collect()
    }

    /// Hears a heartbeat; tells whether the feed turns verified by it.
    pub fn hear(&mut self, now: Moment, feed: &FeedId, beat: Heartbeat) -> bool {
        let was = self.unverified(feed);
        self.expect(feed);
        let Some(heard) = self.heard.get_mut(feed) else { return false };
        let is_known = |newest: Heartbeat| beat.n <= newest.n && !planted(Mutant::OldBeatVerifies);
        if heard.newest.is_some_and(is_known) {
            return false;
        }
        let is_first = heard.newest.replace(beat).is_none();
        heard.recent.push_back(beat);
        if is_first {
            return false;
        }
        heard.advanced = Some(self.tick);
        if heard.recent.len() > RECENT_MAX {
            heard.recent.pop_front();
        }
        if let Some(origin) = self.origins.get_mut(feed.region()) {
            origin.since = self.tick;
            origin.at = now;
        }
        was && !self.unverified(feed)
    }

    /// A feed is known from here on, and heartbeats of it are awaited.
    pub fn expect(&mut self, feed: &FeedId) {
        if !self.heard.contains_key(feed) {
            let (since, recent) = (self.tick, VecDeque::new());
            let heard = Heard { since, newest: None, advanced: None, recent, reached: None };
            self.heard.insert(feed.clone(), heard);
        }
    }

    /// Makes the heartbeat of a feed that this process writes.
    pub fn beat(&mut self, now: Moment, feed: &FeedId, position: Position, unix_ms: u64) {
        let n = self.newest(feed).map_or(0, |newest| newest.n) + 1;
        self.hear(now, feed, Heartbeat { n, position, unix_ms });
    }

    /// Vouches for exactly these feeds from here on.
    pub fn vouch(&mut self, feeds: impl IntoIterator<Item = FeedId>) {
        self.own = feeds.into_iter().collect();
    }

    /// Whether this process writes the feed, or has just left it.
    pub fn vouches(&self, feed: &FeedId) -> bool {
        self.own.contains(feed)
    }

    /// Forgets what is neither listed nor held any more.
    pub fn retain(&mut self, is_known: impl Fn(&FeedId) -> bool) {
        self.heard.retain(|feed, _| is_known(feed));
    }

    /// Forgets a region altogether.
    pub fn forget(&mut self, region: &Region) {
        self.heard.retain(|feed, _| feed.region() != region);
        self.origins.remove(region);
    }

    pub fn newest(&self, feed: &FeedId) -> Option<Heartbeat> {
        self.heard.get(feed)?.newest
    }

    /// Own ticks since the feed's heartbeat last advanced, or since the feed became known here.
    pub fn silent_ticks(&self, feed: &FeedId) -> u64 {
        self.tick - self.heard.get(feed).map_or(0, |heard| heard.advanced.unwrap_or(heard.since))
    }

    /// R26: `n` has not advanced for a while of own ticks, or never since the start.
    pub fn unverified(&self, feed: &FeedId) -> bool {
        let advanced = self.heard.get(feed).and_then(|heard| heard.advanced);
        advanced.is_none_or(|at| self.tick - at >= self.unverified_ticks) && !self.vouches(feed)
    }

    /// Starts to watch a region; until something advances it is suspect.
    pub fn watch(&mut self, now: Moment, region: &Region) {
        if !self.origins.contains_key(region) {
            let silence = Silence { since: self.tick, at: now, standing: Standing::Suspect };
            self.origins.insert(region.clone(), silence);
        }
    }

    /// Reckons how the regions stand; tells which stand differently.
    pub fn reckon(&mut self, limits: &Limits) -> Vec<(Region, Standing)> {
        let mut turned = Vec::new();
        for (region, origin) in &mut self.origins {
            let alive = self.heard.iter().any(|(feed, h)| feed.region() == region && h.advanced.is_some());
            let standing = match self.tick - origin.since {
                silent if silent >= limits.frozen_ticks => Standing::Frozen,
                silent if silent >= limits.stale_ticks || !alive => Standing::Suspect,
                _ => Standing::Live,
            };
            if standing != origin.standing {
                origin.standing = standing;
                turned.push((region.clone(), standing));
            }
        }
        turned
    }

    /// How a region stands, and since which moment nothing of it has advanced.
    pub fn standing(&self, region: &Region) -> Option<(Standing, Moment)> {
        self.origins.get(region).map(|origin| (origin.standing, origin.at))
    }

    /// Notes where a copy stands, for the measure of [`Beats::reached`].
    pub fn measure(&mut self, feed: &FeedId, position: Position) {
        let Some(heard) = self.heard.get_mut(feed) else { return };
        while heard.recent.front().is_some_and(|beat| beat.position <= position) {
            heard.reached = heard.recent.pop_front();
        }
    }

    /// The newest heartbeat whose position the copy had reached when last measured.
    pub fn reached(&self, feed: &FeedId) -> Option<Heartbeat> {
        self.heard.get(feed)?.reached
    }
}
