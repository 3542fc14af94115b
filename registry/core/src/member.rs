//! A member: the holder of feeds, and the rules of the one feed it writes, put together.

use std::sync::Arc;

use landbridge_feed::Standing;
use landbridge_model::{Moment, Namespace, Region, ServiceKey};

use crate::{
    board::BeatBoard,
    input::{Effect, Input, Phase},
    settings::Settings,
    view::ServiceView,
};

/// What a member decides.
#[derive(Debug)]
pub struct Member {
    settings: Settings,
    board: Arc<BeatBoard>,
    phase: Phase,
}

impl Member {
    /// A member that has just started.
    pub fn new(settings: Settings) -> Self {
        Self { settings, board: Arc::new(BeatBoard::new()), phase: Phase::Starting }
    }

    /// Takes one input and appends what follows from it to `effects`. The driver gives a tick once a second.
    pub fn step(&mut self, now: Moment, input: Input, effects: &mut Vec<Effect>) {
        let _ = (now, input, effects);
    }

    /// Where ingress notes beats whose slot a view names.
    pub fn board(&self) -> Arc<BeatBoard> {
        self.board.clone()
    }

    /// How far this member is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The view of a service, none if it does not exist (also called for a service that does: each call is a revision).
    pub fn view(&mut self, now: Moment, service: &ServiceKey) -> Option<ServiceView> {
        let _ = (now, service);
        None
    }

    /// All services that exist in the namespace, in key order.
    pub fn services(&self, namespace: &Namespace) -> impl Iterator<Item = &ServiceKey> {
        let _ = namespace;
        std::iter::empty()
    }

    /// How an origin stands.
    pub fn standing(&self, region: &Region) -> Option<Standing> {
        let _ = (region, &self.settings);
        None
    }
}
