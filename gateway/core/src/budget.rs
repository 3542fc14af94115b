//! How many retries a service's calls have earned: a share of the calls, and a few a second for quiet services.
//!
//! Invariant: over any time, retries never exceed `burst + share × calls + per_second × seconds`.
//!
//! What calls earned is kept for ten seconds, as Finagle's RetryBudget keeps it: a busy service that loses half of its
//! endpoints at once has as many calls under way as it is busy, and each of them needs a retry before anything is learned.

use landbridge_model::Moment;

/// How retries are earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRules {
    /// Retries earned by a hundred calls.
    pub percent: u32,
    /// Retries earned by a second, so that a quiet service may retry too.
    pub per_second: u32,
    /// The most retries that may be saved up besides what the last seconds' calls earned.
    pub burst: u32,
}

/// A thousandth of a retry.
const MILLI: u64 = 1_000;

/// What calls earned is kept for one to two of these, in milliseconds.
const WINDOW_MS: u64 = 5_000;

/// The retries one service has saved up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    saved_milli: u64,
    refilled: Moment,
    /// When the window began that is being filled.
    window: Moment,
    /// What calls earned in the window before, and in this one.
    earned_milli: [u64; 2],
}

impl Budget {
    /// A full budget.
    pub fn new(rules: &BudgetRules, now: Moment) -> Self {
        let saved_milli = u64::from(rules.burst) * MILLI;
        Self { saved_milli, refilled: now, window: now, earned_milli: [0; 2] }
    }

    /// Counts a call, which earns a part of a retry.
    pub fn earn(&mut self, rules: &BudgetRules, now: Moment) {
        self.turn(now);
        let milli = u64::from(rules.percent) * MILLI / 100;
        self.earned_milli[1] = self.earned_milli[1].saturating_add(milli);
        self.add(rules, milli);
    }

    /// Takes one retry, if there is one.
    pub fn spend(&mut self, rules: &BudgetRules, now: Moment) -> bool {
        self.turn(now);
        let passed_ms = now.since(self.refilled);
        self.refilled = self.refilled.max(now);
        self.add(rules, passed_ms.saturating_mul(u64::from(rules.per_second)));
        let enough = self.saved_milli >= MILLI;
        if enough {
            self.saved_milli -= MILLI;
        }
        enough
    }

    fn add(&mut self, rules: &BudgetRules, milli: u64) {
        let kept = self.earned_milli[0].saturating_add(self.earned_milli[1]);
        let most = (u64::from(rules.burst) * MILLI).saturating_add(kept);
        self.saved_milli = self.saved_milli.saturating_add(milli).min(most);
    }

    /// Begins another window once this one is over.
    fn turn(&mut self, now: Moment) {
        let passed_ms = now.since(self.window);
        if passed_ms < WINDOW_MS {
            return;
        }
        let before = if passed_ms < 2 * WINDOW_MS { self.earned_milli[1] } else { 0 };
        self.earned_milli = [before, 0];
        self.window = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BudgetRules = BudgetRules { percent: 20, per_second: 2, burst: 10 };

    fn spent(budget: &mut Budget, ms: u64) -> usize {
        (0..1_000).filter(|_| budget.spend(&RULES, Moment(ms))).count()
    }

    #[test]
    fn a_failing_service_gets_its_burst_and_then_a_fifth_of_its_calls() {
        let mut budget = Budget::new(&RULES, Moment(0));
        assert_eq!(spent(&mut budget, 0), 10);

        (0..25).for_each(|_| budget.earn(&RULES, Moment(0)));

        assert_eq!(spent(&mut budget, 0), 5);
    }

    #[test]
    fn a_quiet_service_earns_retries_by_time() {
        let mut budget = Budget::new(&RULES, Moment(0));
        spent(&mut budget, 0);

        assert_eq!(spent(&mut budget, 1_500), 3);
        assert_eq!(spent(&mut budget, 1_000), 0, "time that runs back earns nothing");
    }

    #[test]
    fn what_calls_earned_is_kept_for_some_seconds_and_no_longer() {
        let mut budget = Budget::new(&RULES, Moment(0));

        (0..1_000).for_each(|_| budget.earn(&RULES, Moment(0)));

        assert_eq!(spent(&mut budget.clone(), 9_000), 210, "a fifth of the calls beside the burst");
        assert_eq!(spent(&mut budget, 10_000), 10);
    }

    #[test]
    fn time_alone_saves_up_no_more_than_the_burst() {
        let mut budget = Budget::new(&RULES, Moment(0));

        assert_eq!(spent(&mut budget, 1_000_000), 10);
    }
}
