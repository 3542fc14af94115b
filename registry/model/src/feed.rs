//! The identity of a feed and the positions in it (feeds specification, section 1).

use std::fmt;

use crate::place::{MemberId, Region};

/// One incarnation of a region's Raft group: unix milliseconds of its bootstrap or restore; only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Era(pub u64);

/// The ordered changes of one incarnation of one writer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeedId {
    /// The projection of the region's Raft state machine.
    Raft(Region),
    /// A member's own feed, opened by the Raft entry at `index` of `era`; never reused.
    Member {
        /// The region it was born in.
        region: Region,
        /// The Raft incarnation that opened it.
        era: Era,
        /// The Raft log index of its `open` record.
        index: u64,
    },
}

impl FeedId {
    /// The region the feed was born in.
    pub fn region(&self) -> &Region {
        match self {
            Self::Raft(region) | Self::Member { region, .. } => region,
        }
    }

    /// Whether it is the projection of a Raft group.
    pub fn is_raft(&self) -> bool {
        matches!(self, Self::Raft(_))
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raft(region) => write!(f, "{region}/raft"),
            Self::Member { region, era, index } => write!(f, "{region}/{}/{index}", era.0),
        }
    }
}

/// A place in a feed: an era and a number in it.
///
/// A member's feed lives in one era, that of its id; a Raft feed passes from era to era, and its number is the Raft
/// log index. Number 1 is a member feed's content at opening; [`Position::NONE`] says "no copy".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The era.
    pub era: Era,
    /// The seq in it.
    pub seq: u64,
}

impl Position {
    /// "No copy": less than every place in a feed.
    pub const NONE: Self = Self { era: Era(0), seq: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.era.0, self.seq)
    }
}

/// The export filter under which a copy was taken; [`View::WHOLE`] is the unfiltered one inside a region.
///
/// Views of one peer are ordered by the policy's Raft position; a position under another view names other content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    /// Where in the origin's Raft feed the peer's export policy last changed.
    pub policy: Position,
    /// The region the copy is meant for, none inside the origin.
    pub peer: Option<Region>,
}

impl View {
    /// No filter.
    pub const WHOLE: Self = Self { policy: Position::NONE, peer: None };
}

/// What orders two records of one key in two feeds of one region; given once, by the member that took the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Hybrid logical clock: unix milliseconds in the upper 48 bits, a counter in the lower 16.
    pub clock: u64,
    /// Who gave it.
    pub member: MemberId,
}

impl Stamp {
    /// The wall-clock part, unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.clock >> 16
    }

    /// The clock value of a wall-clock reading.
    pub fn clock_at(unix_ms: u64) -> u64 {
        unix_ms << 16
    }
}

/// A writer's sign of life: `n` counts up once a second, `position` is where its feed stood then.
///
/// The `n` of a Raft feed holds the leader's term in its upper 32 bits, so that it rises over leader changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heartbeat {
    /// Counts up; relays repeat old values.
    pub n: u64,
    /// The feed's position at that moment.
    pub position: Position,
    /// The writer's wall clock at that moment, unix milliseconds; for measuring only, never for deciding.
    pub unix_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greater_era_is_ahead_of_any_number() {
        let old = Position { era: Era(1), seq: u64::MAX };
        let new = Position { era: Era(2), seq: 0 };

        assert!(Position::NONE < old && old < new);
    }

    #[test]
    fn the_clock_decides_before_the_member() {
        let early = Stamp { clock: Stamp::clock_at(5), member: MemberId(9) };
        let late = Stamp { clock: Stamp::clock_at(5) + 1, member: MemberId(1) };

        assert!(early < late);
        assert_eq!(late.unix_ms(), 5);
    }
}
