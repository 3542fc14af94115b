//! What a holder answers: regions, services, winners, heartbeats and how origins stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use ecow::EcoString;
use landbridge_model::{
    Definition, DirectoryEntry, ExportPolicy, FeedId, Heartbeat, ImportPolicy, Instance, InstanceKey,
    LinkOrder, Record, RecordKey, Region, Registration, ServiceKey,
};

use crate::{
    catalog::Catalog,
    copy::Copy,
    holder::Holder,
    input::{Loss, RegionStatus, Shown, StreamId},
    lens,
    settings::Settings,
};

static NO_BRIDGES: LazyLock<BTreeMap<EcoString, BTreeSet<Region>>> = LazyLock::new(BTreeMap::new);
static NO_FEEDS: LazyLock<BTreeMap<FeedId, DirectoryEntry>> = LazyLock::new(BTreeMap::new);

impl Holder {
    /// Who it is and which bounds it keeps.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The origins of which it holds the Raft feed.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.holdings.copies().keys().filter(|feed| feed.is_raft()).map(FeedId::region)
    }

    /// The services of an origin that are defined or show an instance, by the names that they have here. A name comes twice
    /// where the import policy gives it to two of them.
    pub fn services(&self, region: &Region) -> impl Iterator<Item = ServiceKey> {
        self.services_under(region, self.import(region).map(|policy| &**policy))
    }

    /// What an origin shows for a service of this name here, as the import policy has it: winners under their overlays,
    /// persistent ones included, tombstones not.
    pub fn shown(&self, region: &Region, service: &ServiceKey) -> Vec<Shown> {
        if self.holdings.is_expired(region) {
            return Vec::new();
        }
        self.shown_under(region, service, self.import(region).map(|policy| &**policy))
    }

    /// Like [`Holder::services`], as another import policy would have it.
    pub fn services_under(
        &self,
        region: &Region,
        policy: Option<&ImportPolicy>,
    ) -> impl Iterator<Item = ServiceKey> {
        let services = self.holdings.origin(region).into_iter().flat_map(|origin| origin.catalog.services());
        services.filter_map(move |service| match policy {
            Some(policy) => policy.local(service),
            None => Some(service.clone()),
        })
    }

    /// Like [`Holder::shown`], as another import policy would have it; silence is left out of account.
    pub fn shown_under(
        &self,
        region: &Region,
        service: &ServiceKey,
        policy: Option<&ImportPolicy>,
    ) -> Vec<Shown> {
        let raft = FeedId::Raft(region.clone());
        let Some(origin) = self.holdings.origin(region) else { return Vec::new() };
        let of = |service: &ServiceKey| origin.catalog.shown(&raft, service, self.holdings.sight());
        let Some(policy) = policy else { return of(service) };
        let mut all: Vec<Shown> = policy.origins(service).iter().flat_map(of).collect();
        // Two services that have become one may both have an instance at one place: the first one's shows.
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.dedup_by(|later, first| later.key == first.key);
        for shown in &mut all {
            let weight = policy.weight(shown.instance.weight);
            if weight != shown.instance.weight {
                shown.instance = Arc::new(Instance { weight, ..(*shown.instance).clone() });
            }
        }
        all
    }

    /// What the operators of the own region let show of another one, as far as it is known here; none: everything.
    pub fn import(&self, region: &Region) -> Option<&Arc<ImportPolicy>> {
        self.holdings.import(region)
    }

    /// What the own region lets out to another one; none: nothing.
    pub fn export(&self, peer: &Region) -> Option<&Arc<ExportPolicy>> {
        let raft = self.holdings.copies().get(&FeedId::Raft(self.settings.region.clone()))?;
        lens::policy_toward(peer, raft)
    }

    /// Whether an origin has been silent for longer than its import policy lets it show.
    pub fn expired(&self, region: &Region) -> bool {
        self.holdings.is_expired(region)
    }

    /// How many instances an origin shows, all services together.
    pub fn shown_count(&self, region: &Region) -> usize {
        self.holdings.origin(region).map_or(0, |origin| origin.catalog.shown_count())
    }

    /// An instance of an origin's service as it would show here: under its overlay, and weighed as the import policy has it.
    pub fn as_shown(
        &self,
        region: &Region,
        service: &ServiceKey,
        key: &InstanceKey,
        instance: &Arc<Instance>,
    ) -> Arc<Instance> {
        let raft = FeedId::Raft(region.clone());
        let laid = Catalog::laid(&raft, (service, key), instance, self.holdings.sight());
        let weight = self.import(region).map_or(laid.weight, |policy| policy.weight(laid.weight));
        if weight == laid.weight { laid } else { Arc::new(Instance { weight, ..(*laid).clone() }) }
    }

    /// The name that an origin's service has here; none if the import policy lets nothing of it show.
    pub fn local_name(&self, region: &Region, service: &ServiceKey) -> Option<ServiceKey> {
        match self.import(region) {
            Some(policy) => policy.local(service),
            None => Some(service.clone()),
        }
    }

    /// What other regions lost in the last step; only members are told.
    pub fn losses(&self) -> &[Loss] {
        &self.lost
    }

    /// Which verification of a feed its copy here last compared equal with; it rises with each, and is 0 before the first.
    pub fn verified(&self, feed: &FeedId) -> u64 {
        self.verifications.get(feed).map_or(0, |verification| verification.n)
    }

    /// What an origin defines for a service.
    pub fn definition(&self, region: &Region, service: &ServiceKey) -> Option<&Arc<Definition>> {
        let raft = self.holdings.copies().get(&FeedId::Raft(region.clone()))?;
        match raft.record(&RecordKey::Definition(service.clone()))? {
            Record::Definition(definition) => Some(definition),
            _ => None,
        }
    }

    /// The port under which an origin's gateways carry connections to a service.
    pub fn service_port(&self, region: &Region, service: &ServiceKey) -> Option<u16> {
        let raft = self.holdings.copies().get(&FeedId::Raft(region.clone()))?;
        match raft.record(&RecordKey::Port(service.clone()))? {
            Record::Port(port) => Some(*port),
            _ => None,
        }
    }

    /// The winning ephemeral record of a key, tombstones included.
    pub fn winner(
        &self,
        region: &Region,
        service: &ServiceKey,
        instance: &InstanceKey,
    ) -> Option<(&FeedId, &Registration)> {
        self.holdings.origin(region)?.catalog.winner(service, instance, self.holdings.sight())
    }

    /// The open feeds of an origin.
    pub fn directory(&self, region: &Region) -> &BTreeMap<FeedId, DirectoryEntry> {
        self.holdings.origin(region).map_or(&*NO_FEEDS, |origin| origin.directory.entries())
    }

    /// What the operators of the own region have ordered about another one, as far as it is known here.
    pub fn order(&self, region: &Region) -> Option<LinkOrder> {
        self.holdings.order(region)
    }

    /// The bridges of the own region that are listed, each with the origins it hears.
    pub fn bridges(&self) -> &BTreeMap<EcoString, BTreeSet<Region>> {
        let near = self.holdings.origin(&self.settings.region);
        near.map_or(&*NO_BRIDGES, |origin| origin.directory.bridges())
    }

    /// Which bridge of the own region is to import an origin, by its name; none if none is listed.
    pub fn importer(&self, origin: &Region) -> Option<&EcoString> {
        self.holdings.importer(origin)
    }

    /// The origins that the peer of a stream says it hears itself: of a bridge of the own region.
    pub fn hears(&self, stream: StreamId) -> &BTreeSet<Region> {
        self.choice.hears(stream)
    }

    /// Whether an origin is gathering itself after a restore (R16).
    pub fn settling(&self, region: &Region) -> bool {
        self.holdings.origin(region).is_some_and(|origin| origin.directory.settling())
    }

    /// The newest heartbeat known of a feed.
    pub fn heartbeat(&self, feed: &FeedId) -> Option<Heartbeat> {
        self.holdings.beats.newest(feed)
    }

    /// The newest heartbeat of a feed whose position its copy had reached when last measured: everything that its writer had
    /// said by then is here.
    pub fn reached(&self, feed: &FeedId) -> Option<Heartbeat> {
        self.holdings.beats.reached(feed)
    }

    /// Own ticks since a heartbeat of the feed last advanced, or since the feed became known here if none has.
    pub fn silent_ticks(&self, feed: &FeedId) -> u64 {
        self.holdings.beats.silent_ticks(feed)
    }

    /// Whether the records of a feed are unverified (R26).
    pub fn unverified(&self, feed: &FeedId) -> bool {
        self.holdings.beats.unverified(feed)
    }

    /// All copies, the own feed included.
    pub fn copies(&self) -> impl Iterator<Item = (&FeedId, &Copy)> {
        self.holdings.copies().iter()
    }

    /// One copy.
    pub fn copy(&self, feed: &FeedId) -> Option<&Copy> {
        self.holdings.copies().get(feed)
    }

    /// The feed this member writes, none before it is begun and after it is ended.
    pub fn own(&self) -> Option<&FeedId> {
        self.holdings.own()
    }

    /// The seqs of all listed feeds of an origin that are held: what a close or a settle carries.
    pub fn cursor(&self, region: &Region) -> BTreeMap<FeedId, u64> {
        let listed = self.directory(region).keys();
        listed.filter_map(|feed| Some((feed.clone(), self.copy(feed)?.position().seq))).collect()
    }

    /// How an origin stands; none while its Raft feed is not held.
    pub fn status(&self, region: &Region) -> Option<RegionStatus> {
        let raft_feed = FeedId::Raft(region.clone());
        let raft = self.copy(&raft_feed)?.position();
        let (standing, since) = self.holdings.beats.standing(region)?;
        let held = || self.copies().filter(|(feed, _)| feed.region() == region);
        let followed = || self.directory(region).keys().chain([&raft_feed]);
        let lag_seqs = followed().map(|feed| {
            let newest = self.heartbeat(feed).map_or(0, |beat| beat.position.seq);
            newest.saturating_sub(self.copy(feed).map_or(0, |copy| copy.position().seq))
        });
        let (unix_ms, at) = self.wall;
        let now_ms = unix_ms + self.now.since(at);
        let living = followed().filter(|feed| !self.unverified(feed));
        let reached = living.filter_map(|feed| self.holdings.beats.reached(feed));
        Some(RegionStatus {
            region: region.clone(),
            standing,
            age_ms: self.now.since(since),
            raft,
            feeds: self.directory(region).len(),
            records: held().map(|(_, copy)| copy.len()).sum(),
            lag_seqs: lag_seqs.sum(),
            lag_ms: reached.map(|beat| now_ms.saturating_sub(beat.unix_ms)).max(),
        })
    }

    /// The greatest stamp clock seen in any record of the own region.
    pub fn greatest_clock(&self) -> u64 {
        self.holdings.greatest_clock()
    }
}
