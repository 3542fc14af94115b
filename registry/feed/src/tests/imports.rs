//! Import policies as every holder of a region applies them.

use std::{collections::BTreeMap, sync::Arc};

use landbridge_model::{Change, ImportPolicy, KeyGlob, Namespace, Record, RecordKey, ServiceKey};

use super::world::*;
use crate::{Effect, Standing};

const FAR: [&str; 2] = ["member", "gateway"];

fn everything() -> ImportPolicy {
    ImportPolicy::allowing(vec![KeyGlob::parse("*/*/*").unwrap()])
}

fn say(world: &mut World, index: u64, policy: Option<ImportPolicy>) {
    let record = policy.map(|policy| Record::Import(Arc::new(policy)));
    world.effects.clear();
    world.apply("member", index, vec![Change { key: RecordKey::Import(near()), record }]);
    world.run();
}

fn renamed() -> ServiceKey {
    ServiceKey::parse("from-east", "", "orders").unwrap()
}

fn is_touched(world: &World, name: &str, service: ServiceKey) -> bool {
    let touched = Effect::Touched { region: near(), service };
    world.effects.iter().any(|(at, effect)| *at == name && *effect == touched)
}

#[test]
fn a_policy_hides_at_every_holder_of_its_region_and_copies_stay_whole() {
    let (mut world, _) = two_regions();
    let deny = vec![KeyGlob::parse("*/*/orders").unwrap()];

    say(&mut world, 6, Some(ImportPolicy { deny, ..everything() }));

    for name in FAR {
        assert!(world.shown(name).is_empty(), "{name} shows what is denied");
        assert_eq!(world.holders[name].services(&near()).count(), 0);
        assert!(is_touched(&world, name, service("orders")));
        assert_eq!(world.copy(name, &feed(1)).unwrap().len(), 2);
    }
    assert_eq!(world.shown("east").len(), 2, "a policy of west is no business of east's");
    say(&mut world, 7, None);
    for name in FAR {
        assert_eq!(world.shown(name).len(), 2);
        assert!(is_touched(&world, name, service("orders")));
    }
}

#[test]
fn changes_are_told_under_the_name_that_a_service_has_here() {
    let (mut world, _) = two_regions();
    let namespace = |name: &str| Namespace::parse(name).unwrap();
    let namespaces = BTreeMap::from([(namespace("public"), namespace("from-east"))]);

    say(&mut world, 6, Some(ImportPolicy { namespaces, weight_scale: 0.5, ..everything() }));

    for name in FAR {
        assert!(
            is_touched(&world, name, service("orders")),
            "{name} does not hear that the old name is over"
        );
        assert!(is_touched(&world, name, renamed()));
        assert_eq!(world.holders[name].services(&near()).collect::<Vec<_>>(), [renamed()]);
        let shown = world.holders[name].shown(&near(), &renamed());
        assert_eq!(shown.iter().map(|shown| shown.instance.weight).collect::<Vec<_>>(), [0.5, 0.5]);
    }
    world.effects.clear();
    world.write("a", vec![set(3, session(2, "z"))]);
    world.run();
    for name in FAR {
        assert!(is_touched(&world, name, renamed()) && !is_touched(&world, name, service("orders")));
        assert_eq!(world.holders[name].shown(&near(), &renamed()).len(), 3);
    }
}

#[test]
fn a_region_that_is_silent_for_too_long_shows_nothing_until_it_is_heard_and_is_kept() {
    let (mut world, link) = two_regions();
    say(&mut world, 6, Some(ImportPolicy { max_stale_ms: Some(20_000), ..everything() }));
    world.cut(link);

    world.tick(18);
    for name in FAR {
        assert_eq!(world.shown(name).len(), 2, "{name} hides it too soon");
        assert_eq!(world.holders[name].status(&near()).unwrap().standing, Standing::Frozen);
    }
    world.effects.clear();
    world.tick(10);
    for name in FAR {
        assert!(world.shown(name).is_empty() && world.holders[name].expired(&near()));
        assert!(is_touched(&world, name, service("orders")));
        assert_eq!(world.copy(name, &feed(1)).unwrap().len(), 2, "{name} deleted it");
    }

    world.connect("west", "east");
    world.tick(4);
    for name in FAR {
        assert_eq!(world.shown(name).len(), 2, "{name} does not show it again");
    }
}

#[test]
fn a_policy_of_one_region_stays_there() {
    let (mut world, _) = two_regions();
    let key = RecordKey::Import(region("north"));

    world.apply(
        "a",
        11,
        vec![Change { key: key.clone(), record: Some(Record::Import(Arc::new(everything()))) }],
    );
    world.run();

    assert!(world.copy("east", &raft()).unwrap().record(&key).is_some());
    assert!(world.copy("west", &raft()).unwrap().record(&key).is_none());
}
