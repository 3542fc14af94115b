//! A verification never doubts a correct copy.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I11",
    what: "a verification never doubts a copy that equals its writer's",
    from: "feeds-spec I11, R25",
};

/// A copy is doubted; whether it equals its writer's, if anybody wrote down what that held.
pub fn check(is_exact: Option<bool>) -> Held {
    if is_exact == Some(true) { Err("a good copy was doubted".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_of_a_good_copy_is_refused() {
        assert!(check(Some(false)).is_ok());
        assert!(check(None).is_ok());
        assert!(check(Some(true)).is_err());
    }
}
