//! What all cores know of one endpoint: calls in flight, how slow it is, and whether it is out of rotation.
//!
//! ```text
//! closed ── failures_max in a row, silence among them, too large a share, or failed probes ──▶ open
//!    ▲  ▲                              (for eject_ms, doubled each time up to eject_max_ms) │ time
//!    │  └── any answer, if it was silence ─────────────────────────────────────────────────┤
//!    └── success, then a slow start ── probation: one trial call a second ◀───────────────┘
//!                                          └── one failure ──▶ open again
//! ```
//! Invariant: every value is an atomic that may be a moment old; nothing here ever waits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use landbridge_model::{Moment, Mutant, planted};

use crate::{record::Record, slowness::Usual};

/// When an endpoint counts as slow or broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthRules {
    /// Failures in a row that take an endpoint out of rotation; 0 never does.
    pub failures_max: u32,
    /// Failed probes in a row that take an endpoint out of rotation; 0 never does.
    pub probe_failures_max: u32,
    /// The share of failures, 0 to 1, in ten seconds that takes it out of rotation; 0 never does.
    pub failure_share_max: f64,
    /// Calls in ten seconds below which the share says nothing.
    pub share_calls_min: u32,
    /// How long the first ejection lasts.
    pub eject_ms: u64,
    /// The longest ejection.
    pub eject_max_ms: u64,
    /// A failed call counts as one that took at least this long.
    pub failure_penalty_us: u32,
    /// The time in which a remembered latency falls to a third (1/e).
    pub latency_decay_ms: u32,
    /// The time in which a new or returned endpoint grows into its share; 0 gives it all at once.
    pub slow_start_ms: u64,
    /// A zone whose every endpoint takes at least this long, in microseconds,
    pub slow_floor_us: u32,
    /// and so many times what the rest of its region takes, is left for it; 0: none is.
    pub slow_factor: f32,
}

/// An endpoint that is on probation gets one call in this time.
pub const TRIAL_MS: u64 = 1_000;

/// An endpoint that nobody called in its probation is in rotation again after this.
pub const PROBATION_MS: u64 = 10_000;

/// The share a new or returned endpoint begins with.
const SLOW_START_MIN: f32 = 0.1;

/// Whether calls may go to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// All calls may.
    Closed,
    /// None may: it is out of rotation.
    Open,
    /// One a second may, to find out how it is.
    Probation,
}

impl Breaker {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probation => "probation",
        }
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Stays,
    /// This very report took the endpoint out of rotation, until then.
    Ejected {
        /// The end of the ejection; its probation follows.
        until: Moment,
    },
    /// It answered on probation and is in rotation again, with a slow start until then.
    Returned {
        /// The end of its slow start.
        grown: Moment,
    },
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
    /// It still waits; unless the endpoint has answered another call meanwhile, that counts as a failure.
    Silent {
        /// Microseconds so far.
        latency_us: u32,
    },
}

impl Outcome {
    /// When the call began whose outcome this is.
    fn begun(self, now: Moment) -> Moment {
        match self {
            Self::Answered { latency_us }
            | Self::Abandoned { latency_us }
            | Self::Failed { latency_us }
            | Self::Silent { latency_us } => Moment(now.0.saturating_sub(u64::from(latency_us) / 1_000)),
        }
    }
}

/// It is not suspected.
const TRUSTED: u32 = 0;

/// It was taken out of rotation because calls failed.
const FAILED: u32 = 1;

/// It was taken out of rotation because it answered nobody.
const SILENT: u32 = 2;

/// The shared state of one endpoint; it survives snapshots. Padded so that two endpoints never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointState {
    serial: u64,
    in_flight: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// Failed probes in a row.
    probe_failures: AtomicU32,
    /// How often the ejection time was doubled.
    doublings: AtomicU32,
    ejected_until: AtomicU64,
    /// Why it was ejected, from then to the next success.
    suspected: AtomicU32,
    /// When it last answered a call.
    answered: AtomicU64,
    /// When the last call on probation began.
    trial: AtomicU64,
    /// When it was new, or came back; 0 for one that was there from the beginning.
    born: AtomicU64,
    record: Record,
    /// Remembered latency: microseconds as `f32` bits, then the low half of the millisecond it was written.
    latency: AtomicU64,
    /// What its newest answers took.
    pub(crate) usual: Usual,
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
            probe_failures: AtomicU32::new(0),
            doublings: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            suspected: AtomicU32::new(TRUSTED),
            answered: AtomicU64::new(0),
            trial: AtomicU64::new(0),
            born: AtomicU64::new(0),
            record: Record::default(),
            latency: AtomicU64::new(packed(latency_us, now)),
            usual: Usual::default(),
        }
    }

    /// The same for an endpoint that joined others at `now`: it grows slowly into its share.
    pub fn newborn(serial: u64, latency_us: f32, now: Moment) -> Self {
        let state = Self::new(serial, latency_us, now);
        state.born.store(now.0, Relaxed);
        state
    }

    /// A number that no other endpoint of this process ever had; one that came back at once has its old one.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Calls begun and not ended, to the last byte of the answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Counts a call that begins.
    pub fn begin(&self, now: Moment) {
        self.in_flight.fetch_add(1, Relaxed);
        if self.suspected.load(Relaxed) != TRUSTED {
            self.trial.store(now.0, Relaxed);
        }
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

    /// Whether calls may go to it.
    pub fn breaker(&self, now: Moment) -> Breaker {
        let until = self.ejected_until.load(Relaxed);
        if now.0 < until {
            Breaker::Open
        } else if self.suspected.load(Relaxed) != TRUSTED && now.0 < until.saturating_add(PROBATION_MS) {
            Breaker::Probation
        } else {
            Breaker::Closed
        }
    }

    /// True if a call may go to it now: it is in rotation, or a trial is due.
    pub fn admits(&self, now: Moment) -> bool {
        match self.breaker(now) {
            Breaker::Closed => true,
            Breaker::Open => false,
            Breaker::Probation => now.0 >= self.trial.load(Relaxed).saturating_add(TRIAL_MS),
        }
    }

    /// How much of its share it may have by now: 1 but for a new or returned endpoint.
    pub fn grown(&self, rules: &HealthRules, now: Moment) -> f32 {
        let born = self.born.load(Relaxed);
        let age_ms = now.0.saturating_sub(born);
        if born == 0 || age_ms >= rules.slow_start_ms {
            return 1.0;
        }
        (age_ms as f32 / rules.slow_start_ms as f32).max(SLOW_START_MIN)
    }

    /// When something was last learned of its latency; wraps after 49 days.
    pub fn heard_ms(&self) -> u32 {
        unpacked(self.latency.load(Relaxed)).1
    }

    /// The remembered latency in microseconds, faded by the time since it was learned.
    pub fn latency_us(&self, rules: &HealthRules, now: Moment) -> f32 {
        let (latency, written) = unpacked(self.latency.load(Relaxed));
        latency * faded(rules, written, now)
    }

    /// The median of its newest five answers, in microseconds, however old they are; 0 before the third.
    pub fn usual_us(&self) -> u32 {
        self.usual.median_us()
    }

    /// True if it has answered a call after that moment.
    pub fn answered_since(&self, moment: Moment) -> bool {
        self.answered.load(Relaxed) > moment.0
    }

    /// Learns from a call that ended or waits, and tells what that changed.
    pub fn report(&self, rules: &HealthRules, now: Moment, outcome: Outcome) -> Turn {
        match outcome {
            Outcome::Answered { latency_us } => {
                self.learn(rules, now, latency_us);
                self.usual.learn(now, latency_us);
                self.record.count(now, false);
                if self.answered.load(Relaxed) < now.0 {
                    self.answered.store(now.0, Relaxed);
                }
                self.forgive(rules, now)
            }
            Outcome::Abandoned { latency_us } => {
                if latency_us as f32 > self.latency_us(rules, now) {
                    self.learn(rules, now, latency_us);
                }
                self.usual.learn_at_least(now, latency_us);
                Turn::Stays
            }
            Outcome::Failed { latency_us } => {
                self.learn(rules, now, latency_us.max(rules.failure_penalty_us));
                self.record.count(now, true);
                self.blame(rules, now, outcome.begun(now), FAILED)
            }
            Outcome::Silent { latency_us } => {
                if self.answered_since(outcome.begun(now)) {
                    return Turn::Stays;
                }
                self.learn(rules, now, latency_us);
                self.blame(rules, now, outcome.begun(now), SILENT)
            }
        }
    }

    /// Learns from a probe. One that passes and `proves` that calls are served ends an ejection early: the next call is
    /// a trial, for only calls bring an endpoint back.
    pub fn report_probe(&self, rules: &HealthRules, now: Moment, passed: bool, proves: bool) -> Turn {
        if passed {
            self.probe_failures.store(0, Relaxed);
            let until = self.ejected_until.load(Relaxed);
            if proves && now.0 < until {
                let _ = self.ejected_until.compare_exchange(until, now.0, Relaxed, Relaxed);
                self.trial.store(0, Relaxed);
            }
            return Turn::Stays;
        }
        let failures = self.probe_failures.fetch_add(1, Relaxed).saturating_add(1);
        if rules.probe_failures_max == 0 || failures < rules.probe_failures_max {
            return Turn::Stays;
        }
        self.eject(rules, now, FAILED)
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

    fn forgive(&self, rules: &HealthRules, now: Moment) -> Turn {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        let doublings = self.doublings.load(Relaxed);
        if doublings != 0 && now.since(self.ejected_until()) > rules.ejection_ms(doublings) {
            self.doublings.store(0, Relaxed);
        }
        let suspected = self.suspected.load(Relaxed);
        if suspected == SILENT && self.ejected(now) {
            self.suspected.store(TRUSTED, Relaxed);
            self.ejected_until.store(now.0, Relaxed);
            self.doublings.store(doublings.saturating_sub(1), Relaxed);
            return Turn::Returned { grown: now };
        }
        let back = suspected != TRUSTED && !self.ejected(now);
        if back && self.suspected.swap(TRUSTED, Relaxed) != TRUSTED {
            self.born.store(now.0, Relaxed);
            return Turn::Returned { grown: now.after(rules.slow_start_ms) };
        }
        Turn::Stays
    }

    /// Counts a failure; the count stays up through an ejection, so that one more failure on probation ejects again.
    /// A call that began before it was ejected says nothing about the time after.
    fn blame(&self, rules: &HealthRules, now: Moment, begun: Moment, why: u32) -> Turn {
        if self.suspected.load(Relaxed) != TRUSTED && begun < self.ejected_until() {
            return Turn::Stays;
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let in_a_row = rules.failures_max > 0 && failures >= rules.failures_max;
        let on_probation = self.breaker(now) == Breaker::Probation;
        if in_a_row || on_probation || self.fails_too_often(rules, now) {
            self.eject(rules, now, why)
        } else {
            Turn::Stays
        }
    }

    fn fails_too_often(&self, rules: &HealthRules, now: Moment) -> bool {
        if rules.failure_share_max <= 0.0 {
            return false;
        }
        let (calls, failures) = self.record.counted(self.ejected_until(), now);
        calls >= rules.share_calls_min.max(1)
            && f64::from(failures) >= rules.failure_share_max * f64::from(calls)
    }

    /// Takes it out of rotation, unless it is.
    fn eject(&self, rules: &HealthRules, now: Moment, why: u32) -> Turn {
        let until = self.ejected_until.load(Relaxed);
        if now.0 < until || planted(Mutant::NoEjection) {
            return Turn::Stays;
        }
        let doublings = self.doublings.load(Relaxed);
        let next = now.after(rules.ejection_ms(doublings));
        // Calls that were already in flight fail together: only the first of them ejects.
        if self.ejected_until.compare_exchange(until, next.0, Relaxed, Relaxed).is_err() {
            return Turn::Stays;
        }
        self.suspected.store(why, Relaxed);
        self.doublings.store((doublings + 1).min(DOUBLINGS_MAX), Relaxed);
        Turn::Ejected { until: next }
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
#[path = "endpoint_tests.rs"]
mod tests;
