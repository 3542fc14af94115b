//! The open feeds of a region and its operators' orders, as the copy of its Raft feed lists them.
//!
//! Invariant: a feed that is not listed is closed; nothing else says so, so no absence can hide a close.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ecow::EcoString;
use landbridge_model::{
    DirectoryEntry, FeedId, ImportPolicy, LinkOrder, Mutant, Record, RecordKey, Region, planted,
};

use crate::copy::Copy;

/// One region's directory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: BTreeMap<FeedId, DirectoryEntry>,
    settling: bool,
    links: BTreeMap<Region, LinkOrder>,
    imports: BTreeMap<Region, Arc<ImportPolicy>>,
    bridges: BTreeMap<EcoString, BTreeSet<Region>>,
}

impl Directory {
    pub fn entries(&self) -> &BTreeMap<FeedId, DirectoryEntry> {
        &self.entries
    }

    pub fn lists(&self, feed: &FeedId) -> bool {
        self.entries.contains_key(feed)
    }

    pub fn settling(&self) -> bool {
        self.settling
    }

    /// What operators have ordered about other regions.
    pub fn links(&self) -> &BTreeMap<Region, LinkOrder> {
        &self.links
    }

    /// What of other regions shows here; of those that are not named everything does.
    pub fn imports(&self) -> &BTreeMap<Region, Arc<ImportPolicy>> {
        &self.imports
    }

    /// The region's bridges that live, each with the origins it hears.
    pub fn bridges(&self) -> &BTreeMap<EcoString, BTreeSet<Region>> {
        &self.bridges
    }

    /// Takes a change of the Raft feed in.
    pub fn take(&mut self, key: &RecordKey, record: Option<&Record>) {
        match (key, record) {
            (RecordKey::Settling, record) => self.settling = record.is_some(),
            (RecordKey::Directory(feed), Some(Record::Directory(entry))) => {
                self.entries.insert(feed.clone(), entry.clone());
            }
            (RecordKey::Directory(feed), _) => {
                self.entries.remove(feed);
            }
            (RecordKey::Link(region), Some(Record::Link(order))) => {
                self.links.insert(region.clone(), *order);
            }
            (RecordKey::Import(region), Some(Record::Import(policy))) => {
                self.imports.insert(region.clone(), Arc::clone(policy));
            }
            (RecordKey::Import(region), _) => {
                self.imports.remove(region);
            }
            (RecordKey::Bridge(id), Some(Record::Bridge(hears))) => {
                self.bridges.insert(id.clone(), hears.clone());
            }
            (RecordKey::Bridge(id), _) => {
                self.bridges.remove(id);
            }
            (RecordKey::Link(region), _) => {
                self.links.remove(region);
            }
            _ => {}
        }
    }

    /// R4 and R16: whether copies of closed feeds may go, because all that replaced them has arrived.
    pub fn releases(&self, copies: &BTreeMap<FeedId, Copy>) -> bool {
        let reached = |feed: &FeedId, need| copies.get(feed).is_some_and(|copy| copy.position().seq >= need);
        let needs = |need: u64| need > 0 && !planted(Mutant::NoNeedAtDrop);
        (!self.settling || planted(Mutant::DropWhileSettling))
            && self.entries.iter().all(|(feed, entry)| !needs(entry.need) || reached(feed, entry.need))
    }
}
