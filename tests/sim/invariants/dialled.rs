//! A bridge dials only whom its plan or its directory names.

use landbridge_model::Region;

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "G7",
    what: "a bridge dials nobody but the members that its directory lists and the bridges that its plan names",
    from: "DESIGN: a region is authenticated, never claimed",
};

/// Where a dial is meant to lead, and the region of whoever listens there, if anybody does.
pub fn check(meant: &Region, listens: Option<&Region>) -> Held {
    if listens == Some(meant) {
        Ok(())
    } else {
        Err(format!("a bridge dials {meant} where {listens:?} listens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::region;

    #[test]
    fn a_dial_to_nobody_or_to_another_region_is_refused() {
        assert!(check(&region(0), Some(&region(0))).is_ok());
        assert!(check(&region(0), Some(&region(1))).is_err());
        assert!(check(&region(0), None).is_err());
    }
}
