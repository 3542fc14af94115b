//! Makes a gateway's table from what a holder shows, filled up from the keepsake where the holder is not complete yet.
//!
//! Invariant: a region's remembered endpoints go only when the holder has all of that region that is listed, or an operator
//! has evicted it.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_feed::{Holder, Shown};
use landbridge_model::{Hold, InstanceKey, Region, ServiceKey};

use crate::table::{Endpoint, RegionView, Standing, Table};

/// A table in the making.
pub struct Join {
    own: Region,
    /// What the keepsake says of regions that the holder does not have completely.
    remembered: BTreeMap<Region, Remembered>,
    table: Table,
    /// Of all services of the table together.
    endpoints: usize,
    touched: BTreeSet<ServiceKey>,
}

struct Remembered {
    view: RegionView,
    services: BTreeMap<ServiceKey, Vec<Endpoint>>,
}

impl Join {
    /// Starts from what the keepsake holds.
    pub fn new(own: Region, keepsake: Table) -> Self {
        let mut remembered: BTreeMap<Region, Remembered> = keepsake
            .regions
            .iter()
            .map(|(region, view)| (region.clone(), Remembered { view: *view, services: BTreeMap::new() }))
            .collect();
        for (service, endpoints) in &keepsake.services {
            for endpoint in endpoints.iter() {
                if let Some(region) = remembered.get_mut(&endpoint.origin) {
                    region.services.entry(service.clone()).or_default().push(endpoint.clone());
                }
            }
        }
        let endpoints = keepsake.services.values().map(|endpoints| endpoints.len()).sum();
        Self { own, remembered, table: keepsake, endpoints, touched: BTreeSet::new() }
    }

    /// The table as it stands.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How many endpoints the table has.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints
    }

    /// Whether anything waits to be made anew.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// A service of some region may show something else.
    pub fn touch(&mut self, service: ServiceKey) {
        self.touched.insert(service);
    }

    /// All that is known of a region may show something else.
    pub fn touch_region(&mut self, holder: &Holder, region: &Region) {
        self.touched.extend(holder.services(region));
        if let Some(remembered) = self.remembered.get(region) {
            self.touched.extend(remembered.services.keys().cloned());
        }
    }

    /// Lets go of the keepsake of regions that the holder has completely, and of those that operators have evicted.
    pub fn settle(&mut self, holder: &Holder) {
        let complete: Vec<Region> =
            self.remembered.keys().filter(|region| is_over(holder, region)).cloned().collect();
        for region in complete {
            self.touch_region(holder, &region);
            if region == self.own {
                self.touched.extend(self.table.ports.keys().cloned());
            }
            self.remembered.remove(&region);
        }
    }

    /// Makes the touched services anew; `refresh_regions` comes first.
    pub fn rebuild(&mut self, holder: &Holder) {
        for service in std::mem::take(&mut self.touched) {
            match holder.service_port(&self.own, &service) {
                port if port == self.table.ports.get(&service).copied() => {}
                Some(port) => drop(self.table.ports.insert(service.clone(), port)),
                None if self.remembered.contains_key(&self.own) => {}
                None => drop(self.table.ports.remove(&service)),
            }
            let endpoints = self.endpoints(holder, &service);
            let known = self.table.endpoints(&service);
            if known == endpoints {
                // What is the same stays the very same value: whoever compares two tables sees it at once.
                continue;
            }
            self.endpoints = self.endpoints - known.len() + endpoints.len();
            if endpoints.is_empty() {
                self.table.services.remove(&service);
            } else {
                self.table.services.insert(service, endpoints.into());
            }
        }
    }

    /// Looks at the regions again; tells whether any stands differently, apart from its age. All of a region that is new here
    /// is touched.
    pub fn refresh_regions(&mut self, holder: &Holder) -> bool {
        let mut regions: BTreeMap<Region, RegionView> =
            self.remembered.iter().map(|(region, remembered)| (region.clone(), remembered.view)).collect();
        for region in holder.regions() {
            if !self.table.regions.contains_key(region) {
                self.touch_region(holder, region);
            }
            if let Some(status) = holder.status(region) {
                let remembered = self.remembered.contains_key(region);
                let view = RegionView { standing: status.standing, age_ms: status.age_ms, remembered };
                regions.insert(region.clone(), view);
            }
        }
        let standings = |regions: &BTreeMap<Region, RegionView>| -> Vec<(Region, Standing, bool)> {
            regions.iter().map(|(name, view)| (name.clone(), view.standing, view.remembered)).collect()
        };
        let differs = standings(&self.table.regions) != standings(&regions);
        self.table.regions = regions;
        differs
    }

    fn endpoints(&self, holder: &Holder, service: &ServiceKey) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for (region, view) in &self.table.regions {
            // The own region is never called stale: with its registry silent, nothing else is fresher.
            let stale = *region != self.own && view.standing == Standing::Frozen;
            let mut here: BTreeMap<InstanceKey, Endpoint> = BTreeMap::new();
            let remembered = self.remembered.get(region).and_then(|known| known.services.get(service));
            here.extend(remembered.into_iter().flatten().map(|endpoint| (endpoint.key(), endpoint.clone())));
            let shown = holder.shown(region, service).into_iter();
            here.extend(shown.map(|shown| (shown.key.clone(), endpoint(region, shown, stale))));
            endpoints.extend(here.into_values());
        }
        endpoints
    }
}

fn endpoint(region: &Region, shown: Shown, stale: bool) -> Endpoint {
    Endpoint {
        zone: shown.instance.zone(),
        ip: shown.key.ip,
        port: shown.key.port,
        cluster: shown.key.cluster,
        origin: region.clone(),
        weight: shown.instance.weight,
        healthy: shown.instance.healthy,
        enabled: shown.instance.enabled,
        unverified: shown.unverified,
        stale,
        metadata: shown.instance.metadata.clone(),
    }
}

/// Whether nothing of a region need be remembered any more.
fn is_over(holder: &Holder, region: &Region) -> bool {
    let evicted = holder.order(region).is_some_and(|order| order.hold == Hold::Evicted);
    evicted || is_complete(holder, region)
}

/// Whether the holder has a copy of every listed feed of a region, each at least where its directory needs it.
fn is_complete(holder: &Holder, region: &Region) -> bool {
    let listed = holder.directory(region);
    holder.status(region).is_some()
        && !holder.settling(region)
        && listed.iter().all(|(feed, entry)| {
            holder.copy(feed).is_some_and(|copy| copy.position().seq >= entry.need.max(1))
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landbridge_feed::{Input, Limits, Role, Settings};
    use landbridge_model::{
        Address, Change, Cluster, DirectoryEntry, Era, FeedId, Instance, Life, LinkOrder, MemberId, Metadata,
        Moment, Position, Record, RecordKey, Registration, Stamp,
    };

    use super::*;

    fn service() -> ServiceKey {
        ServiceKey::parse("", "", "greeter").unwrap()
    }

    /// A holder whose region lists one feed, with one instance in it.
    fn holder(region: &Region) -> Holder {
        let role = Role::Member(MemberId(1));
        let mut holder = Holder::new(Settings { region: region.clone(), role, limits: Limits::STANDARD });
        let feed = FeedId::Member { region: region.clone(), era: Era(1), index: 1 };
        let entry =
            DirectoryEntry { member: MemberId(1), address: "10.9.9.9:9848".into(), nonce: 1, need: 0 };
        let listed = (RecordKey::Directory(feed.clone()), Record::Directory(entry));
        let key = InstanceKey {
            ip: Address::parse("10.0.0.1").unwrap(),
            port: 80,
            cluster: Cluster::parse("").unwrap(),
        };
        let life = Life::Session(Arc::new(Instance::plain(Metadata::new([]).unwrap())));
        let record = Record::Registration(Registration {
            stamp: Stamp { clock: 1, member: MemberId(1) },
            take: 0,
            life,
        });
        let records = vec![(RecordKey::Instance(service(), key), record)];
        let mut effects = Vec::new();
        let position = Position { era: Era(1), seq: 1 };
        holder.step(Moment(0), Input::Installed { position, records: vec![listed] }, &mut effects);
        holder.step(Moment(0), Input::Begun { feed, records }, &mut effects);
        holder
    }

    #[test]
    fn a_region_that_operators_evicted_is_not_remembered() {
        let (east, west) = (Region::parse("east").unwrap(), Region::parse("west").unwrap());
        let mut holder = holder(&east);
        let view = RegionView { standing: Standing::Live, age_ms: 0, remembered: false };
        let remembered = Endpoint {
            zone: Instance::plain(Metadata::new([]).unwrap()).zone(),
            ip: Address::parse("10.0.0.9").unwrap(),
            port: 80,
            cluster: Cluster::parse("").unwrap(),
            origin: west.clone(),
            weight: 1.0,
            healthy: true,
            enabled: true,
            unverified: false,
            stale: false,
            metadata: Metadata::new([]).unwrap(),
        };
        let mut keepsake = Table::default();
        keepsake.regions.insert(west.clone(), view);
        keepsake.services.insert(service(), vec![remembered].into());
        let mut join = Join::new(east, keepsake);
        let order = Record::Link(LinkOrder { hold: Hold::Evicted, since_ms: 1 });
        let changes = vec![Change { key: RecordKey::Link(west.clone()), record: Some(order) }];
        holder.step(
            Moment(1),
            Input::Applied { position: Position { era: Era(1), seq: 2 }, changes },
            &mut Vec::new(),
        );

        join.settle(&holder);
        join.refresh_regions(&holder);
        join.rebuild(&holder);

        assert!(!join.table().regions.contains_key(&west));
        assert!(join.table().endpoints(&service()).iter().all(|endpoint| endpoint.origin != west));
    }

    #[test]
    fn what_a_region_shows_is_made_anew_when_the_region_is_first_seen() {
        let region = Region::parse("east").unwrap();
        let holder = holder(&region);
        let mut join = Join::new(region, Table::default());
        join.touch(service());
        join.rebuild(&holder);
        assert!(join.table().endpoints(&service()).is_empty(), "its region was not looked at yet");

        assert!(join.refresh_regions(&holder));
        join.rebuild(&holder);

        assert_eq!(join.table().endpoints(&service()).len(), 1);
    }

    #[test]
    fn the_port_of_a_service_is_known_until_the_registry_takes_it_back() {
        let region = Region::parse("east").unwrap();
        let mut holder = holder(&region);
        let mut join = Join::new(region, Table::default());
        let mut say = |seq, record| {
            let changes = vec![Change { key: RecordKey::Port(service()), record }];
            let position = Position { era: Era(1), seq };
            holder.step(Moment(0), Input::Applied { position, changes }, &mut Vec::new());
            join.touch(service());
            join.refresh_regions(&holder);
            join.rebuild(&holder);
            join.table().ports.get(&service()).copied()
        };

        assert_eq!(say(2, Some(Record::Port(20_000))), Some(20_000));
        assert_eq!(say(3, None), None);
    }
}
