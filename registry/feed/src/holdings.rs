//! All copies of a holder with everything derived from them: directories, catalogs, clocks. Streams are not known here.
//!
//! Invariant: whatever changes a copy passes through here, so that what is derived never lags behind.
//! Invariant: a copy goes only when its close is known and every need is reached (R4), or when an operator of the own region
//! evicts its region.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ecow::EcoString;
use landbridge_model::{
    Change, FeedId, Hold, ImportPolicy, InstanceKey, LinkOrder, Moment, Mutant, Position, Record, RecordKey,
    Region, ServiceKey, View, planted,
};

use crate::{
    beats::Beats,
    body::Body,
    catalog::{Catalog, Sight, Turn, Turned},
    copy::Copy,
    directory::Directory,
    importer,
    input::{Loss, Role, Shown, Standing},
    lens,
    settings::{Limits, Settings},
};

/// What one holder holds.
#[derive(Debug)]
pub(crate) struct Holdings {
    limits: Limits,
    near: Region,
    copies: BTreeMap<FeedId, Copy>,
    origins: BTreeMap<Region, Origin>,
    own: Option<FeedId>,
    /// The own feed of before, kept until the next one shows the same records: a writer always shows its own.
    left: Option<FeedId>,
    greatest_clock: u64,
    /// Origins that have been silent for longer than their import policy lets them show.
    expired: BTreeSet<Region>,
    /// Whether anybody asks what other regions lost; only members show instances to plain clients.
    notes_losses: bool,
    /// What goes in the present change goes by an order or a policy.
    is_wished: bool,
    pub beats: Beats,
    pub news: News,
}

/// One region as its copies show it.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub directory: Directory,
    pub catalog: Catalog,
}

/// What has changed in the present step.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub moved: BTreeSet<FeedId>,
    /// Services by the names that their origins give them.
    pub touched: BTreeSet<(Region, ServiceKey)>,
    /// Import policies that held before this step, and no longer do.
    pub replaced: Vec<(Region, Option<Arc<ImportPolicy>>)>,
    pub directories: BTreeSet<Region>,
    /// Regions that are held from this step on.
    pub arrived: BTreeSet<Region>,
    pub dropped: Vec<FeedId>,
    pub doubted: Vec<FeedId>,
    /// What other regions show no more, where a holder asks for it.
    pub lost: Vec<Loss>,
    pub standings: Vec<(Region, Standing)>,
}

impl Holdings {
    pub fn new(settings: &Settings) -> Self {
        let limits = settings.limits.clone();
        let beats = Beats::new(&limits);
        Self {
            limits,
            near: settings.region.clone(),
            copies: BTreeMap::new(),
            origins: BTreeMap::new(),
            own: None,
            left: None,
            greatest_clock: 0,
            expired: BTreeSet::new(),
            notes_losses: matches!(settings.role, Role::Member(_)),
            is_wished: false,
            beats,
            news: News::default(),
        }
    }

    pub fn copies(&self) -> &BTreeMap<FeedId, Copy> {
        &self.copies
    }

    pub fn copy_mut(&mut self, feed: &FeedId) -> Option<&mut Copy> {
        self.copies.get_mut(feed)
    }

    pub fn origin(&self, region: &Region) -> Option<&Origin> {
        self.origins.get(region)
    }

    pub fn own(&self) -> Option<&FeedId> {
        self.own.as_ref()
    }

    pub fn greatest_clock(&self) -> u64 {
        self.greatest_clock
    }

    pub fn sight(&self) -> Sight<'_> {
        Sight { copies: &self.copies, beats: &self.beats }
    }

    /// Whether the directory of the feed's region lists it; a Raft feed needs no listing.
    pub fn lists(&self, feed: &FeedId) -> bool {
        feed.is_raft() || self.origins.get(feed.region()).is_some_and(|origin| origin.directory.lists(feed))
    }

    /// What the operators of the own region have ordered about another one.
    pub fn order(&self, region: &Region) -> Option<LinkOrder> {
        let near = self.origins.get(&self.near).filter(|_| *region != self.near)?;
        near.directory.links().get(region).copied()
    }

    /// What the operators of the own region let show of another one; none: everything.
    pub fn import(&self, region: &Region) -> Option<&Arc<ImportPolicy>> {
        let near = self.origins.get(&self.near).filter(|_| *region != self.near)?;
        near.directory.imports().get(region)
    }

    /// Whether an origin has been silent for longer than its import policy lets it show.
    pub fn is_expired(&self, region: &Region) -> bool {
        self.expired.contains(region)
    }

    /// Under which names a service of an origin shows, or showed before this step.
    pub fn local_names(&self, news: &News, region: &Region, service: &ServiceKey) -> Vec<ServiceKey> {
        let under = |policy: Option<&Arc<ImportPolicy>>| match policy {
            Some(policy) => policy.local(service),
            None => Some(service.clone()),
        };
        let replaced = news.replaced.iter().filter(|(of, _)| of == region);
        let before = replaced.filter_map(|(_, policy)| under(policy.as_ref()));
        before.chain(under(self.import(region))).collect()
    }

    /// Which bridge of the own region is to import an origin; none if none is listed.
    pub fn importer(&self, origin: &Region) -> Option<&EcoString> {
        importer::importer(self.origins.get(&self.near)?.directory.bridges(), origin)
    }

    /// Under which view a copy is to be held, by what the copy of its region's Raft feed says of the export policy.
    pub fn due_view(&self, feed: &FeedId) -> Option<View> {
        let raft = self.copies.get(&FeedId::Raft(feed.region().clone()))?;
        (*feed.region() != self.near).then(|| lens::view_toward(&self.near, raft))
    }

    /// Whether nothing that this region says may change anything here.
    pub fn shuts_out(&self, region: &Region) -> bool {
        self.order(region).is_some_and(|order| order.hold.shuts_out())
    }

    /// Whether everything of this region is to go.
    pub fn evicts(&self, region: &Region) -> bool {
        self.order(region).is_some_and(|order| order.hold == Hold::Evicted)
    }

    /// Takes a step of a feed that its copy accepts.
    pub fn advance(&mut self, feed: &FeedId, to: Position, changes: Vec<Change>) {
        let Some(copy) = self.copies.get_mut(feed) else { return };
        let id = Arc::clone(copy.id());
        let taken = copy.advance(to, changes, &self.limits);
        for (change, old) in &taken {
            self.learn(&id, &change.key, old.as_ref(), change.record.as_ref());
        }
        self.moved(feed);
    }

    /// Replaces a copy whole, or begins one.
    pub fn swap(&mut self, feed: &FeedId, view: View, position: Position, body: Body) {
        let mut next = Copy::new(feed, view, position, body);
        let nothing = Body::new();
        let old = self.copies.get(feed).map(|old| {
            next.succeed(old);
            old.body.clone()
        });
        if feed.is_raft() && old.is_none() {
            self.news.arrived.insert(feed.region().clone());
        }
        self.is_wished = self.copies.get(feed).is_some_and(|old| old.view() != next.view());
        let (old, new) = (old.unwrap_or(nothing), next.body.clone());
        let id = Arc::clone(next.id());
        self.copies.insert(feed.clone(), next);
        for (key, old, new) in old.differences(&new) {
            self.learn(&id, key, old, new);
        }
        self.is_wished = false;
        self.moved(feed);
    }

    /// The own feed begins with this content; one left behind may go from here on.
    pub fn begin(&mut self, feed: FeedId, position: Position, body: Body) {
        let left = self.left.take();
        self.beats.vouch(left.iter().chain([&feed]).cloned());
        self.swap(&feed, View::WHOLE, position, body);
        self.own = Some(feed.clone());
        self.beats.vouch([feed.clone()]);
        if let Some(left) = left {
            self.touch_feed(&left);
            // Who looked in between found that nobody writes here.
            self.touch_feed(&feed);
        }
    }

    /// The own feed is a copy like any other from here on, but stays until the next one is begun.
    pub fn leave(&mut self) {
        if let Some(feed) = self.own.take() {
            self.news.moved.insert(feed.clone());
            self.beats.vouch([feed.clone()]);
            self.left = Some(feed);
        }
    }

    /// Drops everything of regions that the operators of the own region have evicted.
    fn evict(&mut self) {
        let evicted: BTreeSet<Region> =
            self.copies.keys().map(FeedId::region).filter(|region| self.evicts(region)).cloned().collect();
        for region in evicted {
            let held: Vec<_> = self.copies.keys().filter(|feed| *feed.region() == region).cloned().collect();
            self.is_wished = true;
            for feed in &held {
                self.drop(feed);
            }
            self.is_wished = false;
            self.origins.remove(&region);
            self.beats.forget(&region);
        }
    }

    /// R4: drops what may go of the regions that moved in this step.
    pub fn release(&mut self) {
        if self.news.directories.contains(&self.near) {
            self.evict();
        }
        let moved: BTreeSet<Region> = self.news.moved.iter().map(|feed| feed.region().clone()).collect();
        for region in &moved {
            let Some(origin) = self.origins.get(region) else { continue };
            if !self.copies.contains_key(&FeedId::Raft(region.clone())) {
                continue;
            }
            let held = self.copies.keys().filter(|feed| !feed.is_raft() && feed.region() == region);
            let is_gone = |feed: &FeedId| planted(Mutant::SilenceDeletes) && self.beats.unverified(feed);
            let is_over = |feed: &&FeedId| !origin.directory.lists(feed) || is_gone(feed);
            let closed: Vec<_> = held.filter(is_over).cloned().collect();
            let own_is_closed = self.own.as_ref().is_some_and(|own| closed.contains(own));
            if closed.is_empty() || own_is_closed || !origin.directory.releases(&self.copies) {
                continue;
            }
            let left = self.left.clone();
            for feed in closed.iter().filter(|feed| Some(*feed) != left.as_ref()) {
                self.drop(feed);
            }
        }
    }

    /// Counts a tick of the marks: who is unverified, how regions stand.
    pub fn tick(&mut self, ticks: u64) {
        for feed in self.beats.tick(ticks) {
            self.touch_feed(&feed);
        }
        let copies = &self.copies;
        for (feed, copy) in copies {
            self.beats.measure(feed, copy.position());
        }
        let origins = &self.origins;
        let lists = |feed: &FeedId| origins.get(feed.region()).is_some_and(|o| o.directory.lists(feed));
        self.beats.retain(|feed| copies.contains_key(feed) || lists(feed));
        self.news.standings = self.beats.reckon(&self.limits);
    }

    /// Looks which origins have been silent for too long to show.
    pub fn expire(&mut self, now: Moment) {
        let Some(near) = self.origins.get(&self.near) else { return };
        let is_over = |region: &Region, policy: &ImportPolicy| {
            let standing = self.beats.standing(region);
            let since =
                standing.filter(|(standing, _)| *standing == Standing::Frozen).map(|(_, since)| since);
            since.zip(policy.max_stale_ms).is_some_and(|(since, max_ms)| now.since(since) > max_ms)
        };
        let imports = near.directory.imports().iter();
        let over =
            imports.filter(|(region, policy)| is_over(region, policy)).map(|(region, _)| region.clone());
        let expired: BTreeSet<Region> = over.collect();
        let before = std::mem::replace(&mut self.expired, expired);
        let turned: Vec<Region> = self.expired.symmetric_difference(&before).cloned().collect();
        for region in &turned {
            self.touch_region(region);
        }
    }

    fn touch_region(&mut self, region: &Region) {
        let services = self.origins.get(region).into_iter().flat_map(|origin| origin.catalog.services());
        self.news.touched.extend(services.map(|service| (region.clone(), service.clone())));
    }

    /// Everything a feed shows may look different, because its writer fell silent or came back.
    pub fn touch_feed(&mut self, feed: &FeedId) {
        let (Some(copy), Some(origin)) = (self.copies.get(feed), self.origins.get(feed.region())) else {
            return;
        };
        for service in origin.catalog.showing(copy, self.sight()) {
            self.news.touched.insert((feed.region().clone(), service));
        }
    }

    fn drop(&mut self, feed: &FeedId) {
        let Some(copy) = self.copies.remove(feed) else { return };
        for (key, old) in copy.records() {
            self.learn(copy.id(), key, Some(old), None);
        }
        self.news.moved.insert(feed.clone());
        self.news.dropped.push(feed.clone());
    }

    fn moved(&mut self, feed: &FeedId) {
        if let Some(copy) = self.copies.get(feed) {
            self.beats.measure(feed, copy.position());
        }
        if feed.is_raft() {
            self.origins.entry(feed.region().clone()).or_default();
        }
        self.news.moved.insert(feed.clone());
    }

    /// Carries one changed record over to what is derived from it.
    fn learn(&mut self, feed: &Arc<FeedId>, key: &RecordKey, old: Option<&Record>, new: Option<&Record>) {
        let region = feed.region();
        if !self.origins.contains_key(region) {
            self.origins.insert(region.clone(), Origin::default());
        }
        let Some(origin) = self.origins.get_mut(region) else { return };
        let sight = Sight { copies: &self.copies, beats: &self.beats };
        match key {
            RecordKey::Instance(service, instance) | RecordKey::Persistent(service, instance) => {
                if *region == self.near
                    && let Some(registration) = new.and_then(Record::registration)
                {
                    self.greatest_clock = self.greatest_clock.max(registration.stamp.clock);
                }
                let turned = origin.catalog.update(Turn { feed, service, instance, old, new }, sight);
                let notes = self.notes_losses && *region != self.near;
                if notes && turned == Turned::Gone && new.is_none() && !self.is_wished {
                    self.news.lost.extend(loss(feed, service, instance, old));
                }
                // The tombstone of an instance that is held back hides nothing here, and ends the hold.
                let is_buried =
                    new.and_then(Record::registration).is_some_and(|new| new.instance().is_none());
                if turned != Turned::Same || (notes && is_buried) {
                    self.news.touched.insert((region.clone(), service.clone()));
                }
            }
            RecordKey::Definition(service) => {
                origin.catalog.define(service, new.is_some());
                self.news.touched.insert((region.clone(), service.clone()));
            }
            RecordKey::Overlay(service, _) => {
                origin.catalog.overlay(service, old.is_some(), new.is_some());
                self.news.touched.insert((region.clone(), service.clone()));
            }
            RecordKey::Port(service) => {
                self.news.touched.insert((region.clone(), service.clone()));
            }
            RecordKey::Import(of) => {
                origin.directory.take(key, new);
                self.news.directories.insert(region.clone());
                if *region == self.near {
                    let policy =
                        if let Some(Record::Import(policy)) = old { Some(policy.clone()) } else { None };
                    self.news.replaced.push((of.clone(), policy));
                    self.touch_region(of);
                }
            }
            RecordKey::Settling
            | RecordKey::Directory(_)
            | RecordKey::Policy(_)
            | RecordKey::Link(_)
            | RecordKey::Bridge(_) => {
                origin.directory.take(key, new);
                if let (RecordKey::Directory(feed), Some(_)) = (key, new) {
                    self.beats.expect(feed);
                }
                self.news.directories.insert(region.clone());
            }
        }
    }
}

/// What is lost with an ephemeral record that showed an instance.
fn loss(feed: &FeedId, service: &ServiceKey, key: &InstanceKey, old: Option<&Record>) -> Option<Loss> {
    let registration = old?.registration()?;
    let shown = Shown {
        key: key.clone(),
        instance: Arc::clone(registration.instance()?),
        persistent: false,
        unverified: true,
        feed: feed.clone(),
        stamp: Some(registration.stamp),
    };
    Some(Loss { region: feed.region().clone(), service: service.clone(), shown })
}
