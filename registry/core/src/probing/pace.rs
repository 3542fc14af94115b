//! How often an instance is probed: fast while it answers fast, rarely while it does not (Nacos 2.5 `HealthCheckCommonV2`).

use super::{Finding, Method};

/// The first probe comes so long after an instance is known, and up to [`Pace::max_ms`] more, so that many that are known
/// at once are not probed at once.
const FIRST_MS: u64 = 2_000;

/// The bounds of one method's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    min_ms: u64,
    max_ms: u64,
    /// How much of the pace so far is kept, in percent.
    kept_percent: u64,
}

impl Method {
    /// Nacos's `SwitchDomain` defaults.
    fn bounds(self) -> Bounds {
        match self {
            Self::Tcp => Bounds { min_ms: 1_000, max_ms: 5_000, kept_percent: 75 },
            Self::Http => Bounds { min_ms: 500, max_ms: 5_000, kept_percent: 85 },
            Self::MySql => Bounds { min_ms: 2_000, max_ms: 3_000, kept_percent: 65 },
        }
    }
}

/// The time between two probes of one instance, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace(u64);

impl Pace {
    /// The pace of an instance that was never probed; `chance` spreads many of them.
    pub fn first(method: Method, chance: u64) -> Self {
        Self(FIRST_MS + chance % method.bounds().max_ms)
    }

    /// The pace after a probe that took so long.
    pub fn after(self, method: Method, finding: Finding, took_ms: u64) -> Self {
        let Bounds { min_ms, max_ms, kept_percent } = method.bounds();
        let time_ms = match finding {
            Finding::Well => took_ms.min(max_ms),
            Finding::Soft => 2 * self.0,
            Finding::Hard | Finding::Unable => max_ms,
        };
        let mixed_ms = (kept_percent * self.0 + (100 - kept_percent) * time_ms) / 100;
        Self(mixed_ms.clamp(min_ms, max_ms))
    }

    /// Until the next probe: up to a tenth more than the pace, so that probes that fell together part again.
    pub fn wait_ms(self, chance: u64) -> u64 {
        self.0 + chance % (self.0 / 10 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(method: Method, finding: Finding, took_ms: u64) -> u64 {
        (0..100).fold(Pace::first(method, 3_000), |pace, _| pace.after(method, finding, took_ms)).0
    }

    #[test]
    fn who_answers_fast_is_probed_at_the_shortest_pace_and_who_does_not_at_the_longest() {
        assert_eq!(settled(Method::Tcp, Finding::Well, 2), 1_000);
        assert_eq!(settled(Method::Http, Finding::Well, 2), 500);
        assert_eq!(settled(Method::MySql, Finding::Well, 2), 2_000);
        assert_eq!(settled(Method::Tcp, Finding::Soft, 500), 5_000);
        // Whole milliseconds: the mean stops one step short of its goal.
        assert!(settled(Method::MySql, Finding::Hard, 1) >= 2_990);
    }

    #[test]
    fn the_first_probe_comes_after_two_seconds_and_within_the_longest_pace_more() {
        let first: Vec<u64> = [0, 4_999, u64::MAX].map(|chance| Pace::first(Method::Tcp, chance).0).into();

        assert_eq!(first[..2], [2_000, 6_999]);
        assert!(first[2] < 7_000);
    }
}
