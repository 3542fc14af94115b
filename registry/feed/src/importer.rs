//! Which of a region's bridges imports which origin: one for each, spread over those that are listed as hearing it.
//!
//! Invariant: holders with the same list name the same bridge, and a bridge that comes or goes moves no origin between two
//! others.

use std::collections::{BTreeMap, BTreeSet};

use ecow::EcoString;
use landbridge_model::Region;
use xxhash_rust::xxh3::Xxh3;

/// Among the bridges that hear an origin, the one whose name draws the highest number together with the origin's.
pub(crate) fn importer<'a>(
    listed: &'a BTreeMap<EcoString, BTreeSet<Region>>,
    origin: &Region,
) -> Option<&'a EcoString> {
    let hearing = listed.iter().filter(|(_, hears)| hears.contains(origin));
    hearing.map(|(id, _)| id).max_by_key(|id| (drawn(id, origin), *id))
}

fn drawn(id: &str, origin: &Region) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(id.len() as u64).to_le_bytes());
    hash.update(id.as_bytes());
    hash.update(origin.as_str().as_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: usize) -> BTreeMap<EcoString, BTreeSet<Region>> {
        (0..count).map(|at| (format!("b{at}").into(), origins().into_iter().collect())).collect()
    }

    fn origins() -> Vec<Region> {
        (0..64).map(|at| Region::parse(&format!("r-{at}")).unwrap()).collect()
    }

    #[test]
    fn origins_are_spread_over_the_bridges() {
        let three = listed(3);
        let by: BTreeSet<_> =
            origins().iter().filter_map(|origin| importer(&three, origin).cloned()).collect();

        assert_eq!(by, three.into_keys().collect());
        assert_eq!(importer(&listed(0), &origins()[0]), None);
    }

    #[test]
    fn a_bridge_that_does_not_hear_an_origin_does_not_import_it() {
        let (mut three, origin) = (listed(3), &origins()[0]);
        let first = importer(&three, origin).unwrap().clone();

        three.get_mut(&first).unwrap().remove(origin);

        assert!(importer(&three, origin).is_some_and(|id| *id != first));
    }

    #[test]
    fn a_bridge_that_goes_moves_only_its_own_origins() {
        let (three, mut two) = (listed(3), listed(3));
        two.remove("b1");

        for origin in origins() {
            let before = importer(&three, &origin).unwrap();
            if before != "b1" {
                assert_eq!(importer(&two, &origin), Some(before));
            }
        }
    }
}
