//! The loop that feeds the core and carries out what it says.
//!
//! Invariant: an answer leaves after the views it changed are published, so that a client reads its own writes.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use landbridge_carrier::{Carrier, Event, Loaded, Shelf};
use landbridge_feed::Message;
use landbridge_model::{Moment, Position, ServiceKey};
use landbridge_registry_core::{Command, Effect, Input, Leading, Member, Phase, Reply, Ticket};
use landbridge_runtime::{clock::Clock, pages::Pulse, shutdown::Shutdown};
use landbridge_store::{Applied, ProposeError, Store};
use rustc_hash::FxHashMap;
use tokio::{
    sync::{mpsc, watch},
    time::{Interval, MissedTickBehavior},
};

use crate::{
    beats::Beats,
    egress::{farewell, push::Pusher},
    events::Events,
    metrics,
    orders::{Answered, Asker, Failed, Order},
    probes::Touched,
    session::Sessions,
    state::State,
    window::Window,
};

/// The most orders that are stepped before their answers leave.
const ROUND_MAX: usize = 256;

/// The most proposals that wait for Raft at once; more wait in the order queue.
const PROPOSALS_MAX: usize = 1_024;

/// One own tick.
const TICK: Duration = Duration::from_secs(1);

/// Copies are on disk at most this long, and the writing, behind what is held.
const SAVE_EVERY: Duration = Duration::from_millis(250);

/// Beats for other members are gathered for so long.
const FORWARD_EVERY: Duration = Duration::from_millis(100);

/// What came of a proposal.
struct Decided {
    ticket: Ticket,
    result: Result<(Position, Reply), ProposeError>,
}

/// The ends of everything the loop touches.
pub(crate) struct Ends {
    pub(crate) window: Arc<Window>,
    pub(crate) pusher: Arc<Pusher>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) state: Arc<State>,
    pub(crate) events: Arc<Events>,
    pub(crate) store: Store,
    pub(crate) carrier: Option<Carrier>,
    pub(crate) shelf: Shelf,
    pub(crate) pulse: Pulse,
    pub(crate) clock: Clock,
    /// The wish that the member leaves.
    pub(crate) asked: Shutdown,
    /// The end of everything, once it has left.
    pub(crate) shutdown: Shutdown,
}

/// What comes in.
pub(crate) struct Sources {
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) applied: mpsc::Receiver<Applied>,
    pub(crate) streams: mpsc::Receiver<Event>,
    /// Whether another member of the region is up and ready.
    pub(crate) company: watch::Receiver<bool>,
}

/// The driver of one member.
pub(crate) struct Driver {
    member: Member,
    ends: Ends,
    effects: Vec<Effect>,
    touched: BTreeSet<ServiceKey>,
    askers: FxHashMap<Ticket, Asker>,
    beats: Beats,
    answers: Vec<(Asker, Result<Answered, Failed>)>,
    /// Proposals that Raft decided at a position the core has not seen yet.
    decided: Vec<(Asker, Position, Reply)>,
    applied: Position,
    proposals: (mpsc::Sender<Decided>, mpsc::Receiver<Decided>),
    /// Copies found on disk, until the state machine has told which feeds are listed.
    found: Vec<Loaded>,
    /// A copy was dropped since the last save.
    dropped: bool,
    /// A phase that readers have not been told.
    phase: Option<Phase>,
    /// Something that readers are shown changed since the core was last observed.
    unseen: bool,
    departed: bool,
}

impl Driver {
    /// A driver around a member that has just started, and the copies it left on disk.
    pub(crate) fn new(member: Member, ends: Ends, found: Vec<Loaded>) -> Self {
        Self {
            member,
            ends,
            effects: Vec::new(),
            touched: BTreeSet::new(),
            askers: FxHashMap::default(),
            beats: Beats::default(),
            answers: Vec::new(),
            decided: Vec::new(),
            applied: Position::NONE,
            proposals: mpsc::channel(PROPOSALS_MAX),
            found,
            // What the disk holds beyond what is held is forgotten with the first save.
            dropped: true,
            phase: None,
            unseen: false,
            departed: false,
        }
    }

    /// Runs until the member has departed.
    pub(crate) async fn run(mut self, mut sources: Sources) {
        let mut tick = every(TICK);
        let mut save = every(SAVE_EVERY);
        let mut forward = every(FORWARD_EVERY);
        let mut round = Vec::with_capacity(ROUND_MAX);
        let mut leaving = false;
        while !self.departed {
            tokio::select! {
                _ = tick.tick() => {
                    self.tick();
                    if leaving && !*sources.company.borrow() {
                        self.step(Input::Alone);
                    }
                }
                _ = save.tick() => self.save(),
                _ = forward.tick() => self.forward(),
                Some(applied) = sources.applied.recv() => self.applied(applied),
                Some(event) = sources.streams.recv() => self.stream(event),
                Some(decided) = self.proposals.1.recv() => self.decide(decided),
                taken = sources.orders.recv_many(&mut round, ROUND_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    for order in round.drain(..) {
                        if order.input.is_none() {
                            self.take_applied(&mut sources.applied);
                        }
                        self.order(order);
                    }
                }
                () = self.ends.asked.wait(), if !leaving => {
                    leaving = true;
                    self.step(Input::Drain);
                }
            }
            self.settle();
        }
    }

    fn step(&mut self, input: Input) {
        let now = Moment(self.ends.clock.now());
        self.member.step(now, input, &mut self.effects);
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.post(effect);
        }
        self.effects = effects;
    }

    fn tick(&mut self) {
        self.ends.pulse.beat();
        let leading = self.ends.store.leading(TICK).map(|(term, quorum)| Leading { term, quorum });
        self.step(Input::Tick { unix_ms: self.ends.clock.unix_ms(), leading });
        self.unseen = true;
    }

    /// Hands changed copies to the disk, and forgets those that are held no more.
    fn save(&mut self) {
        let holder = self.member.holder();
        self.ends.shelf.save(holder.copies());
        // Copies that wait to be taken in are not held yet, and must not be forgotten for that.
        if self.found.is_empty() && std::mem::take(&mut self.dropped) {
            self.ends.shelf.forget(|feed| holder.copy(feed).is_some());
        }
    }

    fn order(&mut self, order: Order) {
        match (order.input, order.asker) {
            (Some(input), asker) => {
                self.askers.extend(asker);
                self.step(input);
            }
            (None, asker) => self.answers.extend(asker.map(|(_, asker)| (asker, Ok(Answered::Seen)))),
        }
    }

    /// Takes in all that Raft has applied so far, before anything else that waits.
    fn take_applied(&mut self, applied: &mut mpsc::Receiver<Applied>) {
        while let Ok(applied) = applied.try_recv() {
            self.applied(applied);
        }
    }

    fn applied(&mut self, applied: Applied) {
        match applied {
            Applied::Installed { position, records } => {
                self.applied = position;
                self.step(Input::Installed { position, records });
                for Loaded { feed, view, position, records } in std::mem::take(&mut self.found) {
                    self.step(Input::Loaded { feed, view, position, records });
                }
            }
            Applied::Changed { position, changes } => {
                self.applied = position;
                self.step(Input::Applied { position, changes });
            }
            Applied::CaughtUp => self.step(Input::CaughtUp),
        }
    }

    fn stream(&mut self, event: Event) {
        match event {
            Event::Opened { stream, peer } => {
                self.beats.opened(stream, &peer, &self.member.holder().settings().region);
                self.step(Input::Opened { stream, peer });
            }
            Event::Received { stream, message } => {
                self.measure(&message);
                self.step(Input::Received { stream, message });
            }
            Event::Drained { stream, bytes } => self.step(Input::Drained { stream, bytes }),
            Event::Closed { stream, .. } => {
                self.beats.closed(stream);
                self.step(Input::Closed { stream });
            }
            Event::Forwarded { stream, forward } => {
                let ticket = self.beats.question(stream, &forward);
                self.step(Input::ForwardedBeats { ticket, feed: forward.feed, targets: forward.keys });
            }
            Event::Answered { answer, .. } => {
                let verdicts = self.beats.answered(&answer);
                self.step(Input::BeatsAnswered { verdicts });
            }
        }
    }

    fn forward(&mut self) {
        if let Some(carrier) = &self.ends.carrier {
            self.beats.send(carrier);
        }
    }

    /// Measures how long registrations of other regions took to come here, by the clocks of both.
    fn measure(&self, message: &Message) {
        let Message::Batch { feed, changes, .. } = message else { return };
        if *feed.region() == self.member.holder().settings().region {
            return;
        }
        let unix_ms = self.ends.clock.unix_ms();
        let registrations = changes.iter().filter_map(|change| change.record.as_ref()?.registration());
        for registration in registrations.filter(|registration| registration.instance().is_some()) {
            metrics::propagated(feed.region(), unix_ms.saturating_sub(registration.stamp.unix_ms()));
        }
    }

    /// Carries out one effect; nothing here waits.
    fn post(&mut self, effect: Effect) {
        match effect {
            Effect::Send { stream, message } => {
                if let Some(carrier) = &self.ends.carrier {
                    carrier.send_or_close(stream, message);
                }
            }
            Effect::Refuse { stream, why } => {
                if let Some(carrier) = &self.ends.carrier {
                    carrier.close(stream, why);
                }
            }
            Effect::Touched { service } => {
                self.touched.insert(service);
            }
            Effect::Propose { ticket, command } => self.propose(ticket, command),
            Effect::Answer { ticket, result } => {
                let carrier = self.ends.carrier.as_ref();
                let of_peer =
                    carrier.is_some_and(|carrier| self.beats.answer(ticket, result.as_ref().ok(), carrier));
                if of_peer {
                    return;
                }
                if let Some(asker) = self.askers.remove(&ticket) {
                    self.answers.push((asker, result.map(Answered::Core).map_err(Failed::Refused)));
                }
            }
            Effect::ForwardBeat { to, feed, target } => self.beats.gather(to, feed, target),
            Effect::Check { connection } => {
                if let Some(session) = self.ends.sessions.find(connection.0) {
                    session.outbox().control(crate::answer::detection());
                }
            }
            Effect::Dropped { feed } => {
                self.dropped = true;
                self.ends.events.feed_dropped(&feed);
            }
            Effect::Doubted { feed } => self.ends.events.feed_doubted(&feed),
            Effect::DirectoryChanged { region } => {
                self.unseen = true;
                self.ends.events.directory_changed(&region);
            }
            Effect::StandingChanged { region, standing } => {
                self.ends.events.standing_changed(&region, standing)
            }
            Effect::PhaseChanged { phase } => self.phase(phase),
            Effect::FeedOpened { feed } => {
                self.ends.state.open.store(true, Ordering::Release);
                self.ends.events.feed_opened(&feed);
            }
            Effect::Held { origin, count, began } => {
                metrics::held(&origin, count, began);
                self.ends.events.held(&origin, count);
            }
            Effect::Departed => self.departed = true,
        }
    }

    /// Readers hear of a phase after the views it came with are published; else READY would answer with less for a moment.
    fn phase(&mut self, phase: Phase) {
        self.phase = Some(phase);
        self.ends.events.phase_changed(phase);
        if phase == Phase::Draining {
            self.ends.state.open.store(false, Ordering::Release);
            let goodbye = farewell::say(Arc::clone(&self.ends.sessions), self.ends.shutdown.clone());
            self.ends.shutdown.spawn(goodbye);
        }
    }

    fn propose(&mut self, ticket: Option<Ticket>, command: Command) {
        // A close raises needs up to where the copies stand: a restart must not come back with less.
        if let Command::Close { .. } = &command {
            self.save();
        }
        let store = self.ends.store.clone();
        let decided = self.proposals.0.clone();
        self.ends.shutdown.spawn(async move {
            let result = store.propose(&command).await;
            if let Some(ticket) = ticket {
                // The loop is gone only when the process ends, and the asker hears of that by its own channel.
                let _ = decided.send(Decided { ticket, result }).await;
            }
        });
    }

    fn decide(&mut self, Decided { ticket, result }: Decided) {
        let Some(asker) = self.askers.remove(&ticket) else { return };
        match result {
            Ok((position, reply)) => self.decided.push((asker, position, reply)),
            Err(error @ ProposeError::Full(_)) => {
                self.answers.push((asker, Err(Failed::Full(error.to_string()))));
            }
            Err(error) => self.answers.push((asker, Err(Failed::Undecided(error.to_string())))),
        }
    }

    /// Publishes what changed, then gives the answers that waited for it.
    fn settle(&mut self) {
        let now = Moment(self.ends.clock.now());
        while let Some(service) = self.touched.pop_first() {
            let view = self.member.view(now, &service);
            self.ends.events.view_changed(&service, view.as_ref());
            let persistent = Touched::concerns(view.as_ref());
            let pane = self.ends.window.publish(&service, view);
            if persistent {
                self.ends.state.touched.note(&service);
            }
            if let Some(pane) = pane {
                self.ends.pusher.touched(&pane);
            }
        }
        if let Some(phase) = self.phase.take() {
            self.ends.state.set_phase(phase);
        }
        if std::mem::take(&mut self.unseen) {
            self.ends.state.observe(&self.member, self.ends.clock.now());
        }
        for (asker, answer) in self.answers.drain(..) {
            // An asker that went away does not want the answer.
            let _ = asker.send(answer);
        }
        let applied = self.applied;
        for (asker, position, reply) in self.decided.extract_if(.., |(_, position, _)| *position <= applied) {
            let _ = asker.send(Ok(Answered::Raft(position, reply)));
        }
    }
}

/// Ticks with this period; after a pause once, however long it was (R22).
fn every(period: Duration) -> Interval {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
