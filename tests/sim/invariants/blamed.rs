//! Who fails is left alone for a while.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "G3",
    what: "who failed three times in a row gets no first tries for nine seconds, unless nobody else is left",
    from: "house: ejection; reliability.md R-4",
};

/// The first try of a call went to an endpoint: whether that must be out of rotation, and whether marks were not believed.
pub fn check(is_out: bool, is_panic: bool) -> Held {
    if is_out && !is_panic { Err("a gateway goes on calling who failed".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_try_at_who_is_out_of_rotation_is_refused() {
        assert!(check(false, false).is_ok());
        assert!(check(true, true).is_ok());
        assert!(check(true, false).is_err());
    }
}
