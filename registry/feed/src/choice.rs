//! Which stream is asked for which feed (R21): one supplier at a time, the writer first, and another when it stalls.
//!
//! A writer whose own heartbeats rise on its stream is there and holds its feed: it is slow, not gone. It is given up much
//! later than anybody else, and comes first again as soon as it is heard. Otherwise a short stall of a writer would leave its
//! followers asking one another for what none of them has.
//!
//! Invariant: exactly what the directory lists is asked for (R2), never the own feed, and a member's own Raft feed from
//! nobody; of a region that operators shut out nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use landbridge_model::{FeedId, Mutant, Region, planted};

use crate::{
    holdings::Holdings,
    input::{Peer, Role, StreamId},
    settings::{Limits, Settings},
};

/// Who supplies what.
#[derive(Debug)]
pub(crate) struct Choice {
    near: Region,
    role: Role,
    limits: Limits,
    offers: BTreeMap<StreamId, Offer>,
    chosen: BTreeMap<FeedId, Chosen>,
    /// Which streams stalled for which feeds lately.
    failed: BTreeMap<(FeedId, StreamId), Failed>,
}

/// What a stream's peer has said it knows.
#[derive(Debug)]
struct Offer {
    peer: Peer,
    regions: BTreeSet<Region>,
    /// Per feed the newest `n` it told, and the tick when that last rose.
    beats: BTreeMap<FeedId, (u64, u64)>,
}

#[derive(Debug)]
struct Chosen {
    stream: StreamId,
    since: u64,
    /// The tick when the copy was last seen to come on, or had nothing to come on to.
    progress: u64,
    /// Whether another is to be tried, even one that has stalled before.
    stalled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Failed {
    tick: u64,
    /// Whether it was the writer, heard all the while.
    though_heard: bool,
}

/// What is to be asked differently.
#[derive(Debug, PartialEq)]
pub(crate) struct Turn {
    pub feed: FeedId,
    pub from: Option<StreamId>,
    pub to: Option<StreamId>,
}

impl Choice {
    pub fn new(settings: &Settings) -> Self {
        Self {
            near: settings.region.clone(),
            role: settings.role.clone(),
            limits: settings.limits.clone(),
            offers: BTreeMap::new(),
            chosen: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    pub fn opened(&mut self, stream: StreamId, peer: Peer) {
        self.offers.insert(stream, Offer { peer, regions: BTreeSet::new(), beats: BTreeMap::new() });
    }

    pub fn closed(&mut self, stream: StreamId) {
        self.offers.remove(&stream);
        self.failed.retain(|(_, failed), _| *failed != stream);
    }

    /// Hears that a peer knows of a feed; tells whether it is the first it says of the region.
    pub fn heard(&mut self, stream: StreamId, feed: &FeedId, n: u64, tick: u64) -> bool {
        let is_full = self.regions().len() >= self.limits.regions_max;
        let is_new = !self.offers.values().any(|offer| offer.regions.contains(feed.region()));
        let Some(offer) = self.offers.get_mut(&stream).filter(|_| !(is_new && is_full)) else { return false };
        let told = offer.beats.entry(feed.clone()).or_insert((n, tick));
        if n > told.0 {
            *told = (n, tick);
        }
        if offer.regions.contains(feed.region()) {
            return false;
        }
        offer.regions.insert(feed.region().clone())
    }

    /// The copy of a feed comes on by what this stream brings.
    pub fn progressed(&mut self, feed: &FeedId, stream: StreamId, tick: u64) {
        if let Some(chosen) = self.chosen.get_mut(feed).filter(|chosen| chosen.stream == stream) {
            chosen.progress = tick;
        }
    }

    /// Marks suppliers that stall: behind without progress, or with older news than others have (once a tick).
    pub fn tick(&mut self, holdings: &Holdings) {
        let tick = holdings.beats.ticks();
        let patience = self.limits.switch_ticks;
        for offer in self.offers.values_mut() {
            offer.beats.retain(|feed, _| holdings.lists(feed));
        }
        let (offers, retry) = (&self.offers, self.limits.retry_ticks);
        let is_heard = |feed: &FeedId, stream: StreamId| {
            let offer = offers.get(&stream).filter(|offer| offer.writes(feed, holdings));
            let told = offer.and_then(|offer| offer.beats.get(feed));
            told.is_some_and(|(_, rose)| tick - rose < patience) && !planted(Mutant::WriterGivenUpSoon)
        };
        self.failed.retain(|(feed, stream), failed| {
            let is_back = !failed.though_heard && is_heard(feed, *stream);
            tick - failed.tick < retry && !is_back
        });
        for (feed, chosen) in &mut self.chosen {
            let newest = holdings.beats.newest(feed);
            let at = holdings.copies().get(feed).map(|copy| copy.position());
            let is_behind = at.is_none_or(|at| newest.is_some_and(|newest| at < newest.position));
            if !is_behind {
                chosen.progress = tick;
            }
            let told = self.offers.get(&chosen.stream).and_then(|offer| offer.beats.get(feed));
            let (n, rose) = told.copied().unwrap_or((0, chosen.since));
            let is_old = newest.is_some_and(|newest| newest.n > n);
            let though_heard = is_heard(feed, chosen.stream);
            let stalls = is_behind && tick - chosen.progress >= if though_heard { retry } else { patience };
            let is_stale = is_old && tick - rose.max(chosen.since) >= patience;
            if (stalls || is_stale) && !planted(Mutant::StalledSupplierKept) {
                self.failed.insert((feed.clone(), chosen.stream), Failed { tick, though_heard });
                chosen.progress = tick;
                chosen.since = tick;
                chosen.stalled = true;
            }
        }
    }

    /// Chooses anew where a feed has no supplier or a better one; tells what is to be asked differently.
    pub fn refresh(&mut self, holdings: &Holdings) -> Vec<Turn> {
        let tick = holdings.beats.ticks();
        let wanted = self.wanted(holdings);
        let mut turns = Vec::new();
        let idle: Vec<_> = self.chosen.keys().filter(|feed| !wanted.contains(*feed)).cloned().collect();
        for feed in idle {
            let from = self.chosen.remove(&feed).map(|chosen| chosen.stream);
            self.failed.retain(|(failed, _), _| *failed != feed);
            turns.push(Turn { feed, from, to: None });
        }
        for feed in wanted {
            let stalled = self.chosen.get_mut(&feed).is_some_and(|chosen| mem::take(&mut chosen.stalled));
            let present = self.chosen.get(&feed).map(|chosen| chosen.stream);
            let from = present.filter(|stream| self.offers.contains_key(stream));
            let best = self.best(&feed, holdings);
            let stays = from.zip(best).is_some_and(|(from, best)| {
                !stalled && self.standing(&feed, from, holdings) <= self.standing(&feed, best, holdings)
            });
            if stays || present == best {
                continue;
            }
            match best {
                Some(stream) => {
                    self.chosen
                        .insert(feed.clone(), Chosen { stream, since: tick, progress: tick, stalled: false });
                }
                None => {
                    self.chosen.remove(&feed);
                }
            }
            turns.push(Turn { feed, from, to: best });
        }
        turns
    }

    /// Which stream is asked for a feed.
    pub fn asked(&self, feed: &FeedId) -> Option<StreamId> {
        self.chosen.get(feed).map(|chosen| chosen.stream)
    }

    fn regions(&self) -> BTreeSet<&Region> {
        self.offers.values().flat_map(|offer| &offer.regions).collect()
    }

    fn wanted(&self, holdings: &Holdings) -> BTreeSet<FeedId> {
        let mut wanted = BTreeSet::new();
        for region in self.regions().into_iter().filter(|region| !holdings.shuts_out(region)) {
            let raft_comes_from_within = matches!(self.role, Role::Member(_)) && *region == self.near;
            if !raft_comes_from_within {
                wanted.insert(FeedId::Raft(region.clone()));
            }
            let listed = holdings.origin(region).into_iter().flat_map(|o| o.directory.entries().keys());
            wanted.extend(listed.filter(|feed| Some(*feed) != holdings.own()).cloned());
        }
        wanted
    }

    fn best(&self, feed: &FeedId, holdings: &Holdings) -> Option<StreamId> {
        let offers = self.offers.iter().filter(|(_, offer)| offer.regions.contains(feed.region()));
        let ranked = offers.map(|(stream, offer)| {
            let told = offer.beats.get(feed).map(|(n, _)| *n);
            let failed = self.failed.get(&(feed.clone(), *stream)).copied();
            let (has_failed, rank) = self.standing(feed, *stream, holdings);
            (has_failed, failed, rank, std::cmp::Reverse(told), *stream)
        });
        ranked.min().map(|(.., stream)| stream)
    }

    /// Less is better: one that has not stalled, the writer, who is near the writer, a bridge, anybody.
    fn standing(&self, feed: &FeedId, stream: StreamId, holdings: &Holdings) -> (bool, u8) {
        let has_failed = self.failed.contains_key(&(feed.clone(), stream));
        let Some(offer) = self.offers.get(&stream) else { return (true, u8::MAX) };
        let peer = &offer.peer;
        let is_home = peer.region == *feed.region();
        let rank = match &peer.role {
            Role::Member(_) if offer.writes(feed, holdings) => 0,
            Role::Member(_) if is_home => 1,
            Role::Bridge if is_home && peer.region != self.near => 1,
            Role::Bridge => 2,
            Role::Member(_) | Role::Gateway => 3,
        };
        (has_failed, rank)
    }
}

impl Offer {
    /// Whether the peer is the member that writes this feed.
    fn writes(&self, feed: &FeedId, holdings: &Holdings) -> bool {
        let entry = holdings.origin(feed.region()).and_then(|o| o.directory.entries().get(feed));
        match &self.peer.role {
            Role::Member(member) => {
                self.peer.region == *feed.region() && entry.is_some_and(|entry| entry.member == *member)
            }
            Role::Bridge | Role::Gateway => false,
        }
    }
}
