//! A call reaches somebody if anybody listed answers.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "G2",
    what: "a call with its retries reaches somebody if the gateway lists anybody who answers",
    from: "DESIGN: no call is lost while anybody lives; reliability.md R-4",
};

/// Whether a call was answered, and which listed endpoints would have answered.
pub fn check(is_answered: bool, living: &[bool]) -> Held {
    if !is_answered && living.contains(&true) {
        return Err("a call reached nobody though one lives".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_reaches_nobody_beside_the_living_is_refused() {
        assert!(check(true, &[false, true]).is_ok());
        assert!(check(false, &[false, false]).is_ok());
        assert!(check(false, &[false, true]).is_err());
    }
}
