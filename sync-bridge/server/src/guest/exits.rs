//! What of other regions is to be registered in a guest: by tasks, stamped with where it comes from.
//!
//! Invariant: nothing that another synchroniser wrote leaves, and nothing in place of what the guest has itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_bridge_core::guest::{Guest, Native, SOURCE, SOURCE_CLUSTER, STAMPS, Task, Way};
use landbridge_feed::Holder;
use landbridge_model::{Instance, InstanceKey, Metadata, OWNER, Region, ServiceKey};

/// NacosSync's key for the kind of registry.
const SOURCE_KIND: (&str, &str) = ("syncSource", "LANDBRIDGE");

/// What leaves.
pub(super) struct Exits {
    own: Region,
    /// Whether NacosSync's stamps are written as well.
    nacos_sync: bool,
    touched: BTreeSet<ServiceKey>,
    puts: BTreeMap<ServiceKey, Arc<[Native]>>,
}

impl Exits {
    pub fn new(own: Region, nacos_sync: bool) -> Self {
        Self { own, nacos_sync, touched: BTreeSet::new(), puts: BTreeMap::new() }
    }

    pub fn puts(&self) -> &BTreeMap<ServiceKey, Arc<[Native]>> {
        &self.puts
    }

    /// Whether this instance of a service leaves.
    pub fn holds(&self, service: &ServiceKey, instance: &InstanceKey) -> bool {
        self.puts.get(service).is_some_and(|set| set.iter().any(|native| native.key == *instance))
    }

    /// How many instances leave.
    pub fn count(&self) -> usize {
        self.puts.values().map(|set| set.len()).sum()
    }

    pub fn touch(&mut self, service: ServiceKey) {
        self.touched.insert(service);
    }

    /// Everything that tasks may be about is looked at again.
    pub fn touch_all(&mut self, holder: &Holder, tasks: &[Task]) {
        self.touched.extend(self.puts.keys().cloned());
        for task in tasks {
            if let Way::Out(region) = &task.way {
                self.touched.extend(holder.services(region));
            }
        }
    }

    /// Looks at touched services again; tells whether anything differs.
    pub fn refresh(&mut self, holder: &Holder, guest: &Guest) -> bool {
        let mut differs = false;
        for service in std::mem::take(&mut self.touched) {
            let about = |task: &&Task| matches!(task.way, Way::Out(_)) && task.selection.selects(&service);
            let tasks: Vec<&Task> = guest.tasks().iter().filter(about).collect();
            if tasks.iter().any(|task| task.paused) {
                continue;
            }
            let set = self.set(holder, guest, &service, &tasks);
            let before = self.puts.get(&service).map(|set| &**set).unwrap_or_default();
            if before == set {
                continue;
            }
            differs = true;
            if set.is_empty() {
                self.puts.remove(&service);
            } else {
                self.puts.insert(service, set.into());
            }
        }
        differs
    }

    fn set(&self, holder: &Holder, guest: &Guest, service: &ServiceKey, tasks: &[&Task]) -> Vec<Native> {
        let mut set: BTreeMap<InstanceKey, Native> = BTreeMap::new();
        for task in tasks {
            let Way::Out(region) = &task.way else { continue };
            if *region == self.own {
                continue;
            }
            for shown in holder.shown(region, service) {
                if guest.has(service, &shown.key) {
                    continue;
                }
                if let Some(metadata) = self.stamped(&shown.instance.metadata, region) {
                    let instance = Instance { metadata, ..(*shown.instance).clone() };
                    let native = Native { key: shown.key.clone(), instance, persistent: false };
                    set.entry(shown.key).or_insert(native);
                }
            }
        }
        set.into_values().collect()
    }

    /// The metadata with who wrote it; none if somebody else did, or if there is no room to say so.
    fn stamped(&self, metadata: &Metadata, origin: &Region) -> Option<Metadata> {
        if STAMPS.iter().any(|stamp| metadata.value(stamp).is_some()) {
            return None;
        }
        let mut stamped = metadata.with(OWNER, None).with(SOURCE, Some(origin.as_str()));
        if self.nacos_sync {
            stamped = stamped.with(SOURCE_KIND.0, Some(SOURCE_KIND.1));
            stamped = stamped.with(SOURCE_CLUSTER, Some(origin.as_str()));
        }
        (stamped.value(SOURCE) == Some(origin.as_str())).then_some(stamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Metadata {
        Metadata::new(list.iter().map(|(key, value)| ((*key).into(), (*value).into()))).unwrap()
    }

    #[test]
    fn what_leaves_says_where_it_comes_from_and_what_says_so_already_stays() {
        let (own, west) = (Region::parse("guest").unwrap(), Region::parse("west").unwrap());
        let exits = |nacos_sync| Exits::new(own.clone(), nacos_sync);

        let plain = exits(false).stamped(&pairs(&[("zone", "a"), (OWNER, "alice")]), &west).unwrap();
        assert_eq!(plain, pairs(&[("landbridge.source", "west"), ("zone", "a")]));
        let asked = exits(true).stamped(&Metadata::default(), &west).unwrap();
        let all = [("landbridge.source", "west"), ("sourceClusterId", "west"), ("syncSource", "LANDBRIDGE")];
        assert_eq!(asked, pairs(&all));
        for stamp in STAMPS {
            assert_eq!(exits(false).stamped(&pairs(&[(stamp, "east")]), &west), None);
        }
    }
}
