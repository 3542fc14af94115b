//! One simulated process: a member or a bridge, its disk, and what the checks remember of it.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_feed::{Holder, Peer, Role, Settings};
use landbridge_model::{FeedId, MemberId, Moment, Position, View};
use landbridge_registry_core::{Member, Visibility};

use crate::sim::{
    core::{Bridge, Core},
    gateway::Gateway,
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

/// What the checks saw of a copy after the last step.
#[derive(Clone, PartialEq)]
pub struct Seen {
    pub view: View,
    pub position: Position,
    pub generation: u64,
}

/// What a process is in its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With its number.
    Member(u16),
    Bridge,
    Gateway,
}

/// One process.
pub struct Node {
    pub id: usize,
    pub region: usize,
    pub kind: Kind,
    pub core: Option<Core>,
    /// Counts its starts.
    pub life: u32,
    pub wake: i64,
    /// How far its wall clock is off, in ticks.
    pub skew: i64,
    pub disk: BTreeMap<FeedId, Saved>,
    /// A gateway's last table on disk.
    pub keepsake: Option<Vec<u8>>,
    /// Checkpoints come rarely.
    pub has_slow_disk: bool,
    /// Until when it stands still: it hears nothing, says nothing, and its clock does not tick.
    pub paused: i64,
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
    /// By feed, the last tick in which another member had heard a newer heartbeat of it.
    pub late: BTreeMap<FeedId, i64>,
    /// By feed, the heartbeat it knew at its last own tick, and the same a tick earlier.
    pub heard: [BTreeMap<FeedId, u64>; 2],
    /// Copies that were corrupted, or taken from such.
    pub dirty: BTreeSet<FeedId>,
}

impl Node {
    pub fn new(id: usize, region: usize, kind: Kind) -> Self {
        Self {
            id,
            region,
            kind,
            core: None,
            life: 0,
            wake: 0,
            skew: 0,
            disk: BTreeMap::new(),
            keepsake: None,
            has_slow_disk: false,
            paused: i64::MIN,
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
            late: BTreeMap::new(),
            heard: Default::default(),
            dirty: BTreeSet::new(),
        }
    }

    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    pub fn is_member(&self) -> bool {
        matches!(self.kind, Kind::Member(_))
    }

    pub fn holder(&self) -> Option<&Holder> {
        self.core.as_ref().map(Core::holder)
    }

    /// The feed it writes and may still write.
    pub fn own(&self) -> Option<FeedId> {
        match self.core.as_ref()? {
            Core::Member(member) => member.token().map(|token| token.feed.clone()),
            Core::Bridge(_) | Core::Gateway(_) => None,
        }
    }

    pub fn peer(&self) -> Peer {
        Peer { region: region(self.region), role: self.role(), id: format!("n{}", self.id).into() }
    }

    fn role(&self) -> Role {
        match self.kind {
            Kind::Member(member) => Role::Member(MemberId(member)),
            Kind::Bridge => Role::Bridge,
            Kind::Gateway => Role::Gateway,
        }
    }

    pub fn gateway(&self) -> Option<&Gateway> {
        match self.core.as_ref()? {
            Core::Gateway(gateway) => Some(gateway),
            Core::Member(_) | Core::Bridge(_) => None,
        }
    }

    /// Starts a process with nothing in memory.
    pub fn build(&mut self, given: &Given) {
        let limits = times::feed_limits(given.ring, given.credit);
        self.life += 1;
        let holder = || {
            Holder::new(Settings { region: region(self.region), role: self.role(), limits: limits.clone() })
        };
        self.core = Some(match self.kind {
            Kind::Member(member) => Core::Member(Box::new(Member::new(landbridge_registry_core::Settings {
                region: region(self.region),
                member: MemberId(member),
                address: address(self.id).into(),
                members: given.members,
                seed: given.seed,
                visibility: Visibility::Merge,
                limits: times::member_limits(),
                feed: limits.clone(),
            }))),
            Kind::Bridge => Core::Bridge(Box::new(Bridge::new(holder(), self.peer()))),
            Kind::Gateway => {
                let kept = self.keepsake.as_deref();
                Core::Gateway(Box::new(Gateway::start(holder(), kept, given.now, given.unix_ms)))
            }
        });
    }

    /// Forgets what only memory held.
    pub fn forget(&mut self) {
        let mut fresh = Self::new(self.id, self.region, self.kind);
        std::mem::swap(self, &mut fresh);
        (self.life, self.skew, self.disk) = (fresh.life, fresh.skew, fresh.disk);
        (self.keepsake, self.has_slow_disk) = (fresh.keepsake, fresh.has_slow_disk);
        (self.applied, self.unwell) = (fresh.applied, fresh.unwell);
    }
}

/// What a process is told when it starts.
pub struct Given {
    pub members: usize,
    pub seed: u64,
    pub ring: usize,
    pub credit: usize,
    pub now: Moment,
    pub unix_ms: u64,
}

/// Where a process would be dialled.
pub fn address(id: usize) -> String {
    format!("n{id}:1")
}

/// Who is dialled there.
pub fn at_address(address: &str) -> Option<usize> {
    address.strip_prefix('n')?.strip_suffix(":1")?.parse().ok()
}
