//! Copies only move forward.

use crate::sim::{
    invariants::{Held, Row},
    node::Seen,
};

pub const ROW: Row = Row {
    name: "I2",
    what: "the position and the view of a copy never go back in one life of its holder",
    from: "feeds-spec I2; sync.md D.10 I2, I11",
};

/// A copy before and after a step.
pub fn check(before: &Seen, after: &Seen) -> Held {
    let is_forward = after.position >= before.position && after.view >= before.view;
    is_forward.then_some(()).ok_or_else(|| format!("position went back to {}", after.position))
}

#[cfg(test)]
mod tests {
    use landbridge_model::{Era, Position, View};

    use super::*;

    #[test]
    fn a_position_or_a_view_that_goes_back_is_refused() {
        let at = |seq, policy| Seen {
            view: View { policy: Position { era: Era(1), seq: policy }, peer: None },
            position: Position { era: Era(1), seq },
            generation: 0,
        };

        assert!(check(&at(4, 2), &at(5, 2)).is_ok());
        assert!(check(&at(4, 2), &at(3, 2)).is_err());
        assert!(check(&at(4, 2), &at(4, 1)).is_err());
    }
}
