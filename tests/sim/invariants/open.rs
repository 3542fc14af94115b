//! Silence deletes nothing.

use landbridge_model::FeedId;

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I7",
    what: "no copy of a feed that its region lists is ever dropped: silence deletes nothing",
    from: "feeds-spec I7, R19; sync.md D.10 I7",
};

/// A copy of `feed` was dropped while its region lists these.
pub fn check(feed: &FeedId, listed: &[FeedId]) -> Held {
    if listed.contains(feed) { Err(format!("open feed {feed} dropped")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::feed;

    #[test]
    fn dropping_a_listed_feed_is_refused() {
        assert!(check(&feed(0, 3), &[feed(0, 4)]).is_ok());
        assert!(check(&feed(0, 3), &[feed(0, 4), feed(0, 3)]).is_err());
    }
}
