//! A client whose beats are answered keeps its instance.

use crate::sim::{
    invariants::{Held, Row},
    times::LEASE,
};

pub const ROW: Row = Row {
    name: "I6 at lapses",
    what: "no lease lapses of a client whose beats have been answered all the time in a calm region",
    from: "feeds-spec I6, R11; sync.md D.10 I6",
};

/// What a lease may take longer than by itself: the beats go to other members and are forwarded.
const FORWARDS: i64 = 10;

/// A lease lapsed at `now`; its client's beats have been answered without a gap since then, in calm since then.
pub fn check(now: i64, answered_since: i64, calm_since: i64) -> Held {
    if answered_since.max(calm_since) < now - LEASE - FORWARDS {
        return Err("beating client expired".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapse_in_calm_times_with_beats_answered_is_refused() {
        assert!(check(100, 95, 10).is_ok());
        assert!(check(100, 10, 95).is_ok());
        assert!(check(100, 10, 10).is_err());
    }
}
