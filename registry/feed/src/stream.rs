//! One stream to another holder: what may pass on it, and both its sides.

use landbridge_model::{FeedId, Mutant, Region, planted};

use crate::{
    credit::Credit,
    follower::Follower,
    input::{Peer, Role},
    pulse::Pulse,
    settings::Settings,
    supplier::Supplier,
};

/// A stream that is up.
#[derive(Debug)]
pub(crate) struct Stream {
    pub peer: Peer,
    pub reach: Reach,
    pub supplier: Supplier,
    pub follower: Follower,
    pub credit: Credit,
    pub pulse: Pulse,
}

/// What may pass on a stream (R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Two holders of one region: anything either of them holds.
    Near,
    /// Two bridges of different regions: to each the other's own feeds, under the export policy.
    Far,
}

impl Stream {
    /// A stream to this peer, or why there can be none.
    pub fn open(settings: &Settings, peer: Peer) -> Result<Self, &'static str> {
        let reach = match (&settings.role, &peer.role) {
            (Role::Gateway, Role::Gateway) => return Err("neither side supplies"),
            _ if peer.region == settings.region => Reach::Near,
            (Role::Bridge, Role::Bridge) => Reach::Far,
            _ => return Err("only bridges speak to other regions"),
        };
        Ok(Self {
            peer,
            reach,
            supplier: Supplier::default(),
            follower: Follower::default(),
            credit: Credit::new(&settings.limits),
            pulse: Pulse::default(),
        })
    }

    /// Whether the peer may bring news of this feed.
    pub fn may_bring(&self, feed: &FeedId) -> Result<(), &'static str> {
        match self.reach {
            Reach::Near if self.peer.role == Role::Gateway => Err("a gateway supplies nothing"),
            Reach::Near => Ok(()),
            Reach::Far if *feed.region() == self.peer.region || planted(Mutant::EchoTaken) => Ok(()),
            Reach::Far => Err("a feed of a region that is not its own"),
        }
    }

    /// Whether the peer may ask for this feed.
    pub fn may_ask(&self, near: &Region, role: &Role, feed: &FeedId) -> Result<(), &'static str> {
        match self.reach {
            Reach::Near if *role == Role::Gateway => Err("a gateway supplies nothing"),
            Reach::Near => Ok(()),
            Reach::Far if feed.region() == near || planted(Mutant::EchoSupplied) => Ok(()),
            Reach::Far => Err("wants a feed that is not ours to give"),
        }
    }
}
