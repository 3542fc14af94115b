//! What operators did to this process: one line in the log each, and a bounded list to ask for.
//!
//! Invariant: the list never holds more than [`AUDIT_ROWS_MAX`]; older rows are in the log alone.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// The most rows kept.
pub const AUDIT_ROWS_MAX: usize = 256;

/// One deed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// When it was answered, unix milliseconds.
    pub unix_ms: u64,
    /// Who asked, as it was known.
    pub who: String,
    /// What was asked for.
    pub verb: &'static str,
    /// Of what.
    pub target: String,
    /// `done`, or why not.
    pub outcome: String,
}

/// The list.
#[derive(Debug, Default)]
pub struct Audit {
    rows: Mutex<VecDeque<AuditRow>>,
}

impl Audit {
    /// Logs a deed and remembers it.
    pub fn note(&self, unix_ms: u64, who: &str, verb: &'static str, target: &str, outcome: &str) {
        tracing::info!(event = "operator", who, verb, target, outcome, "an operator asked for this");
        let row = AuditRow {
            unix_ms,
            who: who.to_owned(),
            verb,
            target: target.to_owned(),
            outcome: outcome.to_owned(),
        };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() == AUDIT_ROWS_MAX {
            rows.pop_front();
        }
        rows.push_back(row);
    }

    /// What is remembered, oldest first.
    pub fn rows(&self) -> Vec<AuditRow> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_deeds_are_remembered_and_no_more_than_the_bound() {
        let audit = Audit::default();

        for at in 0..=AUDIT_ROWS_MAX as u64 {
            audit.note(at, "operator", "pause", "west", "done");
        }

        let rows = audit.rows();
        assert_eq!((rows.len(), rows[0].unix_ms), (AUDIT_ROWS_MAX, 1));
    }
}
