//! Who was turned away from operators' calls and logins: a list beside the list of deeds.
//!
//! Invariant: strangers push no deed out of its list, and write no more than [`KNOCKS_PER_S`] lines a second.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use landbridge_runtime::audit::{Audit, AuditRow};

/// The most refusals that are noted in one second; further ones are counted in metrics alone.
const KNOCKS_PER_S: u32 = 10;

/// Who was turned away.
#[derive(Debug, Default)]
pub(crate) struct Knocks {
    rows: Audit,
    /// The second of the newest row, and how many rows it has.
    newest: Mutex<(u64, u32)>,
}

impl Knocks {
    /// Notes that somebody was refused this.
    pub(crate) fn note(
        &self,
        unix_ms: u64,
        (who, from): (&str, Option<SocketAddr>),
        verb: &'static str,
        target: &str,
    ) {
        if !self.is_within_bound(unix_ms / 1_000) {
            return;
        }
        let from = from.map(|from| format!(" at {}", from.ip())).unwrap_or_default();
        self.rows.note(unix_ms, &format!("{who}{from}"), verb, target, "refused");
    }

    /// What is remembered, oldest first.
    pub(crate) fn rows(&self) -> Vec<AuditRow> {
        self.rows.rows()
    }

    fn is_within_bound(&self, second: u64) -> bool {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let count = if newest.0 == second { newest.1 } else { 0 };
        *newest = (second, count.saturating_add(1));
        count < KNOCKS_PER_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_no_more_rows_than_the_bound_and_the_next_one_has_its_own() {
        let knocks = Knocks::default();

        for at in (0..3_000).step_by(10) {
            knocks.note(at, ("anyone", None), "/v1/auth/login", "username=alice");
        }

        assert_eq!(knocks.rows().len(), 3 * KNOCKS_PER_S as usize);
    }
}
