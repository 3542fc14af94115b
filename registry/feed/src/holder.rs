//! A holder: all copies of one process, its streams, and what they mean together.

use std::{collections::BTreeMap, sync::Arc};

use landbridge_model::{
    Definition, DirectoryEntry, FeedId, Heartbeat, InstanceKey, Moment, Region, Registration, ServiceKey,
};

use crate::{
    copy::Copy,
    input::{Effect, Input, RegionStatus, Shown},
    settings::Settings,
};

/// Follows, holds and supplies feeds, and joins what it holds.
#[derive(Debug)]
pub struct Holder {
    settings: Settings,
    copies: BTreeMap<FeedId, Copy>,
    directories: BTreeMap<Region, BTreeMap<FeedId, DirectoryEntry>>,
    nothing: BTreeMap<FeedId, DirectoryEntry>,
}

impl Holder {
    /// A holder of nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, copies: BTreeMap::new(), directories: BTreeMap::new(), nothing: BTreeMap::new() }
    }

    /// Takes one input and appends what follows from it to `effects`.
    pub fn step(&mut self, _now: Moment, _input: Input, _effects: &mut Vec<Effect>) {}

    /// Who it is and which bounds it keeps.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The origins of which it holds the Raft feed.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.copies.keys().filter(|feed| feed.is_raft()).map(FeedId::region)
    }

    /// The services of an origin that are defined or show an instance.
    pub fn services(&self, _region: &Region) -> impl Iterator<Item = &ServiceKey> {
        std::iter::empty()
    }

    /// What an origin shows for a service: winners under their overlays, persistent ones included, tombstones not.
    pub fn shown(&self, _region: &Region, _service: &ServiceKey) -> Vec<Shown> {
        Vec::new()
    }

    /// What an origin defines for a service.
    pub fn definition(&self, _region: &Region, _service: &ServiceKey) -> Option<&Arc<Definition>> {
        None
    }

    /// The winning ephemeral record of a key, tombstones included.
    pub fn winner(
        &self,
        _region: &Region,
        _service: &ServiceKey,
        _instance: &InstanceKey,
    ) -> Option<(&FeedId, &Registration)> {
        None
    }

    /// The open feeds of an origin.
    pub fn directory(&self, region: &Region) -> &BTreeMap<FeedId, DirectoryEntry> {
        self.directories.get(region).unwrap_or(&self.nothing)
    }

    /// Whether an origin is gathering itself after a restore (R16); true as well while its Raft feed is not held.
    pub fn settling(&self, _region: &Region) -> bool {
        true
    }

    /// The newest heartbeat known of a feed.
    pub fn heartbeat(&self, _feed: &FeedId) -> Option<Heartbeat> {
        None
    }

    /// Own ticks since a heartbeat of the feed last advanced, or since the holder started if none has.
    pub fn silent_ticks(&self, _feed: &FeedId) -> u64 {
        0
    }

    /// Whether the records of a feed are unverified (R26).
    pub fn unverified(&self, _feed: &FeedId) -> bool {
        false
    }

    /// All copies, the own feed included.
    pub fn copies(&self) -> impl Iterator<Item = (&FeedId, &Copy)> {
        self.copies.iter()
    }

    /// One copy.
    pub fn copy(&self, feed: &FeedId) -> Option<&Copy> {
        self.copies.get(feed)
    }

    /// The feed this member writes, none before it is begun and after it is ended.
    pub fn own(&self) -> Option<&FeedId> {
        None
    }

    /// The seqs of all listed feeds of an origin that are held: what a close or a settle carries.
    pub fn cursor(&self, _region: &Region) -> BTreeMap<FeedId, u64> {
        BTreeMap::new()
    }

    /// How an origin stands; none while its Raft feed is not held.
    pub fn status(&self, _region: &Region) -> Option<RegionStatus> {
        None
    }

    /// The greatest stamp clock seen in any record of the own region.
    pub fn greatest_clock(&self) -> u64 {
        0
    }
}
