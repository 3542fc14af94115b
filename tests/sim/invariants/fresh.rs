//! A federation that came together still moves.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "G4",
    what: "after everything has come together, a fresh write in each region reaches every process in two minutes",
    from: "DESIGN: whatever happened, the next write arrives",
};

/// What still differs from the model when the time for the fresh writes is over.
pub fn check(differs: Option<&str>) -> Held {
    differs.map_or(Ok(()), |why| Err(format!("a fresh write does not reach everybody: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_stays_is_refused() {
        assert!(check(None).is_ok());
        assert!(check(Some("s1 is missing")).is_err());
    }
}
