//! What import policies let show, and what a policy is foreseen to change.

use std::{collections::BTreeMap, sync::Arc};

use landbridge_model::{
    ExportPolicy, ImportPolicy, KeyGlob, Namespace, Position, Record, RecordKey, Region, ServiceKey, Showing,
};

use super::rig::*;
use crate::{Command, Foreseen, ForeseenRow, Input, Outcome, Settings, Visibility};

fn west() -> Region {
    Region::parse("west").unwrap()
}

fn everything() -> ImportPolicy {
    ImportPolicy::allowing(vec![KeyGlob::parse("*/*/*").unwrap()])
}

fn denied() -> ImportPolicy {
    ImportPolicy { deny: vec![KeyGlob::parse("public/*/ord*").unwrap()], ..everything() }
}

fn set(policy: Option<ImportPolicy>) -> Command {
    Command::SetImport { region: west(), policy: policy.map(Arc::new) }
}

fn foreseen(rig: &mut Rig, command: Command) -> Foreseen {
    match rig.ask(0, |ticket| Input::Foresee { ticket, command }) {
        Ok(Outcome::Foreseen(foreseen)) => foreseen,
        other => panic!("{other:?} is no answer"),
    }
}

fn row(service: ServiceKey, before: Option<usize>, after: Option<usize>) -> ForeseenRow {
    ForeseenRow { service, before, after }
}

/// A member with an instance of its own, and one of west beside it.
fn merging() -> Rig {
    let mut rig = Rig::with(1, |settings| Settings { visibility: Visibility::Merge, ..settings });
    rig.ticks(3);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "local").unwrap();
    rig.import(0, "west", &[7]);
    assert_eq!(rig.ports(0), [1, 7]);
    rig
}

#[test]
fn what_an_import_policy_denies_is_gone_from_view_and_back_without_it() {
    let mut rig = merging();

    rig.submit(0, set(Some(denied())));
    assert_eq!(rig.ports(0), [1]);
    rig.submit(0, set(None));

    assert_eq!(rig.ports(0), [1, 7], "what was hidden was never deleted");
}

#[test]
fn an_import_policy_says_how_one_region_shows_whatever_the_member_is_set_to() {
    for (showing, expected) in
        [(Showing::Hidden, vec![1]), (Showing::Failover, vec![1]), (Showing::Merge, vec![1, 7])]
    {
        let mut rig = merging();

        rig.submit(0, set(Some(ImportPolicy { visibility: Some(showing), ..everything() })));

        assert_eq!(rig.ports(0), expected, "{showing:?}");
    }
}

#[test]
fn a_renamed_namespace_shows_under_its_new_name_only() {
    let mut rig = merging();
    let namespace = |name: &str| Namespace::parse(name).unwrap();
    let namespaces = BTreeMap::from([(namespace("public"), namespace("from-west"))]);

    rig.submit(0, set(Some(ImportPolicy { namespaces, weight_scale: 0.5, ..everything() })));

    assert_eq!(rig.ports(0), [1]);
    let renamed = ServiceKey::parse("from-west", "", "orders").unwrap();
    let now = landbridge_model::Moment(rig.now);
    let view = rig.members[0].as_mut().unwrap().view(now, &renamed).expect("it shows");
    assert_eq!(view.hosts.iter().map(|host| host.key.port).collect::<Vec<_>>(), [7]);
    assert_eq!(view.hosts[0].instance.weight, 0.5);
    let listed: Vec<_> = rig.member(0).services(&namespace("from-west")).cloned().collect();
    assert_eq!(listed, [renamed]);
}

#[test]
fn what_a_policy_would_change_is_told_and_not_done() {
    let mut rig = merging();

    let hides = foreseen(&mut rig, set(Some(denied())));
    assert_eq!((hides.before, hides.after), (1, 0));
    assert_eq!(hides.rows, [row(service(), Some(1), None)]);
    let halves = foreseen(&mut rig, set(Some(ImportPolicy { weight_scale: 0.5, ..everything() })));
    assert_eq!(halves.rows, [row(service(), Some(1), Some(1))]);
    assert_eq!(foreseen(&mut rig, set(None)).rows, []);

    assert_eq!(rig.ports(0), [1, 7]);
    assert!(!rig.state.records().contains_key(&RecordKey::Import(west())));
}

#[test]
fn what_would_leave_for_a_peer_is_told_before_it_leaves() {
    let mut rig = merging();
    let all = ExportPolicy {
        since: Position::NONE,
        allow: vec![KeyGlob::parse("public/*/*").unwrap()],
        deny: Vec::new(),
    };
    let export = Command::SetPolicy { peer: west(), policy: Some(Arc::new(all)) };

    let leaves = foreseen(&mut rig, export.clone());
    assert_eq!(leaves.rows, [row(service(), None, Some(1))], "west's own instance does not leave for west");
    let kept = rig.state.records().values().filter(|record| matches!(record, Record::Policy(_))).count();
    assert_eq!(kept, 0);

    rig.submit(0, export.clone());
    assert_eq!(foreseen(&mut rig, export).rows, []);
    let taken_back = Command::SetPolicy { peer: west(), policy: None };
    assert_eq!(foreseen(&mut rig, taken_back).rows, [row(service(), Some(1), None)]);
}
