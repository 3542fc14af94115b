//! Calls leave a place that an operator evacuates.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "G6",
    what: "once a drill's ramp is over, no first try goes to its place while all others are well",
    from: "house: an evacuated place is the last resort",
};

/// Where the first try went: whether to the evacuated place after the ramp, and whether everybody elsewhere is well.
pub fn check(is_left: bool, others_are_well: bool) -> Held {
    if is_left && others_are_well { Err("a call went to an evacuated place".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_try_at_an_evacuated_place_beside_the_well_is_refused() {
        assert!(check(false, true).is_ok());
        assert!(check(true, false).is_ok());
        assert!(check(true, true).is_err());
    }
}
