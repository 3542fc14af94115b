//! What a connection may do for how long, and when it rests.

use super::*;

const LIMITS: Connections = Connections {
    open_max: 1,
    tunnels_max: 1,
    header_timeout_ms: 10_000,
    idle_timeout_ms: 60_000,
    stream_idle_timeout_ms: 300_000,
    body_rate_min_bytes_per_second: 100,
    header_bytes_max: 8_192,
    headers_max: 100,
    streams_max: 1,
    pending_resets_max: 1,
    early_resets_max: 500,
    drain_ms: 1,
};

fn first_overrun(seat: &Seat, from: u64, step: u64) -> Option<(u64, Overrun)> {
    (1..1_000).map(|n| from + n * step).find_map(|now| Some((now, seat.review(&LIMITS, now)?)))
}

#[test]
fn a_head_that_never_completes_is_cut_after_its_time() {
    let seat = Seat::new(0, 0);
    seat.set_head(true, 1_000);
    seat.set_head(true, 9_000);

    assert_eq!(first_overrun(&seat, 0, 1_000), Some((12_000, Overrun::Head)));
}

#[test]
fn a_trickling_body_is_cut_and_a_steady_one_is_not() {
    let (slow, steady) = (Seat::new(0, 0), Seat::new(0, 0));
    let now = Rc::new(Beat::default());
    let (slow, steady) = (Rc::new(slow), Rc::new(steady));
    let _calls = (OpenCall::begin(&slow, &now), OpenCall::begin(&steady, &now));
    for (seat, bytes) in [(&slow, 2), (&steady, 200)] {
        seat.set_body(true);
        let overrun = (0..40).find_map(|second| {
            seat.wait_for_bytes(second * 1_000);
            seat.add_body(bytes, (second + 1) * 1_000);
            seat.touch((second + 1) * 1_000);
            Some((second, seat.review(&LIMITS, (second + 1) * 1_000)?))
        });

        let expected = (bytes == 2).then_some((10, Overrun::Trickle));
        assert_eq!(overrun, expected, "{bytes} bytes a second");
    }
}

#[test]
fn a_body_we_do_not_ask_for_is_never_slow() {
    let seat = Rc::new(Seat::new(0, 0));
    let _call = OpenCall::begin(&seat, &Rc::default());
    seat.set_body(true);
    seat.add_body(1, 0);

    assert_eq!(seat.review(&LIMITS, 250_000), None);
}

#[test]
fn an_idle_connection_is_asked_to_leave_before_it_is_cut() {
    let seat = Seat::new(0, 0);
    assert_eq!(seat.review(&LIMITS, 60_001), None);
    assert_eq!(seat.order.get(), Order::Leave);

    assert_eq!(seat.review(&LIMITS, 66_000), Some(Overrun::Lingered));
    assert_eq!(seat.order.get(), Order::Cut);
}

#[test]
fn a_call_in_flight_keeps_its_connection_until_nothing_moves_for_long() {
    let seat = Rc::new(Seat::new(0, 0));
    let beat = Rc::new(Beat::default());
    let call = OpenCall::begin(&seat, &beat);
    assert_eq!(seat.review(&LIMITS, 299_000), None);
    assert_eq!(seat.order.get(), Order::Stay);

    beat.now.set(299_000);
    drop(call);

    assert_eq!(seat.review(&LIMITS, 358_000), None);
    assert_eq!(seat.order.get(), Order::Stay, "quiet since the call ended");
}

#[test]
fn a_connection_that_gives_up_most_of_its_many_calls_is_cut() {
    for (answered_of_ten, expected) in [(4, Some(Overrun::Resets)), (6, None)] {
        let (seat, beat) = (Rc::new(Seat::new(0, 0)), Rc::default());
        for number in 0..2_000 {
            let mut call = OpenCall::begin(&seat, &beat);
            if number % 10 < answered_of_ten {
                call.answer();
            }
        }

        assert_eq!(seat.review(&LIMITS, 1_000), expected, "{answered_of_ten} of ten are answered");
    }
}

#[test]
fn a_few_calls_given_up_are_nothing() {
    let (seat, beat) = (Rc::new(Seat::new(0, 0)), Rc::default());

    (0..500).for_each(|_| drop(OpenCall::begin(&seat, &beat)));

    assert_eq!(seat.review(&LIMITS, 1_000), None);
}

#[test]
fn a_connection_rests_after_its_calls_and_only_with_nothing_left() {
    let (seat, beat) = (Rc::new(Seat::new(0, 0)), Rc::new(Beat::default()));
    assert!(!seat.rests(), "it has just come");
    let call = OpenCall::begin(&seat, &beat);
    assert!(!seat.rests(), "its first call runs");
    drop(call);
    assert!(seat.rests(), "many never make another");
    let call = OpenCall::begin(&seat, &beat);
    seat.review(&LIMITS, 10_000);
    assert!(!seat.rests(), "a call runs");
    beat.now.set(10_000);
    drop(call);
    seat.review(&LIMITS, 9_999 + REST_AFTER_MS);
    assert!(!seat.rests(), "it was busy a moment ago");

    seat.review(&LIMITS, 10_000 + REST_AFTER_MS);

    assert!(seat.rests());
    seat.set_unsent(true);
    assert!(!seat.rests(), "an answer is not on its way yet");
    seat.set_unsent(false);
    seat.set_head(true, 10_900);
    assert!(!seat.rests(), "a call begins");
    seat.set_head(false, 10_900);
    drop(OpenCall::begin(&seat, &beat));
    assert!(!seat.rests(), "until it was quiet again");
}
