//! How many retries a service's calls have earned: a share of the calls, and a few a second for quiet services.
//!
//! Invariant: over any time, retries never exceed `burst + share × calls + per_second × seconds`.

use landbridge_model::Moment;

/// How retries are earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRules {
    /// Retries earned by a hundred calls.
    pub percent: u32,
    /// Retries earned by a second, so that a quiet service may retry too.
    pub per_second: u32,
    /// The most retries that may be saved up.
    pub burst: u32,
}

/// A thousandth of a retry.
const MILLI: u64 = 1_000;

/// The retries one service has saved up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    saved_milli: u64,
    refilled: Moment,
}

impl Budget {
    /// A full budget.
    pub fn new(rules: &BudgetRules, now: Moment) -> Self {
        Self { saved_milli: u64::from(rules.burst) * MILLI, refilled: now }
    }

    /// Counts a call, which earns a part of a retry.
    pub fn earn(&mut self, rules: &BudgetRules) {
        self.add(rules, u64::from(rules.percent) * MILLI / 100);
    }

    /// Takes one retry, if there is one.
    pub fn spend(&mut self, rules: &BudgetRules, now: Moment) -> bool {
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
        self.saved_milli = self.saved_milli.saturating_add(milli).min(u64::from(rules.burst) * MILLI);
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

        (0..25).for_each(|_| budget.earn(&RULES));

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
    fn no_more_than_the_burst_is_saved_up() {
        let mut budget = Budget::new(&RULES, Moment(0));

        (0..1_000_000).for_each(|_| budget.earn(&RULES));

        assert_eq!(spent(&mut budget, 1_000_000), 10);
    }
}
