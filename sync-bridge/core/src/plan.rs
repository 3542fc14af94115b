//! Decides which addresses a bridge keeps streams with.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_model::{DirectoryEntry, FeedId, Mutant, Region, planted};

/// What the configuration says of the addresses.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The bridge's own region.
    pub own: Region,
    /// Members of the own region to begin with; the directory names the others.
    pub registries: BTreeSet<String>,
    /// Other regions' bridges.
    pub peers: BTreeMap<Region, BTreeSet<String>>,
}

/// One address to dial and the region that must answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dial {
    /// `host:port`.
    pub address: String,
    /// Who must be there.
    pub region: Region,
}

impl Plan {
    /// All addresses to keep streams with, given the own region's directory and the regions that operators have paused.
    ///
    /// A member reached by two addresses gets one stream: the carrier refuses the second.
    pub fn dials(
        &self,
        directory: &BTreeMap<FeedId, DirectoryEntry>,
        paused: &BTreeSet<Region>,
    ) -> BTreeSet<Dial> {
        let known = directory.values().filter(|_| !planted(Mutant::DirectoryNotDialled));
        let listed = known.map(|entry| entry.address.to_string());
        let members =
            self.registries.iter().cloned().chain(listed.filter(|address| leads_somewhere(address)));
        let near = members.map(|address| Dial { address, region: self.own.clone() });
        let far = self.peers.iter().filter(|(region, _)| !paused.contains(region)).flat_map(
            |(region, addresses)| {
                addresses.iter().map(|address| Dial { address: address.clone(), region: region.clone() })
            },
        );
        near.chain(far).collect()
    }
}

/// Whether an address is one to dial: blank is nobody's, and "any" is only for listening.
fn leads_somewhere(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    !matches!(host, "" | "0.0.0.0" | "[::]")
}

#[cfg(test)]
mod tests {
    use landbridge_model::{Era, MemberId};

    use super::*;

    fn region(name: &str) -> Region {
        Region::parse(name).unwrap()
    }

    fn listed(index: u64, address: &str) -> (FeedId, DirectoryEntry) {
        let feed = FeedId::Member { region: region("east"), era: Era(1), index };
        (feed, DirectoryEntry { member: MemberId(1), address: address.into(), nonce: index, need: 0 })
    }

    #[test]
    fn members_that_only_the_directory_names_are_dialled_too_and_paused_regions_are_not() {
        let plan = Plan {
            own: region("east"),
            registries: ["a:1".to_owned()].into(),
            peers: [(region("west"), ["w:9".to_owned()].into())].into(),
        };

        let directory = [listed(1, "a:1"), listed(2, "b:1"), listed(3, ""), listed(4, "0.0.0.0:9849")];
        let dials = plan.dials(&directory.clone().into(), &BTreeSet::new());

        let shown: Vec<_> = dials.iter().map(|dial| (dial.address.as_str(), dial.region.as_str())).collect();
        assert_eq!(shown, [("a:1", "east"), ("b:1", "east"), ("w:9", "west")]);

        let paused = plan.dials(&directory.into(), &[region("west")].into());
        assert!(paused.iter().all(|dial| dial.region == region("east")), "a paused region was dialled");
    }
}
