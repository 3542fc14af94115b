//! Steps and properties of claims.

use std::collections::BTreeMap;

use landbridge_model::{Instance, MemberId, Metadata};
use proptest::prelude::*;

use super::*;

const LEASE: By = By::Lease;

fn connection(number: u64) -> By {
    By::Connection(ConnectionId(number))
}

fn target(port: u16) -> InstanceRef {
    let service = ServiceKey::parse("", "", "orders").unwrap();
    let ip = landbridge_model::Address::parse("10.0.0.1").unwrap();
    let cluster = landbridge_model::Cluster::parse("").unwrap();
    (service, InstanceKey { ip, port, cluster })
}

fn stamp(clock: u64) -> Stamp {
    Stamp { clock, member: MemberId(1) }
}

fn claim(by: By, clock: u64) -> Claim {
    let metadata = Metadata::new([("clock".into(), clock.to_string().into())]).unwrap();
    Claim { by, stamp: stamp(clock), take: 0, instance: Arc::new(Instance::plain(metadata)), slot: None }
}

fn clock_of(claims: &Claims) -> Option<u64> {
    claims.record(&target(1)).filter(|record| record.instance().is_some()).map(|record| record.stamp.clock)
}

#[test]
fn the_end_of_a_half_dead_connection_leaves_the_clients_new_one() {
    let (mut claims, mut changes) = (Claims::default(), Vec::new());
    claims.put(target(1), claim(connection(1), 5), &mut changes);
    claims.put(target(1), claim(connection(2), 9), &mut changes);
    changes.clear();

    claims.end(&target(1), connection(1), &mut changes);

    assert_eq!((clock_of(&claims), changes.len()), (Some(9), 0));
}

#[test]
fn the_next_greatest_claim_becomes_the_record_with_its_old_stamp() {
    let (mut claims, mut changes) = (Claims::default(), Vec::new());
    claims.put(target(1), claim(connection(1), 5), &mut changes);
    claims.put(target(1), claim(LEASE, 9), &mut changes);
    changes.clear();

    claims.end(&target(1), LEASE, &mut changes);

    let record = changes[0].record.as_ref().and_then(Record::registration).unwrap();
    assert_eq!(record.stamp, stamp(5));
    assert!(matches!(record.life, Life::Session(_)));
}

#[test]
fn the_end_of_the_last_claim_removes_the_record_without_a_tombstone() {
    let (mut claims, mut changes) = (Claims::default(), Vec::new());
    claims.put(target(1), claim(connection(1), 5), &mut changes);
    changes.clear();

    claims.end(&target(1), connection(1), &mut changes);

    assert_eq!(changes, vec![change(&target(1).0, &target(1).1, None)]);
    assert_eq!((claims.len(), claims.tombstones(), claims.records().count()), (0, 0, 0));
}

#[test]
fn registering_again_on_a_connection_replaces_its_claim() {
    let (mut claims, mut changes) = (Claims::default(), Vec::new());
    claims.put(target(1), claim(connection(1), 5), &mut changes);
    claims.put(target(1), claim(connection(1), 7), &mut changes);

    claims.end(&target(1), connection(1), &mut changes);

    assert_eq!((clock_of(&claims), claims.len()), (None, 0));
}

#[test]
fn a_registration_takes_the_place_of_a_tombstone() {
    let (mut claims, mut changes) = (Claims::default(), Vec::new());
    claims.bury(&target(1), stamp(5), &mut changes);

    claims.put(target(1), claim(LEASE, 9), &mut changes);

    assert_eq!((clock_of(&claims), claims.tombstones()), (Some(9), 0));
}

#[test]
fn a_connection_that_ends_tells_all_it_held_and_nothing_else() {
    let (mut claims, mut changes) = (Claims::default(), Vec::new());
    claims.put(target(1), claim(connection(1), 5), &mut changes);
    claims.put(target(2), claim(connection(1), 6), &mut changes);
    claims.put(target(3), claim(connection(2), 7), &mut changes);
    claims.end(&target(2), connection(1), &mut changes);

    assert_eq!(claims.release(ConnectionId(1)), vec![target(1)]);
}

#[derive(Clone, Debug)]
enum Act {
    Put(By, u16),
    End(By, u16),
    Bury(u16),
    Clear(u16),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let by = prop_oneof![Just(LEASE), (1_u64..4).prop_map(connection)];
    let act = (by, 1_u16..3, 0_u8..8).prop_map(|(by, port, what)| match what {
        0..=3 => Act::Put(by, port),
        4..=5 => Act::End(by, port),
        6 => Act::Bury(port),
        _ => Act::Clear(port),
    });
    prop::collection::vec(act, 1..60)
}

/// What claims are, without any cleverness: per key and party a clock, and tombstones.
#[derive(Default)]
struct Plain {
    claims: BTreeMap<u16, BTreeMap<By, u64>>,
    tombs: BTreeMap<u16, u64>,
}

impl Plain {
    fn act(&mut self, act: &Act, clock: u64) {
        match act {
            Act::Put(by, port) => {
                self.tombs.remove(port);
                self.claims.entry(*port).or_default().insert(*by, clock);
            }
            Act::End(by, port) => {
                self.claims.entry(*port).or_default().remove(by);
            }
            Act::Bury(port) => {
                self.claims.remove(port);
                self.tombs.insert(*port, clock);
            }
            Act::Clear(port) => {
                self.tombs.remove(port);
            }
        }
    }

    /// Per key the stamp of its record, and whether it is a tombstone.
    fn records(&self) -> BTreeMap<u16, (u64, bool)> {
        let live = self.claims.iter().filter_map(|(port, by)| Some((*port, (*by.values().max()?, false))));
        live.chain(self.tombs.iter().map(|(port, clock)| (*port, (*clock, true)))).collect()
    }
}

proptest! {
    /// The records are always the greatest live claims, and the changes alone lead a follower to the same records.
    #[test]
    fn records_are_the_greatest_live_claims_and_changes_tell_all(acts in acts()) {
        let (mut claims, mut plain) = (Claims::default(), Plain::default());
        let mut followed = BTreeMap::new();

        for (at, act) in acts.iter().enumerate() {
            let (clock, mut changes) = (at as u64 + 1, Vec::new());
            match act {
                Act::Put(by, port) => claims.put(target(*port), claim(*by, clock), &mut changes),
                Act::End(by, port) => { claims.end(&target(*port), *by, &mut changes); }
                Act::Bury(port) => claims.bury(&target(*port), stamp(clock), &mut changes),
                Act::Clear(port) => claims.clear(&target(*port), &mut changes),
            }
            plain.act(act, clock);
            for change in changes {
                match change.record {
                    Some(record) => followed.insert(change.key, record),
                    None => followed.remove(&change.key),
                };
            }
            prop_assert_eq!(&followed, &claims.records().collect::<BTreeMap<_, _>>());
        }

        let found: BTreeMap<_, _> = claims
            .entries()
            .map(|(_, key, record)| (key.port, (record.stamp.clock, record.instance().is_none())))
            .collect();
        prop_assert_eq!(found, plain.records());
        prop_assert_eq!(claims.len(), plain.claims.values().map(BTreeMap::len).sum::<usize>());
        prop_assert_eq!(claims.tombstones(), plain.tombs.len());
    }

    /// What a connection is said to hold is what it claims.
    #[test]
    fn a_connection_holds_exactly_what_it_claims(acts in acts()) {
        let mut claims = Claims::default();
        for (at, act) in acts.iter().enumerate() {
            let (clock, changes) = (at as u64 + 1, &mut Vec::new());
            match act {
                Act::Put(by, port) => claims.put(target(*port), claim(*by, clock), changes),
                Act::End(by, port) => { claims.end(&target(*port), *by, changes); }
                Act::Bury(port) => claims.bury(&target(*port), stamp(clock), changes),
                Act::Clear(port) => claims.clear(&target(*port), changes),
            }
        }

        for number in 1..4 {
            let by = connection(number);
            let claimed: Vec<_> = [target(1), target(2)]
                .into_iter()
                .filter(|target| claims.of(target).iter().any(|claim| claim.by == by))
                .collect();
            prop_assert_eq!(claims.release(ConnectionId(number)), claimed);
        }
    }
}
