//! The end of one claim never hides another.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I10",
    what: "a live claim is never hidden by the end of another claim of its key, at whatever member it stands",
    from: "feeds-spec I10, R24",
};

/// A claim of `key` ended: whether another lives that everybody has heard of, and whether the key still shows.
pub fn check(key: usize, another_lives: bool, is_shown: bool) -> Held {
    if another_lives && !is_shown {
        return Err(format!("live claim of key {key} hidden by the end of another claim"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_claim_that_does_not_show_is_refused() {
        assert!(check(1, true, true).is_ok());
        assert!(check(1, false, false).is_ok());
        assert!(check(1, true, false).is_err());
    }
}
