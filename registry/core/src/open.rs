//! How a member comes by the feed it writes (R1), and by a new one when that was closed (R9).
//!
//! ```text
//! shut ──ask (again every reopen_ticks, same nonce)──▶ asked ──the directory lists the nonce──▶ open
//!   ▲                                                                                           │
//!   └────────────────────────── the directory lists the feed no longer ◀───────────────────────┘
//! ```
//!
//! Invariant: a nonce is used for one feed; a feed that was closed is never written again.

use std::collections::BTreeMap;

use ecow::EcoString;
use landbridge_model::{DirectoryEntry, FeedId, MemberId, Mutant, planted};

use crate::{outcome::Token, state::Command};

/// What the directory means for the own feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing new.
    Same,
    /// The own feed was closed.
    Lost,
    /// A feed was opened for this member.
    Opened(FeedId),
}

/// The own feed, or the wish for one.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    member: MemberId,
    address: EcoString,
    dice: u64,
    nonce: Option<u64>,
    asked: Option<u32>,
    open: Option<Token>,
}

impl Own {
    pub fn new(member: MemberId, address: EcoString, seed: u64) -> Self {
        Self { member, address, dice: seed, nonce: None, asked: None, open: None }
    }

    /// The feed this member writes.
    pub fn feed(&self) -> Option<&FeedId> {
        self.open.as_ref().map(|token| &token.feed)
    }

    /// Where it stands.
    pub fn token(&self) -> Option<&Token> {
        self.open.as_ref()
    }

    /// One more step was written.
    pub fn wrote(&mut self) {
        if let Some(token) = &mut self.open {
            token.seq += 1;
        }
    }

    /// Asks for a feed if there is none and it was not asked for lately.
    pub fn ask(&mut self, tick: u32, reopen_ticks: u32) -> Option<Command> {
        let lately = self.asked.is_some_and(|asked| tick.saturating_sub(asked) < reopen_ticks);
        if self.open.is_some() || lately {
            return None;
        }
        self.asked = Some(tick);
        let nonce = *self.nonce.get_or_insert_with(|| roll(&mut self.dice));
        Some(Command::Open { member: self.member, address: self.address.clone(), nonce })
    }

    /// Reads the directory.
    pub fn read(&mut self, directory: &BTreeMap<FeedId, DirectoryEntry>) -> Turn {
        if let Some(feed) = self.feed() {
            if directory.contains_key(feed) {
                return Turn::Same;
            }
            (self.open, self.nonce, self.asked) = (None, None, None);
            return Turn::Lost;
        }
        let old = |entry: &DirectoryEntry| entry.member == self.member && planted(Mutant::OldFeedReused);
        let mine = |entry: &DirectoryEntry| Some(entry.nonce) == self.nonce || old(entry);
        match directory.iter().find(|(_, entry)| mine(entry)) {
            Some((feed, _)) => {
                self.open = Some(Token { feed: feed.clone(), seq: 1 });
                Turn::Opened(feed.clone())
            }
            None => Turn::Same,
        }
    }
}

/// SplitMix64: a fresh number for each incarnation from the seed of this start.
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *dice;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use landbridge_model::{Era, Region};

    use super::*;

    fn listed(index: u64, nonce: u64) -> (FeedId, DirectoryEntry) {
        let region = Region::parse("east").unwrap();
        let entry = DirectoryEntry { member: MemberId(1), address: "a:1".into(), nonce, need: 0 };
        (FeedId::Member { region, era: Era(1), index }, entry)
    }

    fn nonce(command: Option<Command>) -> u64 {
        let Some(Command::Open { nonce, .. }) = command else { panic!("expected an open, not {command:?}") };
        nonce
    }

    #[test]
    fn an_open_is_asked_for_again_with_the_same_nonce() {
        let mut own = Own::new(MemberId(1), "a:1".into(), 7);
        let first = nonce(own.ask(1, 2));

        assert_eq!(own.ask(2, 2), None);
        assert_eq!(nonce(own.ask(3, 2)), first);
    }

    #[test]
    fn two_starts_never_share_a_nonce() {
        let ask = |seed| nonce(Own::new(MemberId(1), "a:1".into(), seed).ask(1, 2));

        assert_ne!(ask(7), ask(8));
    }

    #[test]
    fn an_earlier_feed_of_the_same_member_is_not_taken_for_the_own() {
        let mut own = Own::new(MemberId(1), "a:1".into(), 7);
        own.ask(1, 2);

        assert_eq!(own.read(&[listed(3, 12345)].into()), Turn::Same);
        assert_eq!(own.feed(), None);
    }

    #[test]
    fn a_closed_own_feed_is_followed_by_another_nonce() {
        let mut own = Own::new(MemberId(1), "a:1".into(), 7);
        let first = nonce(own.ask(1, 2));
        let (feed, entry) = listed(3, first);
        assert_eq!(own.read(&[(feed.clone(), entry)].into()), Turn::Opened(feed));

        assert_eq!(own.read(&BTreeMap::new()), Turn::Lost);
        assert_ne!(nonce(own.ask(1, 2)), first, "at once, and a fresh one");
    }
}
