//! What plain clients see: imports, marks, revisions, and which services there are.

use landbridge_model::{Namespace, ServiceKey};

use super::rig::*;
use crate::{Command, Effect, Host, Input, Kind, ORIGIN, Settings, Visibility};

fn as_seen(visibility: Visibility) -> impl Fn(Settings) -> Settings {
    move |settings| Settings { visibility, ..settings }
}

fn origins(rig: &mut Rig) -> Vec<(u16, Option<String>)> {
    let origin = |host: &Host| host.instance.metadata.value(ORIGIN).map(str::to_owned);
    let hosts = rig.view(0).map(|view| view.hosts).unwrap_or_default();
    hosts.iter().map(|host| (host.key.port, origin(host))).collect()
}

fn touched(rig: &Rig) -> usize {
    rig.seen.iter().filter(|(_, effect)| matches!(effect, Effect::Touched { .. })).count()
}

#[test]
fn an_imported_instance_shows_where_nothing_local_is_and_names_its_region() {
    let mut rig = Rig::ready(1);

    rig.import(0, "west", &[7]);

    assert_eq!(origins(&mut rig), [(7, Some("west".to_owned()))]);
    let view = rig.view(0).expect("the service");
    assert_eq!(view.hosts[0].origin.as_ref().map(ToString::to_string), Some("west".to_owned()));
    assert!(view.hosts[0].slot.is_none());
}

#[test]
fn imported_instances_wait_behind_healthy_local_ones_and_step_in_after_2_s() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "local").unwrap();
    rig.ticks(1);
    rig.import(0, "west", &[7]);
    assert_eq!(rig.ports(0), [1]);

    rig.hang_up(0, 1);
    assert!(rig.ports(0).is_empty());
    rig.seen.clear();
    rig.ticks(2);

    assert!(touched(&rig) > 0, "the change is told");
    assert_eq!(rig.ports(0), [7]);
}

#[test]
fn imported_instances_vanish_30_s_after_local_ones_are_back() {
    let mut rig = Rig::ready(1);
    rig.import(0, "west", &[7]);
    assert_eq!(rig.ports(0), [7]);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "local").unwrap();

    rig.ticks(29);
    assert_eq!(rig.ports(0), [1, 7]);
    rig.ticks(2);

    assert_eq!(rig.ports(0), [1]);
}

#[test]
fn copies_of_other_regions_that_are_loaded_before_the_own_ones_do_not_step_in() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "local").unwrap();
    let disk = rig.disk(0);
    rig.kill(0);
    rig.start(0, vec![]);
    rig.import(0, "west", &[7]);

    rig.load(0, disk);

    assert_eq!(rig.ports(0), [1]);
}

#[test]
fn what_only_other_regions_show_is_there_as_soon_as_questions_are_answered() {
    let mut rig = Rig::ready(1);
    let disk = rig.disk(0);
    rig.kill(0);
    rig.start(0, vec![]);
    rig.import(0, "west", &[7]);
    assert_eq!(rig.member(0).phase(), crate::Phase::Starting);
    rig.seen.clear();

    rig.load(0, disk);

    assert_eq!((touched(&rig), rig.ports(0)), (1, vec![7]));
}

#[test]
fn a_client_cannot_name_its_own_origin() {
    let mut rig = Rig::ready(1);
    let instance = tagged(&[(ORIGIN, "west"), ("label", "a")]);

    rig.ask(0, |ticket| Input::Register { ticket, target: target(1), instance }).unwrap();

    assert_eq!(origins(&mut rig), [(1, None)]);
    assert_eq!(rig.shown(0), [(1, "a".to_owned())]);
}

#[test]
fn visibility_merge_shows_all_and_hidden_none() {
    for (visibility, expected) in [(Visibility::Merge, vec![1, 7]), (Visibility::Hidden, vec![1])] {
        let mut rig = Rig::with(1, as_seen(visibility));
        rig.ticks(3);
        rig.connect(0, 1);
        rig.publish(0, 1, 1, "local").unwrap();
        rig.import(0, "west", &[7]);

        assert_eq!(rig.ports(0), expected, "{visibility:?}");
    }
}

#[test]
fn an_imported_instance_with_a_local_ones_key_is_hidden_and_counted() {
    let mut rig = Rig::with(1, as_seen(Visibility::Merge));
    rig.ticks(3);
    rig.connect(0, 1);
    rig.publish(0, 1, 7, "local").unwrap();

    rig.import(0, "west", &[7, 8]);

    assert_eq!(origins(&mut rig), [(7, None), (8, Some("west".to_owned()))]);
    assert_eq!(rig.view(0).map(|view| view.shadowed), Some(1));
}

#[test]
fn silence_of_a_region_takes_nothing_away_and_marks_it_stale() {
    let mut rig = Rig::ready(1);
    rig.import(0, "west", &[7]);
    assert_eq!(rig.ports(0), [7]);
    rig.seen.clear();

    rig.ticks(15);

    assert!(touched(&rig) > 0, "the mark is told");
    let view = rig.view(0).expect("the service");
    assert!(view.hosts[0].stale && view.hosts[0].unverified);
    rig.ticks(1_000);
    assert_eq!(rig.ports(0), [7]);
}

#[test]
fn imported_instances_do_not_decide_the_type_of_a_local_service() {
    let mut rig = Rig::ready(1);
    rig.import(0, "west", &[7]);
    rig.view(0);

    rig.ask_to_persist(0, 1);

    assert_eq!(rig.view(0).and_then(|view| view.kind), Some(Kind::Persistent));
}

#[test]
fn revision_and_last_ref_rise_with_every_view_also_in_one_millisecond() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    let first = rig.view(0).expect("the service");

    let second = rig.view(0).expect("the service");

    assert!(second.revision > first.revision && second.last_ref_ms > first.last_ref_ms);
    assert_eq!(first.last_ref_ms, BEGIN_MS + rig.now);
}

#[test]
fn a_service_that_comes_back_under_its_name_goes_on_with_a_later_last_ref() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    let before = (0..100_000).map(|_| rig.view(0).expect("the service").last_ref_ms).last();
    rig.deregister(0, 1).unwrap();
    rig.ticks(70);
    assert_eq!(rig.view(0), None);

    rig.register(0, 1, "a").unwrap();

    assert!(rig.view(0).map(|view| view.last_ref_ms) > before);
}

#[test]
fn the_fastest_member_sets_the_pace_of_last_ref_at_all() {
    let mut rig = Rig::ready(2);
    rig.clock_ahead_ms[1] = 5_000;
    rig.ticks(10);
    rig.register(1, 1, "a").unwrap();

    let fast = rig.view(1).expect("the service").last_ref_ms;
    let slow = rig.view(0).expect("the service").last_ref_ms;

    assert!(fast.abs_diff(slow) < 100, "{fast} and {slow}");
    assert_eq!(rig.member(0).counts().clock_ahead_ms, 5_000);
}

#[test]
fn a_change_is_told_once_until_its_view_is_read() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);

    rig.batch(0, 1, &[1, 2, 3]).unwrap();
    rig.batch(0, 1, &[1, 2, 3, 4]).unwrap();
    assert_eq!(touched(&rig), 1);

    rig.view(0);
    rig.batch(0, 1, &[1]).unwrap();
    assert_eq!(touched(&rig), 2);
}

#[test]
fn an_operators_edit_shows_and_a_disabled_instance_is_not_listed() {
    let mut rig = Rig::ready(1);
    rig.register(0, 1, "a").unwrap();
    let overlay = landbridge_model::Overlay { enabled: Some(false), weight: Some(5.0), metadata: None };

    let command = Command::SetOverlay { service: service(), key: key(1), overlay: overlay.into() };
    rig.give(0, Input::Submit { ticket: crate::Ticket(0), command });

    let view = rig.view(0).expect("the service");
    assert_eq!(view.host(&key(1)).map(|host| host.instance.weight), Some(5.0));
    assert!(view.select(&crate::Filter::default()).hosts.is_empty());
}

#[test]
fn an_empty_service_is_listed_for_60_s_and_then_told_to_be_gone() {
    let mut rig = Rig::ready(1);
    let public = Namespace::parse("").unwrap();
    let listed = |rig: &Rig| rig.member(0).services(&public).map(ServiceKey::grouped).collect::<Vec<_>>();
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.hang_up(0, 1);

    rig.ticks(60);
    assert_eq!(listed(&rig), ["DEFAULT_GROUP@@orders"]);
    rig.view(0);
    rig.seen.clear();
    rig.ticks(2);

    assert!(listed(&rig).is_empty() && touched(&rig) > 0);
}

const BY_GATEWAY: Visibility = Visibility::Gateway { ports: (20_000, 20_001) };

/// A region whose clients reach other regions through gateways, with one gateway.
fn with_gateway(members: usize) -> Rig {
    let mut rig = Rig::with(members, as_seen(BY_GATEWAY));
    rig.ticks(15);
    rig.connect(0, 9);
    let gateways = ServiceKey::parse("", "", landbridge_model::GATEWAYS).unwrap();
    let (connection, published) = (crate::ConnectionId(9), crate::Published::One(key(8_000), plain()));
    rig.ask(0, |ticket| Input::Publish { ticket, connection, service: gateways, published }).unwrap();
    rig
}

#[test]
fn a_far_service_is_shown_as_the_regions_gateways_at_a_port_of_its_own() {
    let mut rig = with_gateway(3);

    rig.import(0, "west", &[7]);
    rig.import(1, "west", &[7]);
    rig.ticks(4);

    assert_eq!((rig.ports(0), rig.ports(1)), (vec![20_000], vec![20_000]));
    let view = rig.view(0).expect("the service");
    assert_eq!(view.hosts[0].instance.metadata.value(crate::VIA), Some("gateway"));
    assert_eq!(view.hosts[0].origin, None);
}

#[test]
fn a_gateway_that_goes_takes_its_address_out_of_every_far_service() {
    let mut rig = with_gateway(1);
    rig.import(0, "west", &[7]);
    rig.ticks(4);
    assert_eq!(rig.ports(0), [20_000]);
    rig.seen.clear();

    rig.hang_up(0, 9);

    assert!(touched(&rig) > 1, "the far service is told beside the gateways");
    assert!(rig.ports(0).is_empty());
}

#[test]
fn healthy_local_instances_come_before_gateways() {
    let mut rig = with_gateway(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "local").unwrap();
    rig.import(0, "west", &[7]);
    rig.ticks(4);
    assert_eq!(rig.ports(0), [1]);

    rig.hang_up(0, 1);
    rig.ticks(3);

    assert_eq!(rig.ports(0), [20_000]);
}
