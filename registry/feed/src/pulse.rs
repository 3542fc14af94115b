//! Which heartbeats a stream's peer is still to be told.
//!
//! Invariant: what is owed goes before all else that the stream's credit allows, and feeds take turns; neither a long
//! reconcile nor many small messages make a living writer look silent.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

use landbridge_model::{FeedId, Region};

use crate::{beats::Beats, credit::Credit, message::Message};

/// What one stream owes its peer.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    owed: BTreeSet<FeedId>,
    /// Who had the last turn.
    last: Option<FeedId>,
}

impl Pulse {
    /// From here on the newest heartbeats of exactly these feeds are to be told.
    pub fn owe(&mut self, feeds: BTreeSet<FeedId>) {
        self.owed = feeds;
    }

    /// Says what is owed, so many feeds in one message and within the stream's credit; tells whether nothing is left.
    pub fn produce(
        &mut self,
        beats: &Beats,
        (unix_ms, feeds_max, hears): (u64, usize, &[Region]),
        credit: &mut Credit,
        said: &mut Vec<Message>,
    ) -> bool {
        while !self.owed.is_empty() {
            let turn = self.turn(feeds_max);
            let newest = |feed: &FeedId| (feed.clone(), beats.newest(feed).unwrap_or_default());
            let beats = turn.iter().map(newest).collect();
            let message = Message::Beats { unix_ms, beats, hears: hears.to_vec() };
            if !credit.has_room(&message) {
                return false;
            }
            credit.spend(&message);
            said.push(message);
            for feed in &turn {
                self.owed.remove(feed);
            }
            self.last = turn.into_iter().next_back();
        }
        true
    }

    /// The feeds that come next.
    fn turn(&self, feeds_max: usize) -> Vec<FeedId> {
        let count = self.owed.len().min(feeds_max.max(1));
        let after = self.last.as_ref().map(|last| self.owed.range((Excluded(last), Unbounded)));
        after.into_iter().flatten().chain(&self.owed).take(count).cloned().collect()
    }
}
