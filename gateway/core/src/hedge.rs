//! When a call that waits is tried once more beside the try that waits, and after what time waiting means silence.
//!
//! ```text
//! waiting ── delay: twice the service's p95 ──▶ near: another endpoint, then another zone of the region
//!    └── nobody near is left, and the newest try met silence for a while ──▶ far: another region
//! ```
//! Invariant: no hedge leaves the region while the newest try stands before an endpoint that answers others.

use landbridge_model::Moment;

/// When waiting calls are tried beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeRules {
    /// The shortest wait before a second try, however fast the service is.
    pub delay_min_ms: u64,
    /// The longest, however slow it is; 0: no call is tried beside another.
    pub delay_max_ms: u64,
    /// An endpoint that answers nobody for so long, or for four times the service's p95, is silent; 0: none ever is.
    pub silence_min_ms: u64,
}

/// Tries of one call inside the region, if it is tried beside: an endpoint, another one, another zone.
pub const NEAR_TRIES_MAX: usize = 3;

/// Answers below which nothing is known of a service's pace.
const ANSWERS_MIN: u32 = 16;

/// Answers between two looks at the counts.
const LOOK_EVERY: u32 = 16;

/// Answers remembered; past it, all count half.
const ANSWERS_MAX: u32 = 512;

/// Half powers of two from 64 microseconds to about a minute.
const BUCKETS: usize = 42;

/// How fast a service answers: a fading histogram of which only the 95th percentile is asked.
#[derive(Clone, Debug)]
pub struct Pace {
    counts: [u16; BUCKETS],
    total: u32,
    unseen: u32,
    /// The upper bound of the bucket that holds it; 0 while too little is known.
    p95_us: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, unseen: 0, p95_us: 0 }
    }
}

impl Pace {
    /// Learns how long an answer took, in microseconds.
    pub fn learn(&mut self, latency_us: u32) {
        let wide = u64::from(latency_us.max(64));
        let bucket = ((wide * wide).ilog2() as usize).saturating_sub(12).min(BUCKETS - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.unseen += 1;
        if self.total >= ANSWERS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        if self.unseen >= LOOK_EVERY && self.total >= ANSWERS_MIN {
            self.unseen = 0;
            self.look();
        }
    }

    fn look(&mut self) {
        let mut above = self.total / 20;
        for (bucket, count) in self.counts.iter().enumerate().rev() {
            let count = u32::from(*count);
            if count > above {
                self.p95_us = 1 << (bucket as u32 + 13).div_ceil(2);
                return;
            }
            above -= count;
        }
    }

    /// The times of a call that begins.
    pub fn haste(&self, rules: &HedgeRules) -> Haste {
        let p95_ms = self.p95_us.div_ceil(1_000);
        let known = |times: u64, unknown: u64| if p95_ms == 0 { unknown } else { times * p95_ms };
        let delay_max = rules.delay_max_ms.max(rules.delay_min_ms);
        let usual = known(2, delay_max).max(rules.delay_min_ms);
        let silence = known(4, 2 * delay_max).max(rules.silence_min_ms);
        let silences = rules.silence_min_ms > 0;
        Haste {
            delay_ms: (rules.delay_max_ms > 0).then_some(usual.min(delay_max)),
            usual_ms: usual,
            far_ms: silences.then_some(usual.max(rules.silence_min_ms)),
            silence_ms: silences.then_some(silence),
        }
    }
}

/// How long a call waits before it does something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Haste {
    /// Before it is tried beside; `None`: never.
    pub delay_ms: Option<u64>,
    /// Up to here waiting tells nothing but that the service is slow, and a try beside costs its budget.
    pub usual_ms: u64,
    /// Before it is tried in another region beside, if its newest try meets silence; `None`: never.
    pub far_ms: Option<u64>,
    /// Before an endpoint that answers nobody counts as silent; `None`: never.
    pub silence_ms: Option<u64>,
}

/// The newest try of a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since when its endpoint has owed an answer.
    pub since: Moment,
    /// The endpoint has answered nobody since then.
    pub silent: bool,
    /// The region may hold an endpoint that was not tried.
    pub near: bool,
}

/// What to do about a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before then.
    Wait {
        /// When to ask again.
        until: Moment,
    },
    /// Try another endpoint of the region beside.
    Near,
    /// Try another region beside.
    Far,
    /// Nothing at all.
    Never,
}

impl Haste {
    /// What to do about a call whose newest try waits like this.
    pub fn next(&self, now: Moment, waiting: &Waiting) -> Next {
        let Some(delay_ms) = self.delay_ms else { return Next::Never };
        let due = waiting.since.after(delay_ms);
        if now < due {
            return Next::Wait { until: due };
        }
        if waiting.near {
            return Next::Near;
        }
        let Some(far_ms) = self.far_ms else { return Next::Never };
        let far = waiting.since.after(far_ms);
        if !waiting.silent {
            return Next::Wait { until: now.after(delay_ms) };
        }
        if now < far { Next::Wait { until: far } } else { Next::Far }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HedgeRules = HedgeRules { delay_min_ms: 50, delay_max_ms: 500, silence_min_ms: 250 };

    fn haste(answers: &[(u32, u32)]) -> Haste {
        let mut pace = Pace::default();
        for (count, latency_us) in answers {
            (0..*count).for_each(|_| pace.learn(*latency_us));
        }
        pace.haste(&RULES)
    }

    #[test]
    fn the_wait_follows_the_pace_of_the_service_between_its_bounds() {
        let times = |answers: &[(u32, u32)]| (haste(answers).delay_ms, haste(answers).silence_ms);

        assert_eq!(times(&[]), (Some(500), Some(1_000)), "nothing is known");
        assert_eq!(times(&[(100, 1_000)]), (Some(50), Some(250)));
        assert_eq!(times(&[(480, 1_000), (16, 900_000)]), (Some(50), Some(250)), "3 % are not the p95");
        let (delay, silence) = times(&[(100, 100_000)]);
        assert!((200..=300).contains(&delay.unwrap()), "{delay:?}");
        assert!((400..=600).contains(&silence.unwrap()), "{silence:?}");
        assert_eq!(times(&[(100, 3_000_000)]).0, Some(500));
        assert!(times(&[(100, 3_000_000)]).1 >= Some(12_000), "what is always slow is not silent");
        let slow = haste(&[(100, 3_000_000)]);
        assert!(slow.usual_ms >= 6_000, "a try beside that comes sooner costs its budget: {slow:?}");
        assert!(slow.far_ms >= Some(6_000), "and nobody leaves the region for it: {slow:?}");
        assert_eq!((haste(&[]).usual_ms, haste(&[(100, 1_000)]).usual_ms), (500, 50));
    }

    #[test]
    fn a_service_that_became_fast_again_is_hurried_again() {
        assert_eq!(haste(&[(400, 300_000), (8_000, 1_000)]).delay_ms, Some(50));
    }

    #[test]
    fn rules_of_zero_switch_off() {
        let off = HedgeRules { delay_max_ms: 0, silence_min_ms: 0, ..RULES };

        let expected = Haste { delay_ms: None, usual_ms: 50, far_ms: None, silence_ms: None };
        assert_eq!(Pace::default().haste(&off), expected);
    }

    fn next(now: u64, silent: bool, near: bool) -> Next {
        let haste = Haste { delay_ms: Some(50), usual_ms: 50, far_ms: Some(250), silence_ms: Some(900) };
        haste.next(Moment(1_000 + now), &Waiting { since: Moment(1_000), silent, near })
    }

    #[test]
    fn a_call_is_hedged_near_after_its_delay_and_far_only_before_silence() {
        assert_eq!(next(49, true, true), Next::Wait { until: Moment(1_050) });
        assert_eq!(next(50, true, true), Next::Near);
        assert_eq!(next(50, false, true), Next::Near);
        assert_eq!(next(50, true, false), Next::Wait { until: Moment(1_250) });
        assert_eq!(next(249, true, false), Next::Wait { until: Moment(1_250) });
        assert_eq!(next(250, true, false), Next::Far);
        assert_eq!(next(9_000, false, false), Next::Wait { until: Moment(10_050) }, "it answers others");
    }
}
