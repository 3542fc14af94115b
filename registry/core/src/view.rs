//! What a service looks like to plain clients: the own region's instances, and those of others as visibility says.

use std::sync::Arc;

use landbridge_model::{Cluster, Instance, InstanceKey, Metadata, Region, ServiceKey};

use crate::{
    board::BeatSlot,
    outcome::Kind,
    selector::{Labels, SELECTOR, has},
};

/// The metadata key under which an imported instance names its region.
pub const ORIGIN: &str = "landbridge.origin";

/// The metadata key by which an answered address says that a gateway stands there for a service of other regions.
pub const VIA: &str = "landbridge.via";

/// One service as this member shows it at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Which service.
    pub service: ServiceKey,
    /// Counts up with every view of the service.
    pub revision: u64,
    /// Nacos's `lastRefTime`: strictly rising per service, also across members of a region.
    pub last_ref_ms: u64,
    /// Whether someone defined it.
    pub defined: bool,
    /// What its instances are, none before the first.
    pub kind: Option<Kind>,
    /// Below this share of healthy instances all are answered as healthy.
    pub protect_threshold: f64,
    /// The service's own metadata.
    pub metadata: Metadata,
    /// Its instances in key order, disabled ones included; keys are unique.
    pub hosts: Vec<Host>,
    /// How many imported instances are not shown because a nearer one has their key.
    pub shadowed: usize,
}

/// One instance in a view.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Which.
    pub key: InstanceKey,
    /// As registered, under its overlay; an imported one carries [`ORIGIN`] in its metadata.
    pub instance: Arc<Instance>,
    /// Whether the registry vouches for it rather than a client.
    pub persistent: bool,
    /// The region it was born in, none for the own one.
    pub origin: Option<Region>,
    /// Whether its writer is silent, or its removal is held back.
    pub unverified: bool,
    /// Whether its region's link is silent.
    pub stale: bool,
    /// Where its beats are noted, if this member keeps its lease.
    pub slot: Option<BeatSlot>,
}

/// Which instances a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these clusters, all if empty.
    pub clusters: Vec<Cluster>,
    /// Only healthy ones.
    pub healthy_only: bool,
    /// With these labels, if a healthy one has them.
    pub labels: Labels,
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection<'a> {
    /// The enabled instances that pass the filter, in key order.
    pub hosts: Vec<&'a Host>,
    /// The protection threshold is reached: every host is to be written as healthy.
    pub protected: bool,
}

impl ServiceView {
    /// The instance of this key.
    pub fn host(&self, key: &InstanceKey) -> Option<&Host> {
        let at = self.hosts.binary_search_by(|host| host.key.cmp(key)).ok()?;
        Some(&self.hosts[at])
    }

    /// Whether plain clients would be answered the same by both; marks and numbers that they never see are left out.
    pub fn answers_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&Host, &Host)| {
            a.key == b.key && a.persistent == b.persistent && a.instance == b.instance
        };
        self.protect_threshold == other.protect_threshold
            && self.metadata.value(SELECTOR) == other.metadata.value(SELECTOR)
            && self.hosts.len() == other.hosts.len()
            && self.hosts.iter().zip(&other.hosts).all(same)
    }

    /// Selects as Nacos 2.x does (`selectInstancesWithHealthyProtection`): clusters, enabled, health, labels, then the
    /// threshold, which is reached with `healthy / total <= threshold`. If nothing healthy has the labels all are taken;
    /// Nacos takes all only if nothing has them, and so keeps consumers in a zone that is down.
    pub fn select(&self, filter: &Filter) -> Selection<'_> {
        let passes = |host: &&Host| {
            host.instance.enabled
                && (filter.clusters.is_empty() || filter.clusters.contains(&host.key.cluster))
                && (host.instance.healthy || !filter.healthy_only)
        };
        let mut hosts: Vec<&Host> = self.hosts.iter().filter(passes).collect();
        let near = |host: &Host| has(&host.instance.metadata, &filter.labels);
        if !filter.labels.is_empty() && hosts.iter().any(|host| host.instance.healthy && near(host)) {
            hosts.retain(|host| near(host));
        }
        let healthy = hosts.iter().filter(|host| host.instance.healthy).count();
        let protected = !hosts.is_empty() && healthy as f64 / hosts.len() as f64 <= self.protect_threshold;
        Selection { hosts, protected }
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::Address;

    use super::*;

    fn host(port: u16, cluster: &str, healthy: bool, enabled: bool) -> Host {
        let key = InstanceKey {
            ip: Address::parse("10.0.0.1").unwrap(),
            port,
            cluster: Cluster::parse(cluster).unwrap(),
        };
        let instance = Arc::new(Instance { healthy, enabled, ..Instance::plain(Metadata::default()) });
        Host { key, instance, persistent: false, origin: None, unverified: false, stale: false, slot: None }
    }

    fn view(hosts: Vec<Host>, protect_threshold: f64) -> ServiceView {
        let service = ServiceKey::parse("", "", "orders").unwrap();
        let (metadata, kind) = (Metadata::default(), Some(Kind::Ephemeral));
        let (revision, last_ref_ms, defined, shadowed) = (1, 1, false, 0);
        ServiceView {
            service,
            revision,
            last_ref_ms,
            defined,
            kind,
            protect_threshold,
            metadata,
            hosts,
            shadowed,
        }
    }

    fn ports(selection: &Selection<'_>) -> Vec<u16> {
        selection.hosts.iter().map(|host| host.key.port).collect()
    }

    #[test]
    fn a_disabled_instance_is_hidden_and_an_unhealthy_one_is_not() {
        let view =
            view(vec![host(1, "", true, true), host(2, "", false, true), host(3, "", true, false)], 0.0);

        assert_eq!(ports(&view.select(&Filter::default())), [1, 2]);
        assert_eq!(ports(&view.select(&Filter { healthy_only: true, ..Filter::default() })), [1]);
        assert!(view.host(&host(3, "", true, true).key).is_some(), "the catalog still knows it");
    }

    #[test]
    fn clusters_select_their_own() {
        let view =
            view(vec![host(1, "a", true, true), host(2, "b", true, true), host(3, "c", true, true)], 0.0);
        let clusters = ["a", "c"].map(|name| Cluster::parse(name).unwrap()).to_vec();

        assert_eq!(ports(&view.select(&Filter { clusters, ..Filter::default() })), [1, 3]);
    }

    #[test]
    fn labels_select_only_while_something_healthy_has_them() {
        let labelled = |port, zone: &str, healthy| {
            let metadata = Metadata::new([("zone".into(), zone.into())]).unwrap();
            let mut host = host(port, "", healthy, true);
            host.instance = Arc::new(Instance { metadata, ..(*host.instance).clone() });
            host
        };
        let near = |zone: &str| Filter { labels: vec![("zone".into(), zone.into())], ..Filter::default() };
        let hosts = vec![labelled(1, "a", true), labelled(2, "a", false), labelled(3, "b", true)];
        let view = view([hosts, vec![labelled(4, "c", false)]].concat(), 0.0);

        assert_eq!(ports(&view.select(&near("a"))), [1, 2], "an unhealthy one is told as such");
        assert_eq!(ports(&view.select(&near("b"))), [3]);
        assert_eq!(
            ports(&view.select(&near("c"))),
            [1, 2, 3, 4],
            "a zone that is down is no zone to stay in"
        );
        assert_eq!(ports(&view.select(&near("d"))), [1, 2, 3, 4]);
    }

    #[test]
    fn protection_counts_as_nacos_does_with_equal_reached_and_empty_not() {
        let half = vec![host(1, "", true, true), host(2, "", false, true)];
        let none = vec![host(1, "", false, true)];
        let reached =
            |hosts: Vec<Host>, threshold| view(hosts, threshold).select(&Filter::default()).protected;

        assert!(reached(half.clone(), 0.5) && !reached(half, 0.49));
        assert!(reached(none, 0.0), "the default protects when all are unhealthy");
        assert!(!reached(vec![], 1.0));
    }

    #[test]
    fn marks_and_revisions_alone_are_no_reason_to_push() {
        let before = view(vec![host(1, "", true, true)], 0.0);
        let mut after = before.clone();
        after.revision += 1;
        after.hosts[0].unverified = true;
        assert!(after.answers_like(&before));

        after.hosts[0].instance = host(1, "", false, true).instance;
        assert!(!after.answers_like(&before));
    }
}
