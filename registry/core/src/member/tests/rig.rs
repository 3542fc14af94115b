//! A region in a test: members, a Raft log that commits at once, streams that deliver at once, and ways to break all of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use landbridge_feed::{Message, Peer, Role, StreamId};
use landbridge_model::{
    Address, Change, Cluster, Era, FeedId, Heartbeat, Instance, InstanceKey, MemberId, Metadata, Moment,
    Position, Record, RecordKey, Region, ServiceKey, View,
};

use crate::{
    Command, ConnectionId, Effect, Host, Input, InstanceRef, Leading, Limits, Member, Outcome, Published,
    RaftState, Refusal, ServiceView, Settings, Ticket, Visibility,
};

pub(super) type Answer = Result<Outcome, Refusal>;

/// A copy on disk.
pub(super) type Saved = (FeedId, Position, Vec<(RecordKey, Record)>);

/// The stream of a bridge that tests speak for.
const BRIDGE: StreamId = StreamId(1);

/// What the wall clock shows when a test begins.
pub(super) const BEGIN_MS: u64 = 1_000_000;

pub(super) struct Rig {
    pub members: Vec<Option<Member>>,
    pub state: RaftState,
    pub leader: usize,
    pub term: u64,
    /// Whether the leader hears a quorum, and proposals commit.
    pub quorum: bool,
    /// Cut directions between members.
    pub cuts: BTreeSet<(usize, usize)>,
    /// Connections that no longer answer a check.
    pub dead: BTreeSet<ConnectionId>,
    /// Members that no batches reach; what is lost on a stream comes with the next one.
    pub deaf: BTreeSet<usize>,
    /// How far each member's wall clock is ahead.
    pub clock_ahead_ms: Vec<u64>,
    pub now: u64,
    /// Everything the members asked for, for tests to look into; cleared by them.
    pub seen: Vec<(usize, Effect)>,
    index: u64,
    streams: BTreeMap<StreamId, (usize, usize)>,
    tickets: u64,
    starts: u64,
    queue: VecDeque<(usize, Effect)>,
    log: Vec<(Position, Vec<Change>)>,
}

pub(super) fn own_region() -> Region {
    Region::parse("east").unwrap()
}

pub(super) fn founded(region: Region) -> RaftState {
    let mut state = RaftState::new(region);
    state.apply(1, &Command::Found { era: Era(5) });
    state
}

pub(super) fn service() -> ServiceKey {
    ServiceKey::parse("", "", "orders").unwrap()
}

pub(super) fn key(port: u16) -> InstanceKey {
    InstanceKey { ip: Address::parse("10.0.0.1").unwrap(), port, cluster: Cluster::parse("").unwrap() }
}

pub(super) fn target(port: u16) -> InstanceRef {
    (service(), key(port))
}

pub(super) fn plain() -> Arc<Instance> {
    Arc::new(Instance::plain(Metadata::default()))
}

pub(super) fn labelled(label: &str) -> Arc<Instance> {
    tagged(&[("label", label)])
}

pub(super) fn tagged(pairs: &[(&str, &str)]) -> Arc<Instance> {
    let pairs = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    Arc::new(Instance::plain(Metadata::new(pairs).unwrap()))
}

pub(super) fn settings(member: usize, members: usize, seed: u64) -> Settings {
    Settings {
        region: own_region(),
        member: MemberId(member as u16),
        address: "a:1".into(),
        members,
        seed,
        visibility: Visibility::Failover,
        limits: Limits::STANDARD,
        feed: landbridge_feed::Limits::STANDARD,
    }
}

impl Rig {
    /// A region in which nothing has happened.
    pub fn new(members: usize) -> Self {
        Self::with(members, |settings| settings)
    }

    pub fn with(members: usize, change: impl Fn(Settings) -> Settings) -> Self {
        let mut rig = Self {
            members: (0..members)
                .map(|at| Some(Member::new(change(settings(at, members, at as u64)))))
                .collect(),
            state: founded(own_region()),
            leader: 0,
            term: 1,
            quorum: true,
            cuts: BTreeSet::new(),
            dead: BTreeSet::new(),
            deaf: BTreeSet::new(),
            clock_ahead_ms: vec![0; members],
            now: 0,
            seen: Vec::new(),
            index: 1,
            streams: BTreeMap::new(),
            tickets: 0,
            starts: 100,
            queue: VecDeque::new(),
            log: Vec::new(),
        };
        for at in 0..members {
            rig.boot(at);
        }
        rig
    }

    /// A region whose members are all ready.
    pub fn ready(members: usize) -> Self {
        let mut rig = Self::new(members);
        rig.ticks(15);
        for at in 0..members {
            assert_eq!(rig.member(at).phase(), crate::Phase::Ready, "member {at}");
        }
        rig.seen.clear();
        rig
    }

    pub fn member(&self, at: usize) -> &Member {
        self.members[at].as_ref().expect("the member lives")
    }

    /// Gives one input, and lets everything that follows happen.
    pub fn give(&mut self, at: usize, input: Input) {
        self.hand(at, input);
        self.pump();
    }

    fn hand(&mut self, at: usize, input: Input) {
        let Some(member) = &mut self.members[at] else { return };
        let mut effects = Vec::new();
        member.step(Moment(self.now), input, &mut effects);
        self.queue.extend(effects.into_iter().map(|effect| (at, effect)));
    }

    /// Asks, and tells the answer.
    pub fn ask(&mut self, at: usize, question: impl FnOnce(Ticket) -> Input) -> Answer {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.give(at, question(ticket));
        let answer = self.seen.iter().rev().find_map(|(_, effect)| {
            let Effect::Answer { ticket: answered, result } = effect else { return None };
            (*answered == ticket).then(|| result.clone())
        });
        answer.expect("every question is answered at once")
    }

    pub fn register(&mut self, at: usize, port: u16, label: &str) -> Answer {
        self.ask(at, |ticket| Input::Register { ticket, target: target(port), instance: labelled(label) })
    }

    pub fn deregister(&mut self, at: usize, port: u16) -> Answer {
        self.ask(at, |ticket| Input::Deregister { ticket, target: target(port) })
    }

    pub fn beat(&mut self, at: usize, port: u16) -> Answer {
        self.ask(at, |ticket| Input::Beat { ticket, target: target(port), full: None })
    }

    pub fn connect(&mut self, at: usize, connection: u64) {
        self.give(at, Input::ConnectionOpened { connection: ConnectionId(connection) });
    }

    pub fn publish(&mut self, at: usize, connection: u64, port: u16, label: &str) -> Answer {
        let (connection, published) = (ConnectionId(connection), Published::One(key(port), labelled(label)));
        self.ask(at, |ticket| Input::Publish { ticket, connection, service: service(), published })
    }

    pub fn batch(&mut self, at: usize, connection: u64, ports: &[u16]) -> Answer {
        let published = Published::Batch(ports.iter().map(|port| (key(*port), plain())).collect());
        let connection = ConnectionId(connection);
        self.ask(at, |ticket| Input::Publish { ticket, connection, service: service(), published })
    }

    pub fn withdraw(&mut self, at: usize, connection: u64) -> Answer {
        let connection = ConnectionId(connection);
        self.ask(at, |ticket| Input::Withdraw { ticket, connection, service: service() })
    }

    pub fn hang_up(&mut self, at: usize, connection: u64) {
        self.give(at, Input::ConnectionEnded { connection: ConnectionId(connection) });
    }

    /// Lets seconds pass at all members.
    pub fn ticks(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now += 1_000;
            for at in 0..self.members.len() {
                let leading = (at == self.leader).then_some(Leading { term: self.term, quorum: self.quorum });
                let unix_ms = BEGIN_MS + self.now + self.clock_ahead_ms[at];
                self.give(at, Input::Tick { unix_ms, leading });
            }
        }
    }

    /// Lets seconds pass in which these beat at this member.
    pub fn ticks_beating(&mut self, ticks: u64, at: usize, ports: &[u16]) {
        for _ in 0..ticks {
            for port in ports {
                self.beat(at, *port).expect("beats are taken");
            }
            self.ticks(1);
        }
    }

    /// The streams between two members break and come back.
    pub fn relink(&mut self, a: usize, b: usize) {
        let broken: Vec<_> =
            self.streams.keys().filter(|at| [(a, b), (b, a)].contains(&self.streams[at])).collect();
        for stream in broken.into_iter().copied().collect::<Vec<_>>() {
            self.streams.remove(&stream);
            self.give(a, Input::Closed { stream });
            self.give(b, Input::Closed { stream });
        }
        self.starts += 1;
        self.link(a, b);
        self.pump();
    }

    /// The process is gone, its connections with it.
    pub fn kill(&mut self, at: usize) {
        self.members[at] = None;
        let lost: Vec<_> = self.streams.iter().filter(|(_, ends)| ends.0 == at || ends.1 == at).collect();
        let lost: Vec<_> = lost.into_iter().map(|(stream, ends)| (*stream, *ends)).collect();
        for (stream, (a, b)) in lost {
            self.streams.remove(&stream);
            self.give(if a == at { b } else { a }, Input::Closed { stream });
        }
    }

    /// The process starts, with what its disk held of the feeds.
    pub fn start(&mut self, at: usize, disk: Vec<Saved>) {
        self.starts += 1;
        let members = self.members.len();
        self.members[at] = Some(Member::new(settings(at, members, self.starts)));
        self.boot(at);
        self.load(at, disk);
    }

    /// Copies are read from the disk.
    pub fn load(&mut self, at: usize, disk: Vec<Saved>) {
        for (feed, position, records) in disk {
            self.give(at, Input::Loaded { feed, view: View::WHOLE, position, records });
        }
    }

    /// What a member's disk would hold now.
    pub fn disk(&self, at: usize) -> Vec<Saved> {
        let copies = self.member(at).holder().copies().filter(|(feed, _)| !feed.is_raft());
        let records =
            |copy: &landbridge_feed::Copy| copy.records().map(|(k, r)| (k.clone(), r.clone())).collect();
        copies.map(|(feed, copy)| (feed.clone(), copy.position(), records(copy))).collect()
    }

    fn boot(&mut self, at: usize) {
        self.hand(at, Input::Tick { unix_ms: BEGIN_MS + self.now, leading: None });
        let records = self.state.records().iter().map(|(k, r)| (k.clone(), r.clone())).collect();
        self.hand(at, Input::Installed { position: self.state.position(), records });
        for other in (0..self.members.len()).filter(|other| *other != at) {
            if self.members[other].is_some() && !self.streams.values().any(|ends| *ends == (at, other)) {
                self.link(at, other);
            }
        }
        self.hand(at, Input::CaughtUp);
        self.pump();
    }

    fn link(&mut self, a: usize, b: usize) {
        if self.streams.values().any(|ends| *ends == (b, a)) {
            return;
        }
        let stream = StreamId(self.streams.len() as u64 + 1_000 * self.starts);
        self.streams.insert(stream, (a, b));
        for (at, other) in [(a, b), (b, a)] {
            let role = Role::Member(MemberId(other as u16));
            let peer = Peer { region: own_region(), role, id: other.to_string().into() };
            self.hand(at, Input::Opened { stream, peer });
        }
    }

    fn pump(&mut self) {
        while let Some((at, effect)) = self.queue.pop_front() {
            self.seen.push((at, effect.clone()));
            self.carry_out(at, effect);
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Send { stream, message } => {
                let bytes = message.weight_bytes();
                self.hand(at, Input::Drained { stream, bytes });
                let Some((a, b)) = self.streams.get(&stream).copied() else { return };
                let to = if a == at { b } else { a };
                let batch = matches!(message, Message::Batch { .. });
                let lost = batch && self.deaf.contains(&to);
                if !lost && !self.cuts.contains(&(at, to)) {
                    self.hand(to, Input::Received { stream, message });
                }
            }
            Effect::Propose { command, .. } => self.commit(&command),
            Effect::ForwardBeat { to, feed, target } => self.forward(at, to, feed, target),
            Effect::Check { connection } if !self.dead.contains(&connection) => {
                self.hand(at, Input::ConnectionAlive { connection });
            }
            Effect::Refuse { why, .. } => panic!("member {at} refuses a stream: {why}"),
            Effect::Check { .. }
            | Effect::Touched { .. }
            | Effect::DirectoryChanged { .. }
            | Effect::StandingChanged { .. }
            | Effect::Dropped { .. }
            | Effect::Doubted { .. }
            | Effect::Answer { .. }
            | Effect::PhaseChanged { .. }
            | Effect::FeedOpened { .. }
            | Effect::Held { .. }
            | Effect::Departed => {}
        }
    }

    /// Commits a command and lets all members apply it.
    fn commit(&mut self, command: &Command) {
        if !self.quorum {
            return;
        }
        self.index += 1;
        let changes = self.state.apply(self.index, command).1;
        let position = self.state.position();
        self.log.push((position, changes.clone()));
        for at in 0..self.members.len() {
            self.hand(at, Input::Applied { position, changes: changes.clone() });
        }
    }

    fn forward(&mut self, from: usize, to: MemberId, feed: FeedId, target: InstanceRef) {
        let to = usize::from(to.0);
        if self.members[to].is_none() || self.cuts.contains(&(from, to)) {
            return;
        }
        let ticket = Ticket(u64::MAX);
        self.hand(to, Input::ForwardedBeats { ticket, feed, targets: vec![target.clone()] });
        let asked = |(_, effect): &(usize, Effect)| matches!(effect, Effect::Answer { ticket: t, .. } if *t == ticket);
        let at = self.queue.iter().position(asked).expect("forwarded beats are answered at once");
        let Some((_, Effect::Answer { result: Ok(Outcome::Verdicts(held)), .. })) = self.queue.remove(at)
        else {
            panic!("forwarded beats are answered with verdicts");
        };
        if !self.cuts.contains(&(to, from)) {
            self.hand(from, Input::BeatsAnswered { verdicts: vec![(target, held[0])] });
        }
    }

    /// Commits a command as another member's proposal.
    pub fn commit_and_apply(&mut self, command: &Command) {
        self.commit(command);
        self.pump();
    }

    /// Commits a command, and nothing that follows from it.
    pub fn close_without_answering(&mut self, command: &Command) {
        self.commit(command);
        self.quorum = false;
        self.pump();
        self.quorum = true;
    }

    /// Registers a persistent instance through a member.
    pub fn ask_to_persist(&mut self, at: usize, port: u16) {
        self.submit(at, Command::PutPersistent { service: service(), key: key(port), instance: plain() });
    }

    /// An operator or a client wants a Raft command.
    pub fn submit(&mut self, at: usize, command: Command) {
        self.give(at, Input::Submit { ticket: Ticket(0), command });
    }

    pub fn view(&mut self, at: usize) -> Option<ServiceView> {
        let now = Moment(self.now);
        self.members[at].as_mut().expect("the member lives").view(now, &service())
    }

    /// The ports and labels that a member shows.
    pub fn shown(&mut self, at: usize) -> Vec<(u16, String)> {
        let hosts = self.view(at).map(|view| view.hosts).unwrap_or_default();
        let label = |host: &Host| host.instance.metadata.value("label").unwrap_or("").to_owned();
        hosts.iter().map(|host| (host.key.port, label(host))).collect()
    }

    pub fn ports(&mut self, at: usize) -> Vec<u16> {
        self.shown(at).into_iter().map(|(port, _)| port).collect()
    }

    pub fn feeds(&self) -> usize {
        self.state.directory().count()
    }

    /// A bridge of the region connects; it says nothing by itself.
    pub fn open_bridge(&mut self, at: usize) {
        let peer = Peer { region: own_region(), role: Role::Bridge, id: "bridge".into() };
        self.give(at, Input::Opened { stream: BRIDGE, peer });
    }

    /// The bridge tells a heartbeat.
    pub fn hear(&mut self, at: usize, feed: &FeedId, n: u64, position: Position) {
        let beat = Heartbeat { n, position, unix_ms: BEGIN_MS };
        let message =
            Message::Beats { unix_ms: BEGIN_MS, beats: vec![(feed.clone(), beat)], hears: Vec::new() };
        self.give(at, Input::Received { stream: BRIDGE, message });
    }

    /// The bridge brings a step in which nothing changed.
    pub fn bring(&mut self, at: usize, feed: FeedId, from: Position, to: Position) {
        let message = Message::Batch { feed, view: View::WHOLE, from, to, changes: vec![] };
        self.give(at, Input::Received { stream: BRIDGE, message });
    }

    /// What a far region's bridge would bring: a region with these instances in one feed.
    pub fn import(&mut self, at: usize, region: &str, ports: &[u16]) {
        let region = Region::parse(region).unwrap();
        let mut far = founded(region.clone());
        far.apply(2, &Command::Open { member: MemberId(0), address: "".into(), nonce: 1 });
        let view = View { policy: Position::NONE, peer: Some(own_region()) };
        let records = far.records().iter().map(|(k, r)| (k.clone(), r.clone())).collect();
        let raft = FeedId::Raft(region.clone());
        self.give(at, Input::Loaded { feed: raft, view: view.clone(), position: far.position(), records });
        let feed = FeedId::Member { region, era: Era(5), index: 2 };
        let stamp = landbridge_model::Stamp { clock: 1, member: MemberId(0) };
        let record = |port: &u16| {
            let life = landbridge_model::Life::Session(labelled("far"));
            let registration = landbridge_model::Registration { stamp, take: 0, life };
            (RecordKey::Instance(service(), key(*port)), Record::Registration(registration))
        };
        let records = ports.iter().map(record).collect();
        let position = Position { era: Era(5), seq: 1 };
        self.give(at, Input::Loaded { feed, view, position, records });
    }
}
