//! The rules of a prober, one by one.

use landbridge_model::{Address, Cluster};

use super::*;

const RULES: Rules = Rules { enabled: true, times: 3, hard_times: 1, at_once_max: 10 };

pub(super) fn service() -> ServiceKey {
    ServiceKey::parse("", "", "stays").expect("a good name")
}

pub(super) fn instance(port: u16) -> InstanceKey {
    let ip = Address::parse("10.0.0.1").expect("an address");
    InstanceKey { ip, port, cluster: Cluster::parse("").expect("the default cluster") }
}

fn wanted(healthy: bool) -> Wanted {
    Wanted { method: Method::Tcp, setting: 1, healthy }
}

fn named(ports: impl IntoIterator<Item = u16>, one: Wanted) -> Input {
    let wanted = ports.into_iter().map(|port| (instance(port), one)).collect();
    Input::Service { service: service(), wanted }
}

/// A prober alone that knows of so many instances, all shown as healthy.
fn knowing(ports: u16, rules: Rules) -> Prober {
    let mut prober = Prober::new(MemberId(1), rules, 7);
    at(&mut prober, 0, named(1..=ports, wanted(true)));
    prober
}

fn at(prober: &mut Prober, millis: u64, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    prober.step(Moment(millis), input, &mut effects);
    effects
}

/// Lets time pass until the next probe starts; gives the moment and its name.
fn next(prober: &mut Prober) -> (u64, ProbeId) {
    loop {
        let due = prober.next_deadline().expect("something is due").0;
        for effect in at(prober, due, Input::Tick) {
            if let Effect::Probe { probe, .. } = effect {
                return (due, probe);
            }
        }
    }
}

/// Probes the only instance with these findings; gives the moment of the last, and what was told then.
fn finds(prober: &mut Prober, findings: &[Finding]) -> (u64, Vec<Effect>) {
    let mut last = (0, Vec::new());
    for finding in findings {
        let (now, probe) = next(prober);
        last = (now + 1, at(prober, now + 1, Input::Found { probe, finding: *finding, took_ms: 1 }));
    }
    last
}

fn flip(healthy: bool) -> Vec<Effect> {
    vec![Effect::Tell { flips: vec![(service(), instance(1), healthy)] }]
}

#[test]
fn three_soft_findings_in_a_row_flip_and_two_do_not() {
    use Finding::{Soft, Well};
    let mut prober = knowing(1, RULES);

    assert_eq!(finds(&mut prober, &[Soft, Soft, Well, Soft, Soft]).1, []);
    assert_eq!(finds(&mut prober, &[Soft]).1, flip(false));
}

#[test]
fn one_hard_finding_flips_as_in_nacos_unless_more_are_asked_for() {
    assert_eq!(finds(&mut knowing(1, RULES), &[Finding::Hard]).1, flip(false));

    let mut patient = knowing(1, Rules { hard_times: 3, ..RULES });
    assert_eq!(finds(&mut patient, &[Finding::Hard; 2]).1, []);
    assert_eq!(finds(&mut patient, &[Finding::Hard]).1, flip(false));
}

#[test]
fn who_is_down_comes_back_after_three_good_findings() {
    let mut prober = Prober::new(MemberId(1), RULES, 7);
    at(&mut prober, 0, named([1], wanted(false)));

    assert_eq!(finds(&mut prober, &[Finding::Well; 2]).1, []);
    assert_eq!(finds(&mut prober, &[Finding::Well]).1, flip(true));
}

#[test]
fn a_probe_that_cannot_be_made_says_nothing() {
    assert_eq!(finds(&mut knowing(1, RULES), &[Finding::Unable; 9]).1, []);
}

#[test]
fn a_flip_that_nobody_decided_is_told_again_a_second_later() {
    let mut prober = knowing(1, RULES);
    let (now, told) = finds(&mut prober, &[Finding::Hard]);
    assert_eq!(told, flip(false));

    at(&mut prober, now, Input::Told { decided: false });

    assert_eq!(prober.counts().flips, 1, "it stays a flip");
    assert_eq!(at(&mut prober, now + 999, Input::Tick), []);
    assert_eq!(at(&mut prober, now + 1_000, Input::Tick), flip(false));
}

#[test]
fn a_flip_is_taken_back_when_it_is_not_true_any_more() {
    let mut prober = knowing(1, RULES);
    let (now, _) = finds(&mut prober, &[Finding::Hard]);
    at(&mut prober, now, Input::Told { decided: false });

    finds(&mut prober, &[Finding::Well]);

    assert_eq!(prober.counts().flips, 0);
}

#[test]
fn a_decided_flip_is_told_once() {
    let mut prober = knowing(1, RULES);
    let (now, _) = finds(&mut prober, &[Finding::Hard]);

    at(&mut prober, now, Input::Told { decided: true });

    assert_eq!(prober.counts().flips, 0);
    assert_eq!(finds(&mut prober, &[Finding::Hard; 5]).1, []);
}

#[test]
fn probes_are_bounded_and_the_latest_waits_for_room() {
    let mut prober = knowing(50, Rules { at_once_max: 4, ..RULES });

    let started = at(&mut prober, 60_000, Input::Tick);

    assert_eq!(started.len(), 4);
    assert_eq!(prober.next_deadline(), None, "nothing but a finding makes room");
    let Effect::Probe { probe, .. } = started[0] else { panic!("a probe") };
    assert_eq!(at(&mut prober, 60_001, Input::Found { probe, finding: Finding::Well, took_ms: 1 }).len(), 1);
}

#[test]
fn many_that_are_known_at_once_are_not_probed_at_once() {
    let mut prober = knowing(1_000, Rules { at_once_max: 1_000, ..RULES });

    let most = (0..8_000).step_by(100).map(|now| at(&mut prober, now, Input::Tick).len()).max();

    assert!(most < Some(60), "{most:?} of 1000 within 100 ms");
    assert_eq!(prober.counts().running, 1_000);
}

#[test]
fn what_was_found_under_another_setting_does_not_count() {
    let mut prober = knowing(1, RULES);
    let (now, probe) = next(&mut prober);
    at(&mut prober, now, named([1], Wanted { setting: 2, ..wanted(true) }));

    assert_eq!(at(&mut prober, now + 1, Input::Found { probe, finding: Finding::Hard, took_ms: 1 }), []);
    assert_eq!(prober.counts(), Counts { mine: 1, running: 0, flips: 0 });
}

#[test]
fn members_share_the_work_and_take_over_who_is_gone() {
    let mut prober = knowing(300, RULES);
    let three = [1, 2, 3].map(MemberId).to_vec();

    at(&mut prober, 1, Input::Members(three));
    let shared = prober.counts().mine;
    at(&mut prober, 2, Input::Members(vec![MemberId(1)]));

    assert!((60..140).contains(&shared), "{shared} of 300");
    assert_eq!(prober.counts().mine, 300);
}

#[test]
fn switched_off_nothing_is_probed_and_no_flip_is_told() {
    let mut prober = knowing(1, RULES);
    let (now, _) = finds(&mut prober, &[Finding::Hard]);
    at(&mut prober, now, Input::Told { decided: false });

    at(&mut prober, now + 1, Input::Rules(Rules { enabled: false, ..RULES }));

    assert_eq!((prober.next_deadline(), prober.counts().flips), (None, 0));
}

#[test]
fn what_is_gone_is_probed_no_more() {
    let mut prober = knowing(3, RULES);

    at(&mut prober, 1, named([], wanted(true)));

    assert_eq!((prober.next_deadline(), prober.counts()), (None, Counts::default()));
}
