//! What all cores know of one endpoint: calls in flight, how slow it is, and whether it is out of rotation.
//!
//! ```text
//! in rotation ──failures_max failures in a row──▶ ejected (eject_ms, doubled each time up to eject_max_ms)
//!      ▲                                              │ time
//!      └── success ── on probation ◀──────────────────┘
//!                        └── one failure ──▶ ejected again
//! ```
//! Invariant: every value is an atomic that may be a moment old; nothing here ever waits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use landbridge_model::Moment;

/// When an endpoint counts as slow or broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthRules {
    /// Failures in a row that take an endpoint out of rotation; 0 never does.
    pub failures_max: u32,
    /// How long the first ejection lasts.
    pub eject_ms: u64,
    /// The longest ejection.
    pub eject_max_ms: u64,
    /// A failed call counts as one that took at least this long.
    pub failure_penalty_us: u32,
    /// The time in which a remembered latency falls to a third (1/e).
    pub latency_decay_ms: u32,
}

/// How a call ended, as far as the choice of an endpoint is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered after so many microseconds.
    Answered {
        /// Microseconds to the first byte of the answer.
        latency_us: u32,
    },
    /// Its caller gave up: as slow as it was then, but no failure of the endpoint.
    Abandoned {
        /// Microseconds until then.
        latency_us: u32,
    },
    /// It was refused, broke, timed out or answered with a failure status.
    Failed {
        /// Microseconds until that was known.
        latency_us: u32,
    },
}

/// The shared state of one endpoint; it survives snapshots. Padded so that two endpoints never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointState {
    serial: u64,
    in_flight: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// How often the ejection time was doubled.
    doublings: AtomicU32,
    ejected_until: AtomicU64,
    /// Remembered latency: microseconds as `f32` bits, then the low half of the millisecond it was written.
    latency: AtomicU64,
}

fn packed(latency_us: f32, now: Moment) -> u64 {
    (u64::from(latency_us.to_bits()) << 32) | (now.0 & 0xffff_ffff)
}

fn unpacked(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

impl EndpointState {
    /// A state nobody has learned anything about; `latency_us` is the first guess (0 for none).
    pub fn new(serial: u64, latency_us: f32, now: Moment) -> Self {
        Self {
            serial,
            in_flight: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            doublings: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            latency: AtomicU64::new(packed(latency_us, now)),
        }
    }

    /// A number no other endpoint of this process ever had.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Calls begun and not ended, to the last byte of the answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Counts a call that begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Counts a call that ended.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// The moment its ejection ends; in the past when it is in rotation.
    pub fn ejected_until(&self) -> Moment {
        Moment(self.ejected_until.load(Relaxed))
    }

    /// True while it is out of rotation.
    pub fn ejected(&self, now: Moment) -> bool {
        now < self.ejected_until()
    }

    /// The remembered latency in microseconds, faded by the time since it was learned.
    pub fn latency_us(&self, rules: &HealthRules, now: Moment) -> f32 {
        let (latency, written) = unpacked(self.latency.load(Relaxed));
        latency * faded(rules, written, now)
    }

    /// Learns from a call that ended. Tells until when this very call took the endpoint out of rotation.
    pub fn report(&self, rules: &HealthRules, now: Moment, outcome: Outcome) -> Option<Moment> {
        match outcome {
            Outcome::Answered { latency_us } => {
                self.learn(rules, now, latency_us);
                self.forgive(rules, now);
                None
            }
            Outcome::Abandoned { latency_us } => {
                if latency_us as f32 > self.latency_us(rules, now) {
                    self.learn(rules, now, latency_us);
                }
                None
            }
            Outcome::Failed { latency_us } => {
                self.learn(rules, now, latency_us.max(rules.failure_penalty_us));
                self.blame(rules, now)
            }
        }
    }

    /// Moves the remembered latency: up at once, down with time (peak-EWMA).
    fn learn(&self, rules: &HealthRules, now: Moment, latency_us: u32) {
        let sample = latency_us as f32;
        let word = self.latency.load(Relaxed);
        let (latency, written) = unpacked(word);
        let keep = faded(rules, written, now);
        let next = if latency == 0.0 || sample > latency * keep {
            sample
        } else if keep < 1.0 {
            latency * keep + sample * (1.0 - keep)
        } else {
            return;
        };
        // Losing a race to another core loses one sample of many.
        let _ = self.latency.compare_exchange(word, packed(next, now), Relaxed, Relaxed);
    }

    fn forgive(&self, rules: &HealthRules, now: Moment) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        let doublings = self.doublings.load(Relaxed);
        if doublings != 0 && now.since(self.ejected_until()) > rules.ejection_ms(doublings) {
            self.doublings.store(0, Relaxed);
        }
    }

    /// Counts a failure; the count stays up through an ejection, so that one more failure on probation ejects again.
    fn blame(&self, rules: &HealthRules, now: Moment) -> Option<Moment> {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let until = self.ejected_until.load(Relaxed);
        if rules.failures_max == 0 || failures < rules.failures_max || now.0 < until {
            return None;
        }
        let doublings = self.doublings.load(Relaxed);
        let next = now.after(rules.ejection_ms(doublings));
        // Calls that were already in flight fail together: only the first of them ejects.
        self.ejected_until.compare_exchange(until, next.0, Relaxed, Relaxed).ok()?;
        self.doublings.store((doublings + 1).min(DOUBLINGS_MAX), Relaxed);
        Some(next)
    }
}

/// Enough to reach any sensible longest ejection, and few enough never to overflow a shift.
const DOUBLINGS_MAX: u32 = 16;

impl HealthRules {
    /// How long an ejection lasts after `doublings` earlier ones.
    fn ejection_ms(&self, doublings: u32) -> u64 {
        self.eject_ms.saturating_mul(1 << doublings.min(DOUBLINGS_MAX)).min(self.eject_max_ms)
    }
}

/// What is left of one unit of latency written at `written`.
fn faded(rules: &HealthRules, written: u32, now: Moment) -> f32 {
    let age_ms = (now.0 as u32).wrapping_sub(written);
    // Another core may have written a millisecond ahead of what this one read as now.
    if age_ms == 0 || age_ms > u32::MAX / 2 {
        return 1.0;
    }
    (-(age_ms as f32) / rules.latency_decay_ms.max(1) as f32).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HealthRules = HealthRules {
        failures_max: 3,
        eject_ms: 1_000,
        eject_max_ms: 4_000,
        failure_penalty_us: 1_000_000,
        latency_decay_ms: 3_000,
    };

    fn fresh() -> EndpointState {
        EndpointState::new(1, 0.0, Moment(0))
    }

    fn fail(state: &EndpointState, ms: u64) -> Option<Moment> {
        state.report(&RULES, Moment(ms), Outcome::Failed { latency_us: 100 })
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

        for _ in 0..10 {
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
}
