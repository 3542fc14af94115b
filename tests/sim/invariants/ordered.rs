//! Later operations win.

use landbridge_model::Stamp;

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I9 by stamps",
    what: "a later operation of a client has the greater stamp wherever the earlier one was known",
    from: "feeds-spec I9, R10; sync.md D.10 I2",
};

/// The stamps of two operations of one client, and whether the member of the later one knew the earlier.
pub fn check(before: Stamp, after: Stamp, was_known: bool) -> Held {
    let is_wrong = was_known && after <= before;
    if is_wrong { Err("a later operation got a smaller stamp".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use landbridge_model::MemberId;

    use super::*;

    #[test]
    fn a_smaller_stamp_of_a_known_predecessor_is_refused() {
        let stamp = |clock| Stamp { clock, member: MemberId(1) };

        assert!(check(stamp(4), stamp(5), true).is_ok());
        assert!(check(stamp(5), stamp(4), false).is_ok());
        assert!(check(stamp(5), stamp(4), true).is_err());
        assert!(check(stamp(5), stamp(5), true).is_err());
    }
}
