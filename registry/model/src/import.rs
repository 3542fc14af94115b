//! What of another region shows in this one, and how: import policies.
//!
//! Invariant: a policy changes what is shown, never what is held; taking it back shows everything as it came.

use std::collections::BTreeMap;

use crate::{
    name::{Group, Namespace, ServiceKey},
    policy::KeyGlob,
};

/// The service that gateways register themselves as, in the default namespace and group. It keeps its name everywhere: by it
/// gateways find those of other regions.
pub const GATEWAYS: &str = "landbridge-gateway";

/// The most renamed namespaces of a policy, and the most renamed groups.
pub const RENAMES_MAX: usize = 256;

/// The greatest factor that weights may be multiplied by.
pub const WEIGHT_SCALE_MAX: f64 = 100.0;

/// The greatest weight that an instance may have.
const WEIGHT_MAX: f64 = 10_000.0;

/// How a region's instances appear to plain clients, apart from the other regions'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Showing {
    /// When too few of the own region are healthy.
    Failover,
    /// Always, beside the own region's.
    Merge,
    /// Never; gateways see them all the same.
    Hidden,
}

impl Showing {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Failover, Self::Merge, Self::Hidden];

    /// As operators write and read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Merge => "merge",
            Self::Hidden => "hidden",
        }
    }

    /// Reads what [`Showing::name`] writes.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|showing| showing.name() == name)
    }
}

/// What of one origin shows here. Without a policy everything does, as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportPolicy {
    /// What shows, by the origin's names.
    pub allow: Vec<KeyGlob>,
    /// What does not in spite of that.
    pub deny: Vec<KeyGlob>,
    /// The origin's namespaces that have another name here.
    pub namespaces: BTreeMap<Namespace, Namespace>,
    /// The origin's groups that have another name here.
    pub groups: BTreeMap<Group, Group>,
    /// What weights are multiplied by, 0 to [`WEIGHT_SCALE_MAX`].
    pub weight_scale: f64,
    /// After so long without a sign of the origin nothing of it shows until it is heard again, in milliseconds; none: never.
    pub max_stale_ms: Option<u64>,
    /// How it appears to plain clients; none: as the member is set to.
    pub visibility: Option<Showing>,
}

impl ImportPolicy {
    /// Shows these services as they are: under their names, with their weights, however old.
    pub fn allowing(allow: Vec<KeyGlob>) -> Self {
        Self {
            allow,
            deny: Vec::new(),
            namespaces: BTreeMap::new(),
            groups: BTreeMap::new(),
            weight_scale: 1.0,
            max_stale_ms: None,
            visibility: None,
        }
    }

    /// Under which name a service of the origin shows here, if it does.
    pub fn local(&self, origin: &ServiceKey) -> Option<ServiceKey> {
        let hit = |globs: &[KeyGlob]| globs.iter().any(|glob| glob.matches(origin));
        (hit(&self.allow) && !hit(&self.deny)).then(|| self.renamed(origin))
    }

    /// The services of the origin that show here under this name, if there are such.
    pub fn origins(&self, local: &ServiceKey) -> Vec<ServiceKey> {
        let from = |namespace: &Namespace, group: &Group| {
            ServiceKey::new(namespace.clone(), group.clone(), local.service().clone())
        };
        let namespaces = sources(&self.namespaces, local.namespace());
        let groups = sources(&self.groups, local.group());
        let pairs =
            namespaces.iter().flat_map(|namespace| groups.iter().map(move |group| (*namespace, *group)));
        pairs
            .map(|(namespace, group)| from(namespace, group))
            .filter(|origin| self.local(origin).as_ref() == Some(local))
            .collect()
    }

    /// A weight of the origin as it counts here.
    pub fn weight(&self, weight: f64) -> f64 {
        (weight * self.weight_scale).min(WEIGHT_MAX)
    }

    fn renamed(&self, origin: &ServiceKey) -> ServiceKey {
        if origin.service().as_str() == GATEWAYS {
            return origin.clone();
        }
        let namespace = self.namespaces.get(origin.namespace()).unwrap_or(origin.namespace());
        let group = self.groups.get(origin.group()).unwrap_or(origin.group());
        ServiceKey::new(namespace.clone(), group.clone(), origin.service().clone())
    }
}

/// The name itself and all that become it.
fn sources<'a, T: Ord>(renames: &'a BTreeMap<T, T>, name: &'a T) -> Vec<&'a T> {
    let renamed = renames.iter().filter(|(from, to)| *to == name && *from != name).map(|(from, _)| from);
    renamed.chain([name]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, group: &str, service: &str) -> ServiceKey {
        ServiceKey::parse(namespace, group, service).unwrap()
    }

    fn policy(allow: &str, deny: &[&str], namespaces: &[(&str, &str)]) -> ImportPolicy {
        let glob = |text: &str| KeyGlob::parse(text).unwrap();
        let namespace = |name: &str| Namespace::parse(name).unwrap();
        ImportPolicy {
            deny: deny.iter().map(|text| glob(text)).collect(),
            namespaces: namespaces.iter().map(|(from, to)| (namespace(from), namespace(to))).collect(),
            groups: BTreeMap::from([(Group::parse("g").unwrap(), Group::parse("west-g").unwrap())]),
            weight_scale: 0.5,
            ..ImportPolicy::allowing(vec![glob(allow)])
        }
    }

    #[test]
    fn every_name_leads_back_to_exactly_what_shows_under_it() {
        let policy =
            policy("*/*/*", &["*/*/secret*"], &[("prod", "west"), ("blue", "west"), ("west", "east")]);
        let all: Vec<_> = ["prod", "blue", "west", "other"]
            .iter()
            .flat_map(|namespace| ["g", "west-g", "h"].map(|group| (*namespace, group)))
            .flat_map(|(namespace, group)| ["a", "secret"].map(|name| key(namespace, group, name)))
            .collect();

        for origin in &all {
            match policy.local(origin) {
                Some(local) => assert!(policy.origins(&local).contains(origin), "{origin} shows as {local}"),
                None => assert_eq!(origin.service().as_str(), "secret"),
            }
        }
        for local in all.iter().filter_map(|origin| policy.local(origin)) {
            for origin in policy.origins(&local) {
                assert_eq!(policy.local(&origin).as_ref(), Some(&local), "{origin} was found under {local}");
            }
        }
        assert_eq!(policy.local(&key("prod", "g", "a")), Some(key("west", "west-g", "a")));
        assert_eq!(policy.origins(&key("prod", "h", "a")), [], "its own name is taken away from it");
    }

    #[test]
    fn gateways_keep_their_name() {
        let policy = policy("*/*/*", &[], &[("public", "west")]);

        assert_eq!(policy.local(&key("", "", GATEWAYS)), Some(key("", "", GATEWAYS)));
        assert_eq!(policy.origins(&key("", "", GATEWAYS)), [key("", "", GATEWAYS)]);
    }

    #[test]
    fn a_weight_stays_a_weight_that_an_instance_may_have() {
        let half = policy("*/*/*", &[], &[]);
        let much = ImportPolicy { weight_scale: WEIGHT_SCALE_MAX, ..half.clone() };

        assert_eq!((half.weight(3.0), much.weight(5_000.0)), (1.5, WEIGHT_MAX));
    }

    #[test]
    fn every_way_of_showing_is_read_as_it_is_written() {
        for showing in Showing::ALL {
            assert_eq!(Showing::named(showing.name()), Some(showing));
        }
        assert_eq!(Showing::named("gateway"), None);
    }
}
