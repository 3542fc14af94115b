//! How long callers of a line felt a failure.
//!
//! The failover time of a line (the calls of one service through one gateway) runs from the kill to the answer of the
//! first call from which on every call was answered, by a place that lives, and not slower than normal. Normal is twice
//! the slowest answer of the line before the kill, and at least [`NORMAL_LEAST`].

use std::time::{Duration, Instant};

use super::load::{Answerer, Call};

/// Answers faster than this count as normal on any machine.
const NORMAL_LEAST: Duration = Duration::from_millis(50);

/// What is normal on a line whose calls were these.
pub(super) fn normal(steady: &[Call]) -> Duration {
    let slowest = steady.iter().map(|call| call.took).max().unwrap_or_default();
    (slowest * 2).max(NORMAL_LEAST)
}

/// The failover time of a line, from its calls in any order; none if it never was normal again.
pub(super) fn failover(
    calls: &[Call],
    killed: Instant,
    normal: Duration,
    dead: impl Fn(&Answerer) -> bool,
) -> Option<Duration> {
    let mut after: Vec<&Call> = calls.iter().filter(|call| call.ended() >= killed).collect();
    after.sort_by_key(|call| call.sent);
    let fine =
        |call: &&Call| call.took <= normal && call.outcome.as_ref().is_ok_and(|answerer| !dead(answerer));
    let first = after.iter().rposition(|call| !fine(call)).map_or(0, |last| last + 1);
    after.get(first).map(|call| call.ended().duration_since(killed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn call(sent: Instant, took: Duration, zone: Option<&str>) -> Call {
        let place = |zone: &str| Answerer { region: "east".to_owned(), zone: zone.to_owned() };
        let outcome = zone.map(place).ok_or_else(|| "lost".to_owned());
        Call { through: "east", service: "greeter", sent, took, outcome }
    }

    fn of_a(answerer: &Answerer) -> bool {
        answerer.zone == "a"
    }

    #[test]
    fn it_ends_with_the_first_answer_after_the_last_bad_one() {
        let killed = Instant::now();
        let calls = [
            call(killed + ms(60), ms(5), Some("b")),
            call(killed, ms(5), Some("b")),
            call(killed + ms(20), ms(5), Some("a")),
            call(killed + ms(40), ms(80), Some("b")),
        ];

        assert_eq!(failover(&calls, killed, ms(50), of_a), Some(ms(65)));
    }

    #[test]
    fn a_lost_call_counts_as_bad() {
        let killed = Instant::now();
        let calls = [call(killed, ms(5), None), call(killed + ms(20), ms(5), Some("b"))];

        assert_eq!(failover(&calls, killed, ms(50), of_a), Some(ms(25)));
    }

    #[test]
    fn it_has_no_end_while_the_last_answer_is_bad() {
        let killed = Instant::now();
        let calls = [call(killed, ms(5), Some("b")), call(killed + ms(20), ms(5), Some("a"))];

        assert_eq!(failover(&calls, killed, ms(50), of_a), None);
    }

    #[test]
    fn what_ended_before_the_kill_says_nothing() {
        let sent = Instant::now();
        let calls = [call(sent, ms(5), Some("a")), call(sent + ms(30), ms(5), Some("b"))];

        assert_eq!(failover(&calls, sent + ms(10), ms(50), of_a), Some(ms(25)));
    }

    #[test]
    fn normal_leaves_room_on_a_slow_machine() {
        let now = Instant::now();

        assert_eq!(normal(&[call(now, ms(3), Some("a"))]), NORMAL_LEAST);
        assert_eq!(normal(&[call(now, ms(90), Some("a"))]), ms(180));
    }
}
