//! A member: the holder of feeds, and the rules of the one feed it writes, put together.
//!
//! ```text
//! Starting ──R14 holds──▶ Ready        Starting ──warm-up too long──▶ Degraded ──R14 holds──▶ Ready
//! any ──Drain──▶ Draining ──own feed closed, or nobody to hand over to──▶ departed
//! ```
//!
//! Invariant: a registration is accepted only while the own feed is open, so that its answer can name feed and seq.

mod beats;
mod clients;
mod doors;
mod drain;
mod foresee;
mod imports;
mod overlays;
mod region;
mod shows;
mod ticks;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_feed::{Holder, Role, Standing, StreamId};
use landbridge_model::{Change, FeedId, InstanceKey, Moment, Region, ServiceKey};

use crate::{
    board::{BeatBoard, BeatSlot},
    bridges::Bridges,
    claims::Claims,
    closer::Closer,
    forwards::Forwards,
    hold::Hold,
    imports::Imports,
    input::{ConnectionId, Effect, Input, Phase, Ticket},
    lease::Leases,
    open::Own,
    outcome::{Outcome, Refusal},
    reference::Reference,
    services::Services,
    settings::Settings,
    stamps::Stamps,
    tombs::Tombs,
};

/// The most changes in one step of the own feed; what does not fit goes in several.
const STEP_CHANGES_MAX: usize = 32;

/// What a member decides.
#[derive(Debug)]
pub struct Member {
    settings: Settings,
    holder: Holder,
    /// Own ticks since the start.
    tick: u32,
    founded: bool,
    caught_up: bool,
    phase: Phase,
    own: Own,
    stamps: Stamps,
    claims: Claims,
    connections: BTreeSet<ConnectionId>,
    tombs: Tombs,
    leases: Leases,
    hold: Hold,
    /// What was held back when that was last told.
    held: BTreeSet<BeatSlot>,
    /// Leases that ended by silence.
    lapses: u64,
    imports: Imports,
    /// How much was held of which other region when that was last told.
    imports_told: BTreeMap<Region, usize>,
    forwards: Forwards,
    closer: Closer,
    drain: Option<drain::Drain>,
    persistent: BTreeMap<ServiceKey, BTreeSet<InstanceKey>>,
    doors: doors::Doors,
    overlays: overlays::Overlays,
    services: Services,
    /// Services in which another member's tombstone may hide a connection's claim.
    suspects: BTreeSet<ServiceKey>,
    standings: BTreeMap<Region, Standing>,
    reference: Reference,
    members: BTreeSet<StreamId>,
    bridges: Bridges,
    /// What the holder says; kept to save the allocation.
    said: Vec<landbridge_feed::Effect>,
}

/// What a member counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections of clients.
    pub connections: usize,
    /// Live claims.
    pub claims: usize,
    /// Tombstones in the own feed.
    pub tombstones: usize,
    /// Beat leases.
    pub leases: usize,
    /// Beat leases whose removal is held back.
    pub held: usize,
    /// Beat leases that ended because their client fell silent, since the start.
    pub lapses: u64,
    /// Services that exist.
    pub services: usize,
    /// How often a service was found with instances of both kinds.
    pub type_conflicts: u64,
    /// How far the fastest member's clock is ahead of the own one.
    pub clock_ahead_ms: u64,
}

impl Member {
    /// A member that has just started. Its first input is a tick.
    pub fn new(settings: Settings) -> Self {
        let role = Role::Member(settings.member);
        let limits = settings.feed.clone();
        let holder = landbridge_feed::Settings { region: settings.region.clone(), role, limits };
        Self {
            holder: Holder::new(holder),
            tick: 0,
            founded: false,
            caught_up: false,
            phase: Phase::Starting,
            own: Own::new(settings.member, settings.address.clone(), settings.seed),
            stamps: Stamps::new(settings.member),
            claims: Claims::default(),
            connections: BTreeSet::new(),
            tombs: Tombs::default(),
            leases: Leases::new(),
            hold: Hold::default(),
            held: BTreeSet::new(),
            lapses: 0,
            imports: Imports::default(),
            imports_told: BTreeMap::new(),
            forwards: Forwards::default(),
            closer: Closer::default(),
            drain: None,
            persistent: BTreeMap::new(),
            doors: doors::Doors::default(),
            overlays: overlays::Overlays::default(),
            services: Services::default(),
            suspects: BTreeSet::new(),
            standings: BTreeMap::new(),
            reference: Reference::default(),
            members: BTreeSet::new(),
            bridges: Bridges::default(),
            said: Vec::new(),
            settings,
        }
    }

    /// Takes one input and appends what follows from it to `effects`. The driver gives a tick once a second.
    pub fn step(&mut self, now: Moment, input: Input, effects: &mut Vec<Effect>) {
        use landbridge_feed::Input as Feed;
        match input {
            Input::Tick { unix_ms, leading } => self.tick(now, unix_ms, leading, effects),
            Input::Opened { stream, peer } => {
                if peer.region == self.settings.region && matches!(peer.role, Role::Member(_)) {
                    self.members.insert(stream);
                }
                if peer.region == self.settings.region && peer.role == Role::Bridge {
                    self.bridges.opened(stream, peer.id.clone());
                }
                self.tell(now, Feed::Opened { stream, peer }, effects);
            }
            Input::Received { stream, message } => self.receive(now, stream, message, effects),
            Input::Drained { stream, bytes } => self.tell(now, Feed::Drained { stream, bytes }, effects),
            Input::Closed { stream } => {
                self.members.remove(&stream);
                self.bridges.closed(stream);
                self.reference.forget(stream);
                self.tell(now, Feed::Closed { stream }, effects);
            }
            Input::Loaded { feed, view, position, records } => {
                self.tell(now, Feed::Loaded { feed, view, position, records }, effects);
                self.rephase(effects);
            }
            Input::Installed { position, records } => self.installed(now, position, records, effects),
            Input::Applied { position, changes } => self.applied(now, position, changes, effects),
            Input::CaughtUp => {
                self.caught_up = true;
                self.rephase(effects);
            }
            Input::ConnectionOpened { connection } => {
                self.connections.insert(connection);
            }
            Input::ConnectionAlive { connection } => self.alive(now, connection, effects),
            Input::ConnectionEnded { connection } => self.ended(now, connection, effects),
            Input::Publish { ticket, connection, service, published } => {
                let result = self.publish(now, connection, service, published, effects);
                answer(ticket, result, effects);
            }
            Input::Withdraw { ticket, connection, service } => {
                let result = self.withdraw(now, connection, &service, effects);
                answer(ticket, result, effects);
            }
            Input::Register { ticket, target, instance } => {
                let result = self.register(now, target, instance, effects);
                answer(ticket, result, effects);
            }
            Input::Deregister { ticket, target } => {
                let result = self.deregister(now, &target, effects);
                answer(ticket, result, effects);
            }
            Input::Beat { ticket, target, full } => {
                let result = self.beat(now, target, full, effects);
                answer(ticket, result, effects);
            }
            Input::ForwardedBeats { ticket, feed, targets } => {
                let verdicts = targets.iter().map(|target| self.renew_mine(&feed, target)).collect();
                answer(ticket, Ok(Outcome::Verdicts(verdicts)), effects);
            }
            Input::BeatsAnswered { verdicts } => self.beats_answered(now, verdicts, effects),
            Input::Foresee { ticket, command } => answer(ticket, self.foresee(&command), effects),
            Input::Submit { ticket, command } => self.submit(ticket, command, effects),
            Input::Release { origin } if origin == self.settings.region => self.release_leases(now, effects),
            Input::Release { origin } => self.release_imports(&origin, effects),
            Input::Drain => self.start_drain(effects),
            Input::Alone => self.stop_draining(effects),
        }
    }

    /// Where ingress notes beats whose slot a view names.
    pub fn board(&self) -> Arc<BeatBoard> {
        self.leases.board().clone()
    }

    /// All copies and what is known of them.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// How far this member is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Where the own feed stands, none while it is not open.
    pub fn token(&self) -> Option<&crate::Token> {
        self.own.token()
    }

    /// What there is, in numbers.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.len(),
            claims: self.claims.len(),
            tombstones: self.claims.tombstones(),
            leases: self.leases.len(),
            held: self.hold.held().len(),
            lapses: self.lapses,
            services: self.services.len(),
            type_conflicts: self.services.conflicts(),
            clock_ahead_ms: self.reference.ahead_ms(),
        }
    }

    /// How old what is shown of the region's decisions may be, in milliseconds: counted from a second before the leader
    /// made the newest heartbeat whose position is reached here, for that long its quorum may have been silent; whoever relayed
    /// it, on the region's fastest clock. So it is too high by what clocks differ, and too low only where the leader's is further ahead than clocks are followed (60 s). None
    /// before the first heartbeat.
    pub fn decided_age_ms(&self, now: Moment) -> Option<u64> {
        let reached = self.holder.reached(&FeedId::Raft(self.settings.region.clone()))?;
        (reached.unix_ms > 0).then(|| self.reference.at(now).saturating_sub(reached.unix_ms))
    }

    /// What is held back, by region: silent leases of the own one, instances that another one lost.
    pub fn holds(&self) -> Vec<(Region, usize)> {
        let own = Some((&self.settings.region, self.hold.held().len())).filter(|(_, leases)| *leases > 0);
        own.into_iter().chain(self.imports.counts()).map(|(region, count)| (region.clone(), count)).collect()
    }

    /// Tells the holder, and passes on what it says.
    fn tell(&mut self, now: Moment, input: landbridge_feed::Input, effects: &mut Vec<Effect>) {
        let mut said = std::mem::take(&mut self.said);
        self.holder.step(now, input, &mut said);
        for effect in said.drain(..) {
            self.pass_on(effect, effects);
        }
        self.said = said;
        self.note_losses(effects);
    }

    /// Writes changes of claims into the own feed; without one they wait in the claims for its opening.
    fn write(&mut self, now: Moment, changes: Vec<Change>, effects: &mut Vec<Effect>) {
        let mut changes = changes.into_iter().peekable();
        // A closed feed goes on being shown here until the next one opens (R9), so it is kept up to date.
        while changes.peek().is_some() && self.holder.own().is_some() {
            let changes: Vec<Change> = changes.by_ref().take(STEP_CHANGES_MAX).collect();
            self.own.wrote();
            self.tell(now, landbridge_feed::Input::Wrote { changes }, effects);
        }
    }
}

fn answer(ticket: Ticket, result: Result<Outcome, Refusal>, effects: &mut Vec<Effect>) {
    effects.push(Effect::Answer { ticket, result });
}

#[cfg(test)]
mod tests;
