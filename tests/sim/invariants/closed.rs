//! What is closed stays closed.

use std::collections::BTreeSet;

use landbridge_model::FeedId;

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I3",
    what: "a closed feed never comes back to a holder that has dropped it",
    from: "feeds-spec I3; sync.md D.10 I3",
};

/// A copy of `feed` is new at a holder that has dropped these feeds.
pub fn check(feed: &FeedId, dropped: &BTreeSet<FeedId>) -> Held {
    if dropped.contains(feed) { Err(format!("closed feed {feed} came back")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::feed;

    #[test]
    fn a_feed_that_was_dropped_is_refused() {
        let dropped = [feed(0, 3)].into();

        assert!(check(&feed(0, 4), &dropped).is_ok());
        assert!(check(&feed(0, 3), &dropped).is_err());
    }
}
