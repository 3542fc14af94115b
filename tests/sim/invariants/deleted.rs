//! What was deregistered stays away.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I9",
    what: "a deregistered instance stays absent at all READY members, also after its tombstone went",
    from: "feeds-spec I9, R12; sync.md D.10 I3",
};

/// Members that have known the deregistration for long, each with whether it shows the key.
pub fn check(key: usize, members: &[(usize, bool)]) -> Held {
    match members.iter().find(|(_, shows)| *shows) {
        Some((member, _)) => Err(format!("deregistered instance {key} still shown at {member}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_shows_what_was_deregistered_is_refused() {
        assert!(check(1, &[(0, false), (2, false)]).is_ok());
        assert!(check(1, &[(0, false), (2, true)]).is_err());
    }
}
