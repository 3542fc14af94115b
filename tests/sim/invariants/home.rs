//! Nothing comes home through another region.

use landbridge_model::{FeedId, Region, View};

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I4",
    what: "no process holds a feed of its own region through another region",
    from: "feeds-spec I4; sync.md D.10 I4",
};

/// A process in `near` holds a feed under this view: what came over a border has a peer in it.
pub fn check(near: &Region, feed: &FeedId, view: &View) -> Held {
    let is_home = feed.region() == near;
    if is_home && *view != View::WHOLE {
        Err(format!("own feed {feed} came back as {view:?}"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::Position;

    use super::*;
    use crate::sim::names::{feed, region};

    #[test]
    fn an_own_feed_under_a_view_for_others_is_refused() {
        let exported = View { policy: Position::NONE, peer: Some(region(1)) };

        assert!(check(&region(0), &feed(0, 3), &View::WHOLE).is_ok());
        assert!(check(&region(1), &feed(0, 3), &exported).is_ok());
        assert!(check(&region(0), &feed(0, 3), &exported).is_err());
    }
}
