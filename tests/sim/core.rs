//! What runs in a simulated process: production code, and as little around it as its server would put there.

use landbridge_bridge_core::{Input as LinkInput, Links};
use landbridge_feed::{Effect as FeedEffect, Holder, Input as FeedInput, Peer};
use landbridge_model::{Moment, Region};
use landbridge_registry_core::{Effect, Input, Member};

use crate::sim::gateway::Gateway;

/// Ticks without progress until a bridge calls a link stalled.
const STALL_TICKS: u64 = 5;

pub enum Core {
    Member(Box<Member>),
    Bridge(Box<Bridge>),
    Gateway(Box<Gateway>),
}

/// A bridge: what it holds, and how its links are doing.
pub struct Bridge {
    pub holder: Holder,
    pub links: Links,
}

impl Core {
    pub fn holder(&self) -> &Holder {
        match self {
            Self::Member(member) => member.holder(),
            Self::Bridge(bridge) => &bridge.holder,
            Self::Gateway(gateway) => &gateway.holder,
        }
    }

    /// Gives it one input and tells what follows.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self {
            Self::Member(member) => member.step(now, input, &mut effects),
            Self::Bridge(bridge) => {
                let said = for_a_holder(input).map(|input| bridge.step(now, input));
                effects.extend(said.into_iter().flatten().filter_map(of_a_holder));
            }
            Self::Gateway(gateway) => {
                let said = for_a_holder(input).map(|input| gateway.step(now, input));
                effects.extend(said.into_iter().flatten().filter_map(of_a_holder));
            }
        }
        effects
    }
}

impl Bridge {
    /// A bridge that starts under the name that its peers see.
    pub fn new(mut holder: Holder, own: Peer) -> Self {
        let id = own.id;
        holder.step(Moment::default(), FeedInput::Named { id: id.clone() }, &mut Vec::new());
        Self { holder, links: Links::new(id, STALL_TICKS) }
    }

    /// What follows from a question or an order of its operator.
    pub fn asked(&mut self, now: Moment, input: FeedInput) -> Vec<Effect> {
        self.step(now, input).into_iter().filter_map(of_a_holder).collect()
    }

    fn step(&mut self, now: Moment, input: FeedInput) -> Vec<FeedEffect> {
        let is_tick = matches!(input, FeedInput::Tick { .. });
        let mut said = Vec::new();
        self.holder.step(now, input, &mut said);
        if is_tick {
            let regions: Vec<Region> = self.holder.regions().cloned().collect();
            for region in &regions {
                if let Some(status) = self.holder.status(region) {
                    let reached = self.holder.cursor(region).values().sum::<u64>() + status.raft.seq;
                    self.links.step(LinkInput::Status { status, reached }, &mut Vec::new());
                }
            }
        }
        said
    }
}

fn for_a_holder(input: Input) -> Option<FeedInput> {
    Some(match input {
        Input::Tick { unix_ms, .. } => FeedInput::Tick { unix_ms },
        Input::Opened { stream, peer } => FeedInput::Opened { stream, peer },
        Input::Received { stream, message } => FeedInput::Received { stream, message },
        Input::Drained { stream, bytes } => FeedInput::Drained { stream, bytes },
        Input::Closed { stream } => FeedInput::Closed { stream },
        Input::Loaded { feed, view, position, records } => {
            FeedInput::Loaded { feed, view, position, records }
        }
        _ => return None,
    })
}

fn of_a_holder(effect: FeedEffect) -> Option<Effect> {
    Some(match effect {
        FeedEffect::Send { stream, message } => Effect::Send { stream, message },
        FeedEffect::Refuse { stream, why } => Effect::Refuse { stream, why },
        FeedEffect::Doubted { feed } => Effect::Doubted { feed },
        FeedEffect::Dropped { feed } => Effect::Dropped { feed },
        FeedEffect::Touched { .. }
        | FeedEffect::DirectoryChanged { .. }
        | FeedEffect::StandingChanged { .. } => return None,
    })
}
