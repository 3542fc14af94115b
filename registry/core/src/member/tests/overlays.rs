//! Overlays whose instances are gone.

use std::sync::Arc;

use landbridge_model::{Overlay, RecordKey, ServiceKey};

use super::rig::*;
use crate::Command;

fn lay(rig: &mut Rig, port: u16, enabled: Option<bool>) {
    let overlay = Arc::new(Overlay { weight: Some(7.0), enabled, metadata: None });
    rig.submit(0, Command::SetOverlay { service: service(), key: key(port), overlay });
}

fn laid(rig: &Rig) -> Vec<u16> {
    let port = |key: &RecordKey| match key {
        RecordKey::Overlay(_, key) => Some(key.port),
        _ => None,
    };
    rig.state.records().keys().filter_map(port).collect()
}

#[test]
fn an_overlay_is_taken_back_when_its_instance_was_gone_for_ten_minutes() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    rig.publish(0, 1, 1, "a").unwrap();
    for (port, enabled) in [(1, None), (2, None), (3, Some(false))] {
        lay(&mut rig, port, enabled);
    }

    rig.ticks(590);
    assert_eq!(laid(&rig), [1, 2, 3], "one was taken back too early");
    rig.ticks(40);

    assert_eq!(laid(&rig), [1, 3], "what disables stays for a day, what lies over an instance for ever");
    rig.ticks(86_400);
    assert_eq!(laid(&rig), [1]);
}

#[test]
fn an_instance_that_comes_back_in_time_finds_its_overlay() {
    let mut rig = Rig::ready(1);
    rig.connect(0, 1);
    lay(&mut rig, 1, None);

    rig.ticks(500);
    rig.publish(0, 1, 1, "a").unwrap();
    rig.ticks(200);
    assert_eq!(laid(&rig), [1]);
    rig.withdraw(0, 1).unwrap();
    rig.ticks(500);

    assert_eq!(laid(&rig), [1], "the time before it came back was counted");
}

#[test]
fn a_leader_without_a_quorum_takes_no_overlay_back() {
    let mut rig = Rig::ready(1);
    lay(&mut rig, 1, None);

    rig.ticks(400);
    rig.quorum = false;
    rig.ticks(1_000);
    rig.quorum = true;
    rig.ticks(5);

    assert_eq!(laid(&rig), [1], "time without a quorum was counted");
}

#[test]
fn an_overlay_that_is_laid_again_has_its_whole_time_before_it() {
    let mut rig = Rig::ready(1);
    lay(&mut rig, 1, None);

    rig.ticks(595);
    lay(&mut rig, 1, None);
    rig.ticks(590);
    assert_eq!(laid(&rig), [1], "an edit that an operator has just written again was taken back");
    rig.ticks(40);

    assert_eq!(laid(&rig), [0; 0]);
}

#[test]
fn overlays_of_more_services_than_one_look_sees_are_taken_back_too() {
    let mut rig = Rig::ready(1);
    let service = |number: usize| ServiceKey::parse("", "", &format!("orders-{number}")).unwrap();
    let overlay = Arc::new(Overlay { weight: Some(7.0), enabled: None, metadata: None });
    for number in 0..150 {
        let (service, overlay) = (service(number), Arc::clone(&overlay));
        rig.submit(0, Command::SetOverlay { service, key: key(1), overlay });
    }

    rig.ticks(600);
    assert_eq!(laid(&rig).len(), 150);
    rig.ticks(1_800);

    assert_eq!(laid(&rig), [0; 0], "those behind the first were never looked at");
}
