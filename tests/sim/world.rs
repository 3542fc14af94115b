//! Two regions of members and bridges, the production code inside each, and everything that can go wrong around them.
//!
//! A port of the executable model's scheduler. One tick: faults, starts, Raft, one own tick of each process, clients, streams.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use landbridge_model::{FeedId, Moment, Position};
use landbridge_registry_core::{ConnectionId, Effect, Input, InstanceRef, Outcome, Refusal, Ticket};

use crate::sim::{
    clients::Client,
    core::Core,
    dice::Dice,
    group::Group,
    invariants::{Held, Invariant},
    names::{self, Records},
    node::{Kind, Node},
    shape::Shape,
    story::Story,
    streams::Link,
    tally::{Event, Tally},
    times,
};

/// A broken promise, or nothing.
pub type Checked = Result<(), String>;

/// The connections that hold one key at one member: since when, and whether they are broken.
pub type Connections = BTreeMap<u64, (i64, bool)>;

/// Why a member is stepped: what a deletion in its feed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Tick,
    End,
    Deregister,
    Other,
}

/// What is to be done after a step.
enum Later {
    Forward { feed: FeedId, to: u16, target: InstanceRef },
    Check(ConnectionId),
    Phase,
    Departed,
}

/// An acknowledged deregistration that must last.
pub struct Watch {
    pub due: i64,
    pub client: usize,
    pub operations: u64,
    pub at: usize,
    pub life: u32,
    pub own: FeedId,
    pub since: i64,
}

/// What a close or a settle promised: the keys that its proposer saw elsewhere.
#[derive(Clone)]
pub struct Promise {
    pub keys: BTreeSet<usize>,
    pub cursor: BTreeMap<FeedId, u64>,
    pub at: i64,
    pub is_drain: bool,
    /// By feed, the tick in which the newest heartbeat that the proposer had heard was made.
    pub heard: BTreeMap<FeedId, i64>,
}

/// Everything.
pub struct World {
    pub dice: Dice,
    pub story: RefCell<Story>,
    pub t: i64,
    /// Inputs that production cores took.
    pub steps: u64,
    pub nodes: Vec<Node>,
    pub members: Vec<Vec<usize>>,
    pub bridges: Vec<Vec<usize>>,
    pub gateways: Vec<Vec<usize>>,
    pub cut: Vec<Vec<bool>>,
    pub slow: Vec<Vec<bool>>,
    pub groups: Vec<Group>,
    pub links: Vec<Link>,
    pub next_stream: u64,
    pub clients: Vec<Client>,
    pub next_connection: u64,
    pub next_value: u64,
    pub next_seed: u64,
    /// Live connections by member, life and key: since when, and whether they are broken.
    pub sessions: BTreeMap<(usize, u32, usize), Connections>,
    /// When a member notices that a connection is gone.
    pub endings: Vec<(i64, usize, u32, u64)>,
    pub answers: BTreeMap<u64, Result<Outcome, Refusal>>,
    // The truth, as the writers had it.
    pub history: BTreeMap<FeedId, BTreeMap<Position, Records>>,
    pub last: BTreeMap<FeedId, Records>,
    pub written: BTreeMap<(FeedId, usize), i64>,
    pub deleted: BTreeMap<(usize, usize), Vec<(FeedId, u64)>>,
    pub why: BTreeMap<(FeedId, usize), Cause>,
    pub writers: BTreeMap<FeedId, (usize, u32)>,
    pub beaten: BTreeMap<(FeedId, u64), i64>,
    /// What a region lets out to a peer, by the position of the policy.
    pub masks: BTreeMap<(usize, usize, Position), u32>,
    pub promises: BTreeMap<FeedId, Promise>,
    pub settles: BTreeMap<(usize, u64), Promise>,
    pub closed_at: BTreeMap<FeedId, i64>,
    pub crashed_at: BTreeMap<FeedId, i64>,
    /// Crashes of members that had been well before: only these are judged by the clock.
    pub fair_crash: BTreeMap<FeedId, i64>,
    pub true_since: Vec<BTreeMap<usize, i64>>,
    pub disturbed: Vec<i64>,
    pub watches: Vec<Watch>,
    pub twins: BTreeSet<(usize, usize)>,
    pub persistent: Vec<BTreeMap<usize, u64>>,
    /// Calls that gateways were asked to make, and how many of them reached somebody.
    pub calls: (u64, u64),
    pub tally: RefCell<Tally>,
    // What kind of schedule this is.
    pub shape: Shape,
    /// Bridges and gateways dial whom their configuration and the directory name, as in production; else a few.
    pub is_deployed: bool,
    pub quiet: bool,
    pub is_calm: bool,
    pub corrupts: bool,
    pub fault_rate: f64,
    pub slowness: f64,
    pub ring: usize,
    pub credit: usize,
    pub hot: Option<(usize, u32)>,
    pub drama: Option<crate::sim::faults::Drama>,
}

impl World {
    pub fn log(&self, text: impl FnOnce() -> String) {
        self.story.borrow_mut().tell(self.t, text);
    }

    /// Counts what happened.
    pub fn note(&self, event: Event) {
        self.tally.borrow_mut().note(event);
    }

    /// Counts a judgement and passes it on under the invariant's name.
    pub fn judge(&self, invariant: Invariant, held: Held) -> Checked {
        self.tally.borrow_mut().judge(invariant);
        held.or_else(|why| self.bad(format!("{} {why}", invariant.row().name)))
    }

    /// The same for what holds at a process.
    pub fn judge_at(&self, n: usize, invariant: Invariant, held: Held) -> Checked {
        self.judge(invariant, held.map_err(|why| format!("{why} at {n}")))
    }

    /// A violation; where copies are corrupted on purpose, what is shown may be wrong until it is repaired.
    pub fn bad(&self, why: impl Into<String>) -> Checked {
        let why = why.into();
        let is_excused = self.corrupts && ["I6 ", "I9 ", "I10"].iter().any(|mark| why.starts_with(mark));
        if is_excused { Ok(()) } else { Err(why) }
    }

    pub fn regions(&self) -> usize {
        self.groups.len()
    }

    pub fn region_nodes(&self, r: usize) -> Vec<usize> {
        self.members[r].iter().chain(&self.bridges[r]).chain(&self.gateways[r]).copied().collect()
    }

    pub fn is_linked(&self, a: usize, b: usize) -> bool {
        a == b || !self.cut[a][b] && self.is_awake(a) && self.is_awake(b)
    }

    /// Not paused.
    pub fn is_awake(&self, n: usize) -> bool {
        self.nodes[n].paused <= self.t
    }

    pub fn both_ways(&self, a: usize, b: usize) -> bool {
        self.is_linked(a, b) && self.is_linked(b, a)
    }

    pub fn was_calm(&self, r: usize, since: i64) -> bool {
        self.disturbed[r] < since
    }

    /// The record that a node joins to the front for a key.
    pub fn winner(&self, n: usize, o: usize, k: usize) -> Option<&landbridge_model::Registration> {
        let winner =
            self.nodes[n].holder()?.winner(&names::region(o), &names::service(k), &names::instance(o));
        winner.map(|(_, record)| record)
    }

    pub fn unix_ms(&self, n: usize) -> u64 {
        (1_000_000_000 + (self.t + self.nodes[n].skew) * 3000) as u64
    }

    pub fn now(&self) -> Moment {
        Moment((self.t * 3000) as u64)
    }

    /// Whether a node shows an instance for a key.
    pub fn shows(&self, n: usize, o: usize, k: usize) -> bool {
        self.winner(n, o, k).is_some_and(|record| record.instance().is_some())
    }

    /// Gives a process one input and carries out what follows.
    pub fn step(&mut self, n: usize, input: Input, cause: Cause) -> Checked {
        let now = self.now();
        let Some(core) = self.nodes[n].core.as_mut() else { return Ok(()) };
        self.steps += 1;
        self.story.borrow_mut().step(n, &input);
        let effects = core.step(now, input);
        self.follow(n, effects, cause)
    }

    /// Hands a bridge what its operator asks of it.
    pub fn ask_bridge(&mut self, n: usize, input: landbridge_feed::Input) -> Checked {
        let now = self.now();
        let Some(Core::Bridge(bridge)) = &mut self.nodes[n].core else { return Ok(()) };
        self.steps += 1;
        self.story.borrow_mut().step(n, &input);
        let effects = bridge.asked(now, input);
        self.follow(n, effects, Cause::Other)
    }

    /// Carries out what follows from a step, and looks at what it changed.
    fn follow(&mut self, n: usize, effects: Vec<Effect>, cause: Cause) -> Checked {
        let mut later = Vec::new();
        for effect in effects {
            self.carry_out(n, effect, &mut later)?;
        }
        self.observe(n, cause)?;
        for then in later {
            self.do_later(n, then)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, n: usize, effect: Effect, later: &mut Vec<Later>) -> Checked {
        match effect {
            Effect::Send { stream, message } => self.post(n, stream, message),
            Effect::Refuse { why, .. } => return self.bad(format!("a good peer was refused: {why}")),
            Effect::Propose { command, .. } => self.propose(n, command),
            Effect::Answer { ticket, result } => {
                self.answers.insert(ticket.0, result);
            }
            Effect::ForwardBeat { to, feed, target } => {
                later.push(Later::Forward { feed, to: to.0, target });
            }
            Effect::Check { connection } => later.push(Later::Check(connection)),
            Effect::PhaseChanged { .. } => later.push(Later::Phase),
            Effect::FeedOpened { feed } => {
                self.nodes[n].opened = self.t;
                self.writers.insert(feed, (n, self.nodes[n].life));
            }
            Effect::Departed => later.push(Later::Departed),
            Effect::Doubted { feed } => return self.check_doubt(n, &feed),
            Effect::Touched { .. }
            | Effect::DirectoryChanged { .. }
            | Effect::StandingChanged { .. }
            | Effect::Dropped { .. }
            | Effect::Held { .. } => {}
        }
        Ok(())
    }

    fn do_later(&mut self, n: usize, then: Later) -> Checked {
        match then {
            Later::Forward { feed, to, target } => self.forward(n, feed, to, target),
            Later::Check(connection) => {
                let life = self.nodes[n].life;
                let lives = self.sessions.iter().any(|((at, lived, _), held)| {
                    (*at, *lived) == (n, life) && held.get(&connection.0).is_some_and(|(_, broken)| !broken)
                });
                if lives { self.step(n, Input::ConnectionAlive { connection }, Cause::Other) } else { Ok(()) }
            }
            Later::Phase => self.check_phase(n),
            Later::Departed => {
                self.crash(n, true);
                self.nodes[n].drain = None;
                Ok(())
            }
        }
    }

    /// Carries a forwarded beat there and the verdict back, as far as the links allow.
    fn forward(&mut self, n: usize, feed: FeedId, to: u16, target: InstanceRef) -> Checked {
        let r = self.nodes[n].region;
        let peer = self.members[r].iter().copied().find(|m| self.nodes[*m].kind == Kind::Member(to));
        let Some(peer) = peer.filter(|peer| self.nodes[*peer].is_up() && self.is_linked(n, *peer)) else {
            return Ok(());
        };
        let ticket = self.ticket();
        let targets = vec![target.clone()];
        self.step(peer, Input::ForwardedBeats { ticket, feed, targets }, Cause::Other)?;
        let Some(Ok(Outcome::Verdicts(verdicts))) = self.answers.remove(&ticket.0) else { return Ok(()) };
        if self.is_linked(peer, n) {
            let verdicts = verdicts.into_iter().map(|held| (target.clone(), held)).collect();
            self.step(n, Input::BeatsAnswered { verdicts }, Cause::Other)?;
        }
        Ok(())
    }

    pub fn ticket(&mut self) -> Ticket {
        self.next_value += 1;
        Ticket(self.next_value)
    }

    /// Asks a member something and returns what it answers at once.
    pub fn ask(
        &mut self,
        n: usize,
        input: impl FnOnce(Ticket) -> Input,
        cause: Cause,
    ) -> Result<Result<Outcome, Refusal>, String> {
        let ticket = self.ticket();
        self.step(n, input(ticket), cause)?;
        Ok(self.answers.remove(&ticket.0).unwrap_or(Err(Refusal::Starting)))
    }

    pub fn tick(&mut self) -> Checked {
        self.t += 1;
        self.look_at_links();
        if !self.quiet {
            self.meddle()?;
        }
        // On the stage nobody starts again but by a word of the script.
        let all_start = self.quiet && self.shape != Shape::Stage;
        for n in 0..self.nodes.len() {
            if !self.nodes[n].is_up() && (self.t >= self.nodes[n].wake || all_start) {
                self.start(n)?;
            }
        }
        for r in 0..self.regions() {
            self.raft_tick(r)?;
        }
        for n in 0..self.nodes.len() {
            self.own_tick(n)?;
        }
        self.check_unverified()?;
        self.end_connections()?;
        for c in 0..self.clients.len() {
            self.client_tick(c)?;
        }
        self.stream_tick()?;
        self.gateways_tick()?;
        self.note_truth();
        self.check_watches()
    }

    fn own_tick(&mut self, n: usize) -> Checked {
        if !self.nodes[n].is_up() || !self.is_awake(n) {
            return Ok(());
        }
        let r = self.nodes[n].region;
        let leading = self.leading(r, n);
        self.note_heard(n);
        self.step(n, Input::Tick { unix_ms: self.unix_ms(n), leading }, Cause::Tick)?;
        let own = self.nodes[n].own();
        let beat = own.as_ref().and_then(|own| self.nodes[n].holder()?.heartbeat(own));
        if let (Some(own), Some(beat)) = (own, beat) {
            self.beaten.entry((own, beat.n)).or_insert(self.t);
        }
        Ok(())
    }

    /// What a closer compares with is what it had heard a tick earlier (R3).
    fn note_heard(&mut self, n: usize) {
        let Some(holder) = self.nodes[n].holder().filter(|_| self.nodes[n].is_member()) else { return };
        let directory = holder.directory(&names::region(self.nodes[n].region));
        let heard = |feed: &FeedId| Some((feed.clone(), holder.heartbeat(feed)?.n));
        let heard = directory.keys().filter_map(heard).collect();
        let [newer, older] = &mut self.nodes[n].heard;
        *older = std::mem::replace(newer, heard);
    }

    /// Notes who is well linked, and whether a region is disturbed.
    fn look_at_links(&mut self) {
        for r in 0..self.regions() {
            let members = self.members[r].clone();
            let mut trouble = 0;
            for a in &members {
                for b in &members {
                    trouble += usize::from(self.cut[*a][*b]) + 2 * usize::from(self.slow[*a][*b]);
                }
            }
            // Nothing but the Raft log tells a member of a new feed: who does not hear the leader knows of none.
            let is_deaf = |leader: usize| members.iter().any(|m| self.cut[leader][*m]);
            if self.groups[r].leader.is_some_and(is_deaf) {
                trouble += 2;
            }
            let all_up = members.iter().all(|m| self.nodes[*m].is_up());
            if trouble > 1 || (trouble > 0 && !all_up) {
                self.disturbed[r] = self.t;
            }
            for a in &members {
                let near = members.iter().filter(|b| self.nodes[**b].is_up() && self.both_ways(*a, **b));
                if 2 * near.count() <= members.len() {
                    self.nodes[*a].unwell = self.t;
                }
            }
        }
    }

    /// What the listed writers together say, by key.
    pub fn truth(&self, r: usize) -> BTreeMap<usize, landbridge_model::Record> {
        let mut best = BTreeMap::new();
        for feed in self.groups[r].listed() {
            for (key, record) in self.last.get(&feed).into_iter().flatten() {
                let (Some(k), Some(held)) = (names::number(key), record.registration()) else { continue };
                let rank = (held.stamp, held.take, feed.clone());
                let known: Option<&(_, _)> = best.get(&k);
                if known.is_none_or(|(before, _)| *before < rank) {
                    best.insert(k, (rank, record.clone()));
                }
            }
        }
        best.into_iter().map(|(k, (_, record))| (k, record)).filter(|(_, r)| names::is_live(r)).collect()
    }

    fn note_truth(&mut self) {
        for r in 0..self.regions() {
            let truth = self.truth(r);
            self.true_since[r].retain(|k, _| truth.contains_key(k));
            for k in truth.into_keys() {
                self.true_since[r].entry(k).or_insert(self.t);
            }
        }
    }

    /// The whole schedule: trouble, then quiet, in which everything must come together.
    pub fn run(&mut self) -> Checked {
        let mut ticks = self.dice.pick(&self.shape.ticks());
        self.fault_rate = self.dice.pick(&[0.15, 0.3, 0.5]);
        if self.dice.chance(0.06) && self.stage() {
            ticks = 50 + times::TOMBSTONE;
        }
        for _ in 0..ticks {
            self.tick()?;
        }
        self.quiet = true;
        self.heal();
        self.nodes.iter_mut().for_each(|node| (node.paused, node.has_slow_disk) = (i64::MIN, false));
        self.slow.iter_mut().for_each(|row| row.fill(false));
        self.log(|| "quiet".into());
        let twice = self.dice.chance(0.15);
        self.must_come_together(320)?;
        if twice {
            for _ in 0..times::TOMBSTONE + 6 {
                self.tick()?;
            }
            self.must_come_together(60)?;
        }
        self.write_fresh()?;
        Ok(())
    }

    fn must_come_together(&mut self, ticks: usize) -> Checked {
        let differs = self.come_together(ticks)?;
        let held = differs.map_or(Ok(()), |why| Err(format!("no convergence: {why}")));
        self.judge(Invariant::Together, held)
    }

    /// Waits so many ticks for all to agree with the model; what still differs then.
    pub fn come_together(&mut self, ticks: usize) -> Result<Option<String>, String> {
        let mut differs = None;
        for round in 0..ticks {
            self.tick()?;
            if round % 4 == 3 {
                differs = self.unsettled();
                if differs.is_none() {
                    break;
                }
            }
        }
        Ok(differs)
    }
}

/// Messages on their way, oldest first.
pub type Queue = VecDeque<landbridge_feed::Message>;
