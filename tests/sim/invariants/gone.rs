//! What vanishes with a dropped feed was not promised to stay.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I6 at drops",
    what: "an instance that the closer saw in another feed stays visible when the closed feed is dropped, everywhere",
    from: "feeds-spec I6, G2, R4, R16; sync.md D.10 I6",
};

/// A key that vanished at a holder with a feed.
pub struct Gone {
    /// Whether a close or the end of a settling covers the feed: without one nothing may go.
    pub is_covered: bool,
    /// Whether its proposer saw the key elsewhere.
    pub is_promised: bool,
    /// Whether all copies of the origin here let the key through.
    pub is_exported: bool,
    /// Whether a deletion or another close that it did not know of explains the absence.
    pub is_explained: bool,
}

pub fn check(gone: &Gone) -> Held {
    if !gone.is_covered {
        return Err("the old era was dropped before the new one settled".into());
    }
    if gone.is_promised && gone.is_exported && !gone.is_explained {
        return Err("absent after a close though the closer knew the new record".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promised_key_that_vanishes_without_a_reason_is_refused() {
        let good = || Gone { is_covered: true, is_promised: true, is_exported: true, is_explained: true };

        assert!(check(&good()).is_ok());
        assert!(check(&Gone { is_explained: false, ..good() }).is_err());
        assert!(check(&Gone { is_explained: false, is_promised: false, ..good() }).is_ok());
        assert!(check(&Gone { is_covered: false, ..good() }).is_err());
    }
}
