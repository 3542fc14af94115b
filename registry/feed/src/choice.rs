//! Which stream is asked for which feed (R21): one supplier at a time, the writer first, and another when it stalls.
//!
//! A writer whose own heartbeats rise on its stream is there and holds its feed: it is slow, not gone. It is given up much
//! later than anybody else, and comes first again as soon as it is heard. Otherwise a short stall of a writer would leave its
//! followers asking one another for what none of them has.
//!
//! Two holders that ask each other for one feed both have what neither brings on, and heartbeats that others relay would hide it.
//! So whoever asks here for a feed is the last to be asked for it, and a copy under an older view than its region's Raft feed
//! names counts as behind.
//!
//! Invariant: exactly what the directory lists is asked for (R2), never the own feed, and a member's own Raft feed from
//! nobody; of a region that operators shut out nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use ecow::EcoString;
use landbridge_model::{FeedId, Mutant, Region, planted};

use crate::{
    copy::Copy,
    holdings::Holdings,
    input::{Peer, Role, StreamId},
    settings::{Limits, Settings},
};

/// What a bridge that follows an origin at home hears by the importer and a member comes so many ticks later than what it hears
/// of the origin itself.
const RELAY_TICKS: u64 = 2;

static NOWHERE: BTreeSet<Region> = BTreeSet::new();

/// Who supplies what.
#[derive(Debug)]
pub(crate) struct Choice {
    near: Region,
    role: Role,
    limits: Limits,
    /// A bridge's own name.
    name: Option<EcoString>,
    offers: BTreeMap<StreamId, Offer>,
    chosen: BTreeMap<FeedId, Chosen>,
    /// The origins of which a bridge is heard here, as of the last tick.
    afar: Vec<Region>,
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
    /// Of which origins it hears a bridge itself.
    hears: BTreeSet<Region>,
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

/// Tells whether a stream's peer asks here for a feed.
pub(crate) type Asks<'a> = &'a dyn Fn(StreamId, &FeedId) -> bool;

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
            name: None,
            offers: BTreeMap::new(),
            chosen: BTreeMap::new(),
            afar: Vec::new(),
            failed: BTreeMap::new(),
        }
    }

    /// This holder is the bridge of that name.
    pub fn name(&mut self, id: EcoString) {
        self.name = Some(id);
    }

    pub fn opened(&mut self, stream: StreamId, peer: Peer) {
        self.offers.insert(stream, Offer::new(peer));
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

    /// A peer says of which origins it hears a bridge; only a bridge of the own region is believed.
    pub fn says_it_hears(&mut self, stream: StreamId, hears: Vec<Region>) {
        let offer = self.offers.get_mut(&stream);
        let near = |offer: &&mut Offer| offer.peer.region == self.near && offer.peer.role == Role::Bridge;
        if let Some(offer) = offer.filter(near) {
            offer.hears = hears.into_iter().collect();
        }
    }

    /// What the peer of a stream says it hears.
    pub fn hears(&self, stream: StreamId) -> &BTreeSet<Region> {
        self.offers.get(&stream).map_or(&NOWHERE, |offer| &offer.hears)
    }

    /// The origins of which a bridge is heard here.
    pub fn afar(&self) -> &[Region] {
        &self.afar
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
        let heard = self.offers.values().filter(|offer| offer.is_heard_from_afar(&self.near));
        let afar: BTreeSet<_> = heard.map(|offer| offer.peer.region.clone()).collect();
        self.afar = afar.into_iter().collect();
        let (offers, retry) = (&self.offers, self.limits.retry_ticks);
        let is_heard = |feed: &FeedId, stream: StreamId| {
            let offer = offers.get(&stream).filter(|offer| offer.writes(feed, holdings));
            let told = offer.and_then(|offer| offer.beats.get(feed));
            told.is_some_and(|(_, rose)| tick - rose < patience) && !planted(Mutant::WriterGivenUpSoon)
        };
        let (near, name) = (&self.near, &self.name);
        let is_relayed = |feed: &FeedId, stream: StreamId| {
            let is_near = offers.get(&stream).is_some_and(|offer| offer.peer.region == *near);
            is_near && yields(near, name.as_ref(), feed, holdings)
        };
        self.failed.retain(|(feed, stream), failed| {
            let is_back = !failed.though_heard && is_heard(feed, *stream);
            tick - failed.tick < retry && !is_back
        });
        for (feed, chosen) in &mut self.chosen {
            let newest = holdings.beats.newest(feed);
            let copy = holdings.copies().get(feed);
            let is_outdated = |copy: &Copy| holdings.due_view(feed).is_some_and(|due| *copy.view() < due);
            let is_behind = copy.is_none_or(|copy| {
                newest.is_some_and(|newest| copy.position() < newest.position) || is_outdated(copy)
            });
            if !is_behind {
                chosen.progress = tick;
            }
            let told = self.offers.get(&chosen.stream).and_then(|offer| offer.beats.get(feed));
            let (n, rose) = told.copied().unwrap_or((0, chosen.since));
            let is_old = newest.is_some_and(|newest| newest.n > n);
            let though_heard = is_heard(feed, chosen.stream);
            let patience = if is_relayed(feed, chosen.stream) { patience + RELAY_TICKS } else { patience };
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

    /// Chooses anew where a feed has no supplier or a better one, knowing which peers ask here for it; tells what is to be
    /// asked differently.
    pub fn refresh(&mut self, holdings: &Holdings, asks: Asks<'_>) -> Vec<Turn> {
        let tick = holdings.beats.ticks();
        let wanted = self.wanted(holdings);
        self.break_rings(tick, asks);
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
            let best = self.best(&feed, holdings, asks);
            let stays = from.zip(best).is_some_and(|(from, best)| {
                // Who comes to ask here is not left for that but once (`break_rings`): where all lack a feed, everybody would
                // turn from one to the next with every message.
                let standing = |stream| self.standing(&feed, stream, holdings, &|_, _| false);
                !stalled && standing(from) <= standing(best)
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

    /// Who is asked and asks back counts as one that failed, for as long as one that stalled: two that prefer each other would
    /// otherwise part and meet again for ever. Once: several that all lack a feed would otherwise ask each other in turns as
    /// fast as messages travel.
    fn break_rings(&mut self, tick: u64, asks: Asks<'_>) {
        for (feed, chosen) in &mut self.chosen {
            let ring = (feed.clone(), chosen.stream);
            if asks(chosen.stream, feed) && !self.failed.contains_key(&ring) {
                self.failed.insert(ring, Failed { tick, though_heard: false });
                chosen.stalled = true;
            }
        }
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

    fn best(&self, feed: &FeedId, holdings: &Holdings, asks: Asks<'_>) -> Option<StreamId> {
        let offers = self.offers.iter().filter(|(_, offer)| offer.regions.contains(feed.region()));
        let ranked = offers.map(|(stream, offer)| {
            let told = offer.beats.get(feed).map(|(n, _)| *n);
            let failed = self.failed.get(&(feed.clone(), *stream)).copied();
            let (has_failed, rank) = self.standing(feed, *stream, holdings, asks);
            (has_failed, failed, rank, std::cmp::Reverse(told), *stream)
        });
        ranked.min().map(|(.., stream)| stream)
    }

    /// Less is better: one that has not stalled, the writer, who is near the writer, the bridge that imports, anybody, and who
    /// asks here for it. A bridge that is not to import an origin leaves its far suppliers to the last but those.
    fn standing(&self, feed: &FeedId, stream: StreamId, holdings: &Holdings, asks: Asks<'_>) -> (bool, u8) {
        let has_failed = self.failed.contains_key(&(feed.clone(), stream));
        let Some(offer) = self.offers.get(&stream) else { return (true, u8::MAX) };
        let peer = &offer.peer;
        let is_home = peer.region == *feed.region();
        let importer = holdings.importer(feed.region()).filter(|_| *feed.region() != self.near);
        let yields = yields(&self.near, self.name.as_ref(), feed, holdings);
        let rank = match &peer.role {
            _ if asks(stream, feed) => 6,
            Role::Member(_) if offer.writes(feed, holdings) => 0,
            Role::Member(_) if is_home => 1,
            Role::Bridge if is_home && peer.region != self.near && yields => 5,
            Role::Bridge if is_home && peer.region != self.near => 1,
            Role::Bridge if importer.is_some_and(|id| *id != peer.id) => 3,
            Role::Bridge => 2,
            Role::Member(_) | Role::Gateway => 4,
        };
        (has_failed, rank)
    }
}

/// Whether a bridge of this name leaves the import of a feed to another one of its region.
fn yields(near: &Region, name: Option<&EcoString>, feed: &FeedId, holdings: &Holdings) -> bool {
    let importer = holdings.importer(feed.region()).filter(|_| feed.region() != near);
    name.is_some() && importer.is_some_and(|id| Some(id) != name)
}

impl Offer {
    fn new(peer: Peer) -> Self {
        Self { peer, regions: BTreeSet::new(), beats: BTreeMap::new(), hears: BTreeSet::new() }
    }

    /// Whether it is a bridge of another region that has spoken of its feeds. A slow one counts: who is listed must not change
    /// with every late heartbeat, and a link that died in silence ends with its connection.
    fn is_heard_from_afar(&self, near: &Region) -> bool {
        let region = &self.peer.region;
        self.peer.role == Role::Bridge && region != near && self.regions.contains(region)
    }

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
