//! When the Raft leader closes a silent feed (R3a) or ends the settling of a restored region (R16).
//!
//! Invariant: silence counts only in own ticks in which this leader heard a quorum; a leader that cannot hear is no witness.
//! Invariant: nothing is closed while a copy of another living feed lags; a blind leader would drop who moved there.

use std::collections::BTreeMap;

use landbridge_feed::Holder;
use landbridge_model::{FeedId, Mutant, Region, planted};

use crate::{input::Leading, settings::Limits, state::Command};

/// How long a proposal may take before it is made again.
const RETRY_TICKS: u32 = 5;

#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    n: u64,
    ticks: u32,
}

/// The leader's watch over the region's feeds; empty at a member that does not lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closer {
    term: Option<u64>,
    ticks: u32,
    silences: BTreeMap<FeedId, Silence>,
    /// Where each feed stood by the heartbeat known one tick ago, so that steady writing does not block a close.
    announced: BTreeMap<FeedId, u64>,
}

impl Closer {
    /// One tick; tells what to propose.
    pub fn tick(
        &mut self,
        leading: Option<Leading>,
        holder: &Holder,
        region: &Region,
        own: Option<&FeedId>,
        limits: &Limits,
    ) -> Vec<Command> {
        let Some(Leading { term, quorum }) = leading else {
            *self = Self::default();
            return Vec::new();
        };
        if self.term != Some(term) {
            *self = Self { term: Some(term), ..Self::default() };
        }
        let announced = std::mem::replace(&mut self.announced, announced(holder, region));
        if !quorum && !planted(Mutant::CloseWithoutQuorum) {
            return Vec::new();
        }
        self.ticks += 1;
        self.listen(holder, region, own);
        let dead: Vec<FeedId> = self
            .silences
            .iter()
            .filter(|(_, silence)| silence.ticks >= limits.close_ticks)
            .map(|(feed, _)| feed.clone())
            .collect();
        let settle = own.is_some() && self.ticks >= limits.close_ticks && holder.settling(region);
        let is_blind = self.blind(holder, region, &dead, &announced) && !planted(Mutant::BlindClose);
        if (dead.is_empty() && !settle) || is_blind {
            return Vec::new();
        }
        let mut cursor = holder.cursor(region);
        cursor.retain(|feed, _| !dead.contains(feed));
        for feed in &dead {
            if let Some(silence) = self.silences.get_mut(feed) {
                silence.ticks = limits.close_ticks.saturating_sub(RETRY_TICKS);
            }
        }
        let settle = (settle && self.ticks.is_multiple_of(RETRY_TICKS))
            .then(|| Command::Settle { cursor: cursor.clone() });
        dead.into_iter().map(|feed| Command::Close { feed, cursor: cursor.clone() }).chain(settle).collect()
    }

    /// Counts the silence of every listed feed.
    fn listen(&mut self, holder: &Holder, region: &Region, own: Option<&FeedId>) {
        let directory = holder.directory(region);
        self.silences.retain(|feed, _| directory.contains_key(feed));
        for feed in directory.keys() {
            let n = holder.heartbeat(feed).map_or(0, |beat| beat.n);
            let silence = self.silences.entry(feed.clone()).or_insert(Silence { n, ticks: 0 });
            if own == Some(feed) || n > silence.n {
                *silence = Silence { n, ticks: 0 };
            } else {
                silence.ticks += 1;
            }
        }
    }

    /// Whether a copy of a living feed has not reached what its writer had announced.
    fn blind(
        &self,
        holder: &Holder,
        region: &Region,
        dead: &[FeedId],
        announced: &BTreeMap<FeedId, u64>,
    ) -> bool {
        holder.directory(region).keys().filter(|feed| !dead.contains(feed)).any(|feed| {
            let reached = holder.copy(feed).map(|copy| copy.position().seq);
            let wanted = announced.get(feed).copied().unwrap_or(0);
            reached.is_none_or(|seq| seq < wanted)
        })
    }
}

/// Where each listed feed stood at its newest known heartbeat.
fn announced(holder: &Holder, region: &Region) -> BTreeMap<FeedId, u64> {
    let stood = |feed: &FeedId| holder.heartbeat(feed).map(|beat| (feed.clone(), beat.position.seq));
    holder.directory(region).keys().filter_map(stood).collect()
}
