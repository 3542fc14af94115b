//! One simulated process: a member or a bridge, its disk, and what the checks remember of it.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_feed::{Holder, Peer, Role, Settings};
use landbridge_model::{FeedId, MemberId, Position, View};
use landbridge_registry_core::{Member, Visibility};

use crate::sim::{
    names::{self, Records, region},
    times,
};

/// A copy on disk.
#[derive(Clone)]
pub struct Saved {
    pub view: View,
    pub position: Position,
    pub records: Records,
    pub is_dirty: bool,
}

/// What runs.
pub enum Core {
    Member(Box<Member>),
    Bridge(Box<Holder>),
}

impl Core {
    pub fn holder(&self) -> &Holder {
        match self {
            Self::Member(member) => member.holder(),
            Self::Bridge(holder) => holder,
        }
    }
}

/// What the checks saw of a copy after the last step.
#[derive(Clone, PartialEq)]
pub struct Seen {
    pub view: View,
    pub position: Position,
    pub generation: u64,
}

/// One process.
pub struct Node {
    pub id: usize,
    pub region: usize,
    /// The member's number, none for a bridge.
    pub member: Option<u16>,
    pub core: Option<Core>,
    /// Counts its starts.
    pub life: u32,
    pub wake: i64,
    /// How far its wall clock is off, in ticks.
    pub skew: i64,
    pub disk: BTreeMap<FeedId, Saved>,
    /// Where its own Raft state machine stands, and on disk while it is down.
    pub applied: Position,
    pub caught_up: bool,
    pub boot: i64,
    /// When its present own feed was opened.
    pub opened: i64,
    pub drain: Option<i64>,
    /// The last tick in which it was not linked with a majority, both ways.
    pub unwell: i64,
    pub ready: bool,
    /// Which keys it showed when it went down while READY.
    pub before: BTreeSet<usize>,
    /// What it loaded of its own region, and what that showed.
    pub loaded: BTreeMap<FeedId, u64>,
    pub loaded_keys: BTreeSet<usize>,
    pub seen: BTreeMap<FeedId, Seen>,
    pub visible: Vec<BTreeSet<usize>>,
    pub dropped: BTreeSet<FeedId>,
    /// Copies that were corrupted, or taken from such.
    pub dirty: BTreeSet<FeedId>,
}

impl Node {
    pub fn new(id: usize, region: usize, member: Option<u16>) -> Self {
        Self {
            id,
            region,
            member,
            core: None,
            life: 0,
            wake: 0,
            skew: 0,
            disk: BTreeMap::new(),
            applied: Position::NONE,
            caught_up: false,
            boot: 0,
            opened: 0,
            drain: None,
            unwell: 0,
            ready: false,
            before: BTreeSet::new(),
            loaded: BTreeMap::new(),
            loaded_keys: BTreeSet::new(),
            seen: BTreeMap::new(),
            visible: vec![BTreeSet::new(); names::REGIONS_MAX],
            dropped: BTreeSet::new(),
            dirty: BTreeSet::new(),
        }
    }

    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    pub fn is_member(&self) -> bool {
        self.member.is_some()
    }

    pub fn holder(&self) -> Option<&Holder> {
        self.core.as_ref().map(Core::holder)
    }

    /// The feed it writes and may still write.
    pub fn own(&self) -> Option<FeedId> {
        match self.core.as_ref()? {
            Core::Member(member) => member.token().map(|token| token.feed.clone()),
            Core::Bridge(_) => None,
        }
    }

    pub fn peer(&self) -> Peer {
        Peer { region: region(self.region), role: self.role(), id: format!("n{}", self.id).into() }
    }

    fn role(&self) -> Role {
        self.member.map_or(Role::Bridge, |member| Role::Member(MemberId(member)))
    }

    /// Starts a process with nothing in memory.
    pub fn build(&mut self, members: usize, seed: u64, ring: usize, credit: usize) {
        let feed = times::feed_limits(ring, credit);
        self.life += 1;
        self.core = Some(match self.member {
            Some(member) => Core::Member(Box::new(Member::new(landbridge_registry_core::Settings {
                region: region(self.region),
                member: MemberId(member),
                address: format!("n{}:1", self.id).into(),
                members,
                seed,
                visibility: Visibility::Merge,
                limits: times::member_limits(),
                feed,
            }))),
            None => {
                let (region, role) = (region(self.region), self.role());
                Core::Bridge(Box::new(Holder::new(Settings { region, role, limits: feed })))
            }
        });
    }

    /// Forgets what only memory held.
    pub fn forget(&mut self) {
        let mut fresh = Self::new(self.id, self.region, self.member);
        std::mem::swap(self, &mut fresh);
        (self.life, self.skew, self.disk) = (fresh.life, fresh.skew, fresh.disk);
        (self.applied, self.unwell) = (fresh.applied, fresh.unwell);
    }
}
