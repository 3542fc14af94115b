//! The loop of a bridge: streams and ticks into the holder, its effects into deeds, its copies onto the shelf.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use landbridge_bridge_core as core;
use landbridge_bridge_core::{Links, Plan};
use landbridge_carrier::{Carrier, Event, Shelf, Target};
use landbridge_feed::{Effect, Holder, Input, Message};
use landbridge_model::{Change, FeedId, Hold, Moment, Position, Region};
use landbridge_runtime::{
    clock::Clock,
    pages::{Health, Pulse},
    shutdown::Shutdown,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::{
    asks::{Answer, Ask, Failed, Report, Verb},
    board::Board,
    guest::{self, Host, Said},
    metrics,
};

/// One own tick of a holder.
const TICK: Duration = Duration::from_secs(1);

/// What is asked of `/readyz` before a bridge is of use.
const REGISTRY_CHECK: &str = "registry";

/// Everything the loop works with.
pub(crate) struct Driver {
    pub plan: Plan,
    pub clock: Clock,
    pub holder: Holder,
    pub links: Links,
    pub shelf: Shelf,
    pub carrier: Carrier,
    pub board: Arc<ArcSwap<Board>>,
    pub health: Health,
    pub pulse: Pulse,
    pub save_ms: u64,
    /// Feeds that an operator wants rebuilt: doubted by order, not by a fault.
    pub resyncing: BTreeSet<FeedId>,
    /// Who waits for what a look finds.
    pub looking: BTreeMap<Region, Asker>,
    /// The guest that this bridge hosts as its region.
    pub host: Option<Host>,
}

/// Whom the loop hears beside the streams.
pub(crate) struct Heard {
    pub asked: mpsc::Receiver<Ask>,
    /// The line to the guest, if there is one.
    pub said: Option<mpsc::Receiver<Said>>,
    pub guest_asked: mpsc::Receiver<guest::asks::Ask>,
}

/// Whom to answer.
pub(crate) type Asker = oneshot::Sender<Result<Answer, Failed>>;

/// What a message may bring about, looked at before the holder takes it.
enum Expected {
    /// A step of a copy to this position, with registrations of these ages.
    Step { feed: FeedId, to: Position, changes: usize, ages_ms: Vec<u64> },
    /// The end of a reconcile of a copy that was replaced so often before, and whether it was doubted.
    Swap { feed: FeedId, swaps: u64, doubted: bool },
}

impl Driver {
    /// Runs until the process ends, and leaves everything saved.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Event>, heard: Heard, shutdown: Shutdown) {
        let Heard { asked: mut asks, said, mut guest_asked } = heard;
        // Without a guest nobody ever says anything.
        let mut said = said.unwrap_or_else(|| mpsc::channel(1).1);
        let mut ticks = every(TICK);
        let mut saves = every(Duration::from_millis(self.save_ms));
        self.dial();
        self.tick();
        loop {
            tokio::select! {
                event = inbox.recv() => match event.map(Event::into_input) {
                    Some(Some(input)) => self.hear(input),
                    Some(None) => {}
                    None => break,
                },
                Some(ask) = asks.recv() => self.answer(ask),
                Some(said) = said.recv() => self.hosting(|host, now, unix_ms, holder| {
                    host.hear(now, unix_ms, said, holder)
                }),
                Some(ask) = guest_asked.recv() => self.hosting(|host, now, unix_ms, holder| {
                    ask.perform(host, now, unix_ms, holder)
                }),
                _ = ticks.tick() => self.tick(),
                _ = saves.tick() => self.save(),
                () = shutdown.wait() => break,
            }
        }
        self.save();
        let shelf = self.shelf;
        if tokio::task::spawn_blocking(move || shelf.close()).await.is_err() {
            tracing::error!(event = "shelf_failed", "closing the shelf panicked");
        }
    }

    /// Takes what a stream brought, and counts what became of it.
    fn hear(&mut self, input: Input) {
        let expected = match &input {
            Input::Received { message, .. } => self.expect(message),
            _ => None,
        };
        self.step(input);
        if let Some(expected) = expected {
            self.count(expected);
        }
        if !self.looking.is_empty() {
            self.tell_looks();
        }
    }

    /// Does what an operator asks for.
    fn answer(&mut self, ask: Ask) {
        let Ask { verb, region, answer } = ask;
        let said = match verb {
            _ if !self.plan.peers.contains_key(&region) => {
                Err(Failed::Unknown(format!("{region} is no peer of this bridge")))
            }
            Verb::Resync => Ok(self.resync(&region)),
            Verb::Diff if self.looking.contains_key(&region) => {
                Err(Failed::Conflict(format!("{region} is being compared already")))
            }
            Verb::Diff => {
                metrics::asked(&region, "diff");
                self.looking.insert(region.clone(), answer);
                self.step(Input::Look { region });
                self.tell_looks();
                return;
            }
        };
        // Who has gone away need not know.
        let _ = answer.send(said);
    }

    fn resync(&mut self, region: &Region) -> Answer {
        metrics::asked(region, "resync");
        let held = self.holder.copies().filter(|(feed, _)| feed.region() == region);
        let (mut feeds, mut records) = (0, 0);
        for (feed, copy) in held {
            feeds += 1;
            records += copy.len();
            self.resyncing.insert(feed.clone());
        }
        self.step(Input::Resync { region: region.clone() });
        Answer::Resync { region: region.to_string(), feeds, records }
    }

    /// Answers those whose look is over, and forgets those who have gone away.
    fn tell_looks(&mut self) {
        let holder = &self.holder;
        let over = self.looking.iter().filter(|(region, asker)| {
            asker.is_closed() || holder.look_of(region).is_none_or(|look| look.outcome().is_some())
        });
        let over: Vec<Region> = over.map(|(region, _)| region.clone()).collect();
        for region in over {
            let (Some(asker), Some(look)) = (self.looking.remove(&region), self.holder.look_of(&region))
            else {
                continue;
            };
            let said = match look.outcome() {
                Some(Err(why)) => Err(Failed::Conflict(why.to_owned())),
                Some(Ok(())) | None => Ok(Answer::Diff(Report::of(&region, look))),
            };
            // Who has gone away need not know.
            let _ = asker.send(said);
        }
    }

    /// Writes the feeds of this start, if this bridge hosts a guest.
    pub fn begin(&mut self) {
        if let Some(host) = &self.host {
            let begins = host.begin(&self.holder);
            self.step(begins);
        }
    }

    /// Has the host of a guest do something, tells the holder what follows, and the guest what is wanted of it.
    fn hosting(&mut self, deed: impl FnOnce(&mut Host, Moment, u64, &Holder) -> Vec<Input>) {
        let (now, unix_ms) = (Moment(self.clock.now()), self.clock.unix_ms());
        let Some(host) = &mut self.host else { return };
        let inputs = deed(host, now, unix_ms, &self.holder);
        for input in inputs {
            self.step(input);
        }
    }

    /// Steps the holder and does what it asks for.
    pub fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.holder.step(Moment(self.clock.now()), input, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
        if let Some(host) = &mut self.host {
            host.refresh(&self.holder);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { stream, message } => self.carrier.send_or_close(stream, message),
            Effect::Refuse { stream, why } => {
                tracing::warn!(event = "stream_refused", stream = stream.0, why, "a peer broke the protocol");
                self.carrier.close(stream, why);
            }
            // Members and gateways show services; a bridge only holds them, but for its guest.
            Effect::Touched { service, .. } => {
                if let Some(host) = &mut self.host {
                    host.touch(service);
                }
            }
            Effect::DirectoryChanged { region } => {
                if region == self.plan.own {
                    self.dial();
                }
            }
            Effect::StandingChanged { region, standing } => {
                let standing = metrics::standing_name(standing);
                tracing::info!(event = "region_standing", %region, standing, "a region stands differently");
            }
            Effect::Dropped { feed } => {
                tracing::info!(event = "feed_dropped", %feed, "a closed feed was dropped");
            }
            Effect::Doubted { feed } => {
                metrics::doubted(feed.region());
                tracing::warn!(event = "copy_doubted", %feed, "a copy differs from its writer and is repaired");
            }
        }
    }

    /// The regions with which operators want nothing exchanged.
    fn paused(&self) -> BTreeSet<Region> {
        let is_paused = |region: &&Region| self.holder.order(region).is_some_and(|o| o.hold == Hold::Paused);
        self.plan.peers.keys().filter(is_paused).cloned().collect()
    }

    fn dial(&self) {
        let paused = self.paused();
        self.carrier.pause(paused.clone());
        let dials = self.plan.dials(self.holder.directory(&self.plan.own), &paused);
        let targets = dials.into_iter();
        let targets: BTreeSet<Target> =
            targets.map(|dial| Target { address: dial.address, region: dial.region }).collect();
        self.carrier.dial(targets);
    }

    fn tick(&mut self) {
        self.pulse.beat();
        self.hosting(Host::tick);
        self.step(Input::Tick { unix_ms: self.clock.unix_ms() });
        let regions: Vec<Region> = self.holder.regions().cloned().collect();
        let mut effects = Vec::new();
        for region in &regions {
            if let Some(status) = self.holder.status(region) {
                let members: u64 = self.holder.cursor(region).values().sum();
                let reached = members + status.raft.seq;
                self.links.step(core::Input::Status { status, reached }, &mut effects);
            }
        }
        for region in self.plan.peers.keys() {
            let importer = self.holder.importer(region).cloned();
            self.links.step(core::Input::Importer { region: region.clone(), importer }, &mut effects);
            metrics::imports(region, self.links.imports(region));
        }
        for region in self.plan.peers.keys().filter(|region| self.holder.status(region).is_none()) {
            self.links.step(core::Input::Gone { region: region.clone() }, &mut effects);
            metrics::gone(region);
        }
        for effect in effects {
            tell(&effect);
        }
        self.carrier.pause(self.paused());
        self.tell_looks();
        for region in self.plan.peers.keys() {
            metrics::ordered(region, self.holder.order(region).map(|order| order.hold));
        }
        for (region, link) in self.links.links() {
            metrics::link(region, link);
        }
        match (self.host.as_ref().and_then(Host::lacks), self.holder.status(&self.plan.own)) {
            (Some(why), _) => self.health.fail(REGISTRY_CHECK, &why),
            (None, Some(_)) => self.health.pass(REGISTRY_CHECK),
            (None, None) => {
                self.health.fail(REGISTRY_CHECK, "no member of the own region has been followed yet")
            }
        }
        let guest = self.host.as_ref().map(|host| host.row(Moment(self.clock.now())));
        let board = Board::of(&self.plan, &self.holder, &self.links, &self.carrier);
        self.board.store(Arc::new(Board { guest, ..board }));
    }

    fn save(&mut self) {
        self.shelf.save(self.holder.copies());
        let holder = &self.holder;
        self.shelf.forget(|feed| holder.copy(feed).is_some());
    }

    fn expect(&self, message: &Message) -> Option<Expected> {
        match message {
            Message::Batch { feed, view, from, to, changes } => {
                let copy = self.holder.copy(feed)?;
                let leads_on = copy.view() == view && *from <= copy.position() && copy.position() < *to;
                let now_ms = self.clock.unix_ms();
                let is_far = *feed.region() != self.plan.own;
                let ages_ms = if is_far { ages(changes, now_ms) } else { Vec::new() };
                let step = Expected::Step { feed: feed.clone(), to: *to, changes: changes.len(), ages_ms };
                leads_on.then_some(step)
            }
            Message::End { feed, .. } => {
                let copy = self.holder.copy(feed);
                let (swaps, doubted) = copy.map_or((0, false), |copy| (copy.swaps(), copy.doubted()));
                Some(Expected::Swap { feed: feed.clone(), swaps, doubted })
            }
            Message::Want { .. }
            | Message::Unwant { .. }
            | Message::Begin { .. }
            | Message::Live { .. }
            | Message::Bucket { .. }
            | Message::Beats { .. }
            | Message::Verify { .. } => None,
        }
    }

    fn count(&mut self, expected: Expected) {
        match expected {
            Expected::Step { feed, to, changes, ages_ms } => {
                if self.holder.copy(&feed).is_some_and(|copy| copy.position() == to) {
                    metrics::applied(feed.region(), changes);
                    for age_ms in ages_ms {
                        metrics::propagated(feed.region(), age_ms);
                    }
                }
            }
            Expected::Swap { feed, swaps, doubted } => {
                let Some(copy) = self.holder.copy(&feed) else { return };
                if copy.swaps() != swaps {
                    metrics::reconciled(feed.region());
                    let is_ordered = self.resyncing.remove(&feed);
                    if doubted && !copy.doubted() && !is_ordered {
                        metrics::repaired(feed.region());
                    }
                }
            }
        }
    }
}

/// How long ago each registration was accepted, by its stamp and this machine's clock.
fn ages(changes: &[Change], now_ms: u64) -> Vec<u64> {
    let registrations = changes.iter().filter_map(|change| change.record.as_ref()?.registration());
    registrations.map(|registration| now_ms.saturating_sub(registration.stamp.unix_ms())).collect()
}

fn tell(effect: &core::Effect) {
    match effect {
        core::Effect::Stalled { region, lag_seqs } => {
            metrics::stalled(region);
            tracing::warn!(event = "link_stalled", %region, lag_seqs, "behind, and nothing moves");
        }
        core::Effect::TakenOver { region } => {
            metrics::taken_over(region);
            tracing::info!(event = "importer_changed", %region, "this bridge imports the origin from here on");
        }
        core::Effect::GivenUp { region, importer } => {
            tracing::info!(event = "importer_changed", %region, %importer, "another bridge imports the origin");
        }
        core::Effect::Moving { region } => {
            tracing::info!(event = "link_moving", %region, "the link moves again");
        }
    }
}

/// A timer that a paused process hears once, however long it slept.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
