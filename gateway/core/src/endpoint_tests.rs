//! Tests of one endpoint: ejection, probation, return, and what is remembered of its latency.

use super::*;

const RULES: HealthRules = HealthRules {
    failures_max: 3,
    probe_failures_max: 2,
    failure_share_max: 0.5,
    share_calls_min: 20,
    eject_ms: 1_000,
    eject_max_ms: 4_000,
    failure_penalty_us: 1_000_000,
    latency_decay_ms: 3_000,
    slow_start_ms: 5_000,
    slow_floor_us: 100_000,
    slow_factor: 5.0,
};

fn fresh() -> EndpointState {
    EndpointState::new(1, 0.0, Moment(0))
}

fn fail(state: &EndpointState, ms: u64) -> Option<Moment> {
    match state.report(&RULES, Moment(ms), Outcome::Failed { latency_us: 100 }) {
        Turn::Ejected { until } => Some(until),
        Turn::Stays | Turn::Returned { .. } => None,
    }
}

fn fail_thrice(state: &EndpointState) {
    for _ in 0..3 {
        fail(state, 0);
    }
}

fn answer(state: &EndpointState, ms: u64, latency_us: u32) {
    state.report(&RULES, Moment(ms), Outcome::Answered { latency_us });
}

#[test]
fn three_failures_in_a_row_eject_for_a_second() {
    let state = fresh();

    let told: Vec<_> = (0..3).map(|_| fail(&state, 10)).collect();

    assert_eq!(told, [None, None, Some(Moment(1_010))]);
    assert!(state.ejected(Moment(1_009)));
    assert!(!state.ejected(Moment(1_010)));
}

#[test]
fn an_answer_between_failures_starts_the_count_again() {
    let state = fresh();

    for _ in 0..6 {
        fail(&state, 10);
        fail(&state, 10);
        answer(&state, 10, 500);
    }

    assert!(!state.ejected(Moment(11)));
}

#[test]
fn one_failure_on_probation_ejects_for_twice_as_long_up_to_the_bound() {
    let state = fresh();
    fail_thrice(&state);

    let second = fail(&state, 1_000);
    let third = fail(&state, 3_000);
    let fourth = fail(&state, 7_000);

    assert_eq!([second, third, fourth], [3_000, 7_000, 11_000].map(|ms| Some(Moment(ms))));
}

#[test]
fn failures_of_calls_already_in_flight_do_not_lengthen_an_ejection() {
    let state = fresh();
    fail_thrice(&state);

    let later: Vec<_> = (0..50).map(|_| fail(&state, 5)).collect();

    assert!(later.iter().all(Option::is_none));
    assert_eq!(state.ejected_until(), Moment(1_000));
}

#[test]
fn a_long_good_time_forgets_earlier_ejections() {
    let state = fresh();
    fail_thrice(&state);
    answer(&state, 10_000, 500);

    let told: Vec<_> = (0..3).map(|_| fail(&state, 20_000)).collect();

    assert_eq!(told[2], Some(Moment(21_000)));
}

#[test]
fn latency_rises_at_once_and_falls_slowly() {
    let state = fresh();
    answer(&state, 0, 1_000);
    answer(&state, 1, 300_000);
    assert_eq!(state.latency_us(&RULES, Moment(1)), 300_000.0);

    answer(&state, 2, 1_000);
    let soon = state.latency_us(&RULES, Moment(2));
    let later = state.latency_us(&RULES, Moment(20_000));

    assert!(soon > 290_000.0, "{soon}");
    assert!(later < 1_000.0, "{later}");
}

#[test]
fn a_call_that_was_given_up_can_only_make_an_endpoint_slower() {
    let state = fresh();
    answer(&state, 0, 5_000);

    state.report(&RULES, Moment(0), Outcome::Abandoned { latency_us: 100 });
    assert_eq!(state.latency_us(&RULES, Moment(0)), 5_000.0);
    state.report(&RULES, Moment(0), Outcome::Abandoned { latency_us: 900_000 });

    assert_eq!(state.latency_us(&RULES, Moment(0)), 900_000.0);
    assert_eq!(state.failures(), 0);
}

#[test]
fn a_fast_failure_counts_as_a_slow_answer() {
    let state = fresh();

    fail(&state, 5);

    assert_eq!(state.latency_us(&RULES, Moment(5)), 1_000_000.0);
}

#[test]
fn an_endpoint_on_probation_gets_one_call_a_second() {
    let state = fresh();
    fail_thrice(&state);
    assert_eq!((state.breaker(Moment(999)), state.admits(Moment(999))), (Breaker::Open, false));
    assert_eq!((state.breaker(Moment(1_000)), state.admits(Moment(1_000))), (Breaker::Probation, true));

    state.begin(Moment(1_000));

    assert!(!state.admits(Moment(1_001)) && !state.admits(Moment(1_999)) && state.admits(Moment(2_000)));
}

#[test]
fn an_answer_on_probation_brings_it_back_with_a_slow_start() {
    let state = fresh();
    fail_thrice(&state);
    state.begin(Moment(1_200));

    let turn = state.report(&RULES, Moment(1_201), Outcome::Answered { latency_us: 900 });

    assert_eq!(turn, Turn::Returned { grown: Moment(6_201) });
    assert_eq!(state.breaker(Moment(1_201)), Breaker::Closed);
    let grown = [1_201, 3_701, 6_201].map(|ms| state.grown(&RULES, Moment(ms)));
    assert_eq!(grown, [0.1, 0.5, 1.0]);
}

#[test]
fn an_answer_to_a_call_from_before_the_ejection_brings_nothing_back() {
    let state = fresh();
    fail_thrice(&state);

    answer(&state, 10, 500);

    assert_eq!(state.breaker(Moment(11)), Breaker::Open);
    assert_eq!(state.breaker(Moment(1_000)), Breaker::Probation);
    assert_eq!(fail(&state, 1_000), Some(Moment(3_000)), "one failure on probation is enough");
}

#[test]
fn a_probation_that_nobody_uses_ends_by_itself() {
    let state = fresh();
    fail_thrice(&state);

    assert_eq!(state.breaker(Moment(1_000 + PROBATION_MS)), Breaker::Closed);
}

#[test]
fn half_of_the_calls_failing_ejects_though_never_three_in_a_row() {
    let state = fresh();

    let told: Vec<_> = (0..30)
        .filter_map(|call| {
            answer(&state, call * 10, 500);
            fail(&state, call * 10)
        })
        .collect();

    assert_eq!(told, [Moment(1_090)], "the tenth failure of twenty calls");
}

#[test]
fn a_few_failures_in_many_calls_eject_nobody() {
    let state = fresh();

    for call in 0..1_000 {
        answer(&state, call, 500);
        assert!(call % 3 != 0 || fail(&state, call).is_none());
    }
}

#[test]
fn failures_from_before_an_ejection_do_not_count_after_it() {
    let state = fresh();
    let told = (0..30).filter_map(|call| fail(&state, call)).count();
    assert_eq!(told, 1);
    state.begin(Moment(2_000));
    answer(&state, 2_001, 500);

    assert_eq!(fail(&state, 2_002), None);
}

fn silent(state: &EndpointState, begun: u64, ms: u64) -> Turn {
    state.report(&RULES, Moment(ms), Outcome::Silent { latency_us: (ms - begun) as u32 * 1_000 })
}

#[test]
fn silence_ejects_and_a_single_late_answer_takes_that_back_at_once() {
    let state = fresh();
    answer(&state, 1_000, 1_000);

    let told = [250, 500, 750].map(|waited| silent(&state, 1_000, 1_000 + waited));
    assert_eq!(told, [Turn::Stays, Turn::Stays, Turn::Ejected { until: Moment(2_750) }]);
    assert_eq!(state.breaker(Moment(1_800)), Breaker::Open);

    let late = state.report(&RULES, Moment(1_900), Outcome::Answered { latency_us: 900_000 });

    assert_eq!(late, Turn::Returned { grown: Moment(1_900) });
    assert_eq!(state.breaker(Moment(1_900)), Breaker::Closed);
    assert_eq!(state.grown(&RULES, Moment(1_900)), 1.0, "it was slow, not gone");
    (0..3).for_each(|_| assert_eq!(silent(&state, 1_500, 1_950), Turn::Stays));
    let again = [2_400, 2_500, 2_600].map(|ms| silent(&state, 2_000, ms));
    assert_eq!(again[2], Turn::Ejected { until: Moment(3_600) }, "not doubled: the first was a mistake");
}

#[test]
fn an_endpoint_that_answers_others_is_slow_and_not_silent() {
    let state = fresh();

    for call in 0..100 {
        answer(&state, 300 + call * 10, 300_000);
        assert_eq!(silent(&state, 49 + call * 10, 300 + call * 10), Turn::Stays);
    }

    assert_eq!(state.breaker(Moment(1_400)), Breaker::Closed);
}

#[test]
fn an_answer_does_not_excuse_failures() {
    let state = fresh();
    fail_thrice(&state);

    answer(&state, 500, 1_000);

    assert_eq!(state.breaker(Moment(600)), Breaker::Open);
}

#[test]
fn a_call_from_before_the_ejection_does_not_spoil_the_probation() {
    let state = fresh();
    for _ in 0..3 {
        silent(&state, 0, 300);
    }
    assert_eq!(state.breaker(Moment(1_400)), Breaker::Probation);

    assert_eq!(silent(&state, 0, 1_400), Turn::Stays);
    let late = state.report(&RULES, Moment(1_400), Outcome::Failed { latency_us: 1_400_000 });

    assert_eq!((late, state.breaker(Moment(1_400))), (Turn::Stays, Breaker::Probation));
    assert_eq!(silent(&state, 1_450, 1_700), Turn::Ejected { until: Moment(3_700) }, "the trial counts");
}

#[test]
fn failed_probes_eject_and_only_a_proof_ends_that_early() {
    let state = fresh();
    assert_eq!(state.report_probe(&RULES, Moment(0), false, false), Turn::Stays);
    assert_eq!(state.report_probe(&RULES, Moment(500), true, false), Turn::Stays);
    assert_eq!(state.report_probe(&RULES, Moment(1_000), false, false), Turn::Stays);
    let turn = state.report_probe(&RULES, Moment(1_500), false, false);
    assert_eq!(turn, Turn::Ejected { until: Moment(2_500) });

    state.report_probe(&RULES, Moment(1_600), true, false);
    assert_eq!(state.breaker(Moment(1_600)), Breaker::Open, "whoever accepts need not answer");
    state.report_probe(&RULES, Moment(1_700), true, true);

    assert_eq!(state.breaker(Moment(1_700)), Breaker::Probation);
    assert!(state.admits(Moment(1_700)));
}
