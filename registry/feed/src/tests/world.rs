//! A few holders with streams between them, for step tests: messages travel when the test says so.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use landbridge_model::{
    Change, DirectoryEntry, Era, ExportPolicy, FeedId, Instance, InstanceKey, KeyGlob, Life, MemberId,
    Metadata, Moment, Position, Record, RecordKey, Region, Registration, ServiceKey, Stamp, View,
};

use crate::{Copy, Effect, Holder, Input, Limits, Message, Peer, Role, Settings, StreamId};

pub(super) const ERA: Era = Era(1);

/// Holders by name, and what is on its way between them.
pub(super) struct World {
    pub now: u64,
    pub holders: BTreeMap<&'static str, Holder>,
    /// By stream: who is at this end, who at the other, and what is on its way to the other.
    pub streams: BTreeMap<(StreamId, &'static str), (&'static str, VecDeque<Message>)>,
    pub effects: Vec<(&'static str, Effect)>,
    /// By end of a stream: which of its messages do not leave for the time being, and those that wait.
    withheld: BTreeMap<(StreamId, &'static str), Withheld>,
    /// Whether outboxes drain at once.
    pub drains: bool,
    next: u64,
}

type Withheld = (fn(&Message) -> bool, VecDeque<Message>);

pub(super) fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

pub(super) fn near() -> Region {
    region("east")
}

pub(super) fn far() -> Region {
    region("west")
}

/// The own feed of member `index`, opened at that index.
pub(super) fn feed(index: u64) -> FeedId {
    FeedId::Member { region: near(), era: ERA, index }
}

pub(super) fn raft() -> FeedId {
    FeedId::Raft(near())
}

pub(super) fn at(seq: u64) -> Position {
    Position { era: ERA, seq }
}

pub(super) fn service(name: &str) -> ServiceKey {
    ServiceKey::parse("", "", name).unwrap()
}

pub(super) fn instance(port: u16) -> InstanceKey {
    InstanceKey {
        ip: landbridge_model::Address::parse("10.0.0.1").unwrap(),
        port,
        cluster: landbridge_model::Cluster::parse("").unwrap(),
    }
}

pub(super) fn key(port: u16) -> RecordKey {
    RecordKey::Instance(service("orders"), instance(port))
}

fn registration(clock: u64, life: Life) -> Record {
    Record::Registration(Registration { stamp: Stamp { clock, member: MemberId(1) }, take: 0, life })
}

/// A session's registration with this clock in its stamp and this value in its metadata.
pub(super) fn session(clock: u64, value: &str) -> Record {
    let metadata = Metadata::new([("v".into(), value.into())]).unwrap();
    registration(clock, Life::Session(Arc::new(Instance::plain(metadata))))
}

pub(super) fn tombstone(clock: u64) -> Record {
    registration(clock, Life::Tombstone)
}

pub(super) fn set(port: u16, record: Record) -> Change {
    Change { key: key(port), record: Some(record) }
}

pub(super) fn unset(port: u16) -> Change {
    Change { key: key(port), record: None }
}

pub(super) fn listed(index: u64, need: u64) -> (RecordKey, Record) {
    let member = MemberId(index as u16);
    let entry = DirectoryEntry { member, address: "10.9.9.9:9848".into(), nonce: index, need };
    (RecordKey::Directory(feed(index)), Record::Directory(entry))
}

pub(super) fn policy(since: u64, allow: &str) -> (RecordKey, Record) {
    let allow = vec![KeyGlob::parse(allow).unwrap()];
    let policy = ExportPolicy { since: at(since), allow, deny: Vec::new() };
    (RecordKey::Policy(far()), Record::Policy(Arc::new(policy)))
}

pub(super) fn change((key, record): (RecordKey, Record)) -> Change {
    Change { key, record: Some(record) }
}

pub(super) fn limits() -> Limits {
    Limits { verify_ticks: 5, ..Limits::STANDARD }
}

impl World {
    pub fn new() -> Self {
        Self {
            now: 0,
            holders: BTreeMap::new(),
            streams: BTreeMap::new(),
            effects: Vec::new(),
            withheld: BTreeMap::new(),
            drains: true,
            next: 0,
        }
    }

    pub fn add(&mut self, name: &'static str, region: Region, role: Role, limits: Limits) {
        self.holders.insert(name, Holder::new(Settings { region, role, limits }));
    }

    /// A member that writes feed `index`, in a region whose directory lists these feeds.
    pub fn member(&mut self, name: &'static str, index: u64, directory: &[(RecordKey, Record)]) {
        self.add(name, near(), Role::Member(MemberId(index as u16)), limits());
        self.give(name, Input::Installed { position: at(10), records: directory.to_vec() });
        self.give(name, Input::Begun { feed: feed(index), records: Vec::new() });
    }

    pub fn bridge(&mut self, name: &'static str, region: Region) {
        self.add(name, region, Role::Bridge, limits());
    }

    /// Hands an input to a holder and carries its effects out.
    pub fn give(&mut self, name: &'static str, input: Input) {
        let mut effects = Vec::new();
        let holder = self.holders.get_mut(name).unwrap();
        holder.step(Moment(self.now), input, &mut effects);
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { stream, message } => {
                    sent.push((stream, message.weight_bytes()));
                    let withheld = self.withheld.get_mut(&(stream, name));
                    if let Some((_, waiting)) = withheld.filter(|(is_withheld, _)| is_withheld(&message)) {
                        waiting.push_back(message);
                    } else if let Some((_, queue)) = self.streams.get_mut(&(stream, name)) {
                        queue.push_back(message);
                    }
                }
                other => {
                    if let Effect::Refuse { stream, .. } = &other {
                        self.streams.retain(|(id, _), _| id != stream);
                    }
                    self.effects.push((name, other));
                }
            }
        }
        let drains = self.drains;
        for (stream, bytes) in sent.into_iter().filter(|_| drains) {
            self.give(name, Input::Drained { stream, bytes });
        }
    }

    pub fn peer(&self, name: &str) -> Peer {
        let settings = self.holders[name].settings();
        Peer { region: settings.region.clone(), role: settings.role.clone(), id: name.into() }
    }

    pub fn connect(&mut self, a: &'static str, b: &'static str) -> StreamId {
        self.next += 1;
        let stream = StreamId(self.next);
        self.streams.insert((stream, a), (b, VecDeque::new()));
        self.streams.insert((stream, b), (a, VecDeque::new()));
        let (peer_a, peer_b) = (self.peer(a), self.peer(b));
        self.give(a, Input::Opened { stream, peer: peer_b });
        self.give(b, Input::Opened { stream, peer: peer_a });
        stream
    }

    pub fn cut(&mut self, stream: StreamId) {
        let ends: Vec<_> = self.streams.keys().filter(|(id, _)| *id == stream).map(|(_, n)| *n).collect();
        self.streams.retain(|(id, _), _| *id != stream);
        for name in ends {
            self.give(name, Input::Closed { stream });
        }
    }

    /// Delivers one message that `from` has sent on a stream; false if there was none.
    pub fn deliver(&mut self, stream: StreamId, from: &'static str) -> bool {
        let Some((to, queue)) = self.streams.get_mut(&(stream, from)) else { return false };
        let (to, message) = (*to, queue.pop_front());
        let Some(message) = message else { return false };
        self.give(to, Input::Received { stream, message });
        true
    }

    /// Delivers until nothing is on its way.
    pub fn run(&mut self) {
        loop {
            let busy = self.streams.iter().find(|(_, (_, queue))| !queue.is_empty());
            let Some((&(stream, from), _)) = busy else { return };
            self.deliver(stream, from);
        }
    }

    /// Seconds pass, all messages arriving at once.
    pub fn tick(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1000;
            let names: Vec<_> = self.holders.keys().copied().collect();
            for name in names {
                self.give(name, Input::Tick { unix_ms: 1_000_000 + self.now });
            }
            self.run();
        }
    }

    pub fn write(&mut self, name: &'static str, changes: Vec<Change>) {
        self.give(name, Input::Wrote { changes });
    }

    pub fn apply(&mut self, name: &'static str, index: u64, changes: Vec<Change>) {
        self.give(name, Input::Applied { position: at(index), changes });
    }

    /// The values a holder shows of east's service "orders", by port.
    pub fn shown(&self, name: &str) -> BTreeMap<u16, String> {
        let shown = self.holders[name].shown(&near(), &service("orders"));
        let value = |s: &crate::Shown| s.instance.metadata.value("v").unwrap_or_default().to_owned();
        shown.iter().map(|s| (s.key.port, value(s))).collect()
    }

    pub fn copy(&self, name: &str, feed: &FeedId) -> Option<&Copy> {
        self.holders[name].copy(feed)
    }

    pub fn load(&mut self, name: &'static str, feed: FeedId, position: Position, records: Vec<Change>) {
        let records = records.into_iter().map(|c| (c.key, c.record.unwrap())).collect();
        self.give(name, Input::Loaded { feed, view: View::WHOLE, position, records });
    }

    /// The messages on their way from `from` on a stream.
    pub fn queued(&self, stream: StreamId, from: &'static str) -> Vec<Message> {
        self.streams.get(&(stream, from)).map_or_else(Vec::new, |(_, queue)| queue.iter().cloned().collect())
    }

    /// The feeds that are asked for on a stream, as its supplier knows.
    pub fn wanted(&self, stream: StreamId) -> Vec<FeedId> {
        let both = self.holders.values().flat_map(|holder| holder.wants_on(stream));
        both.collect()
    }

    /// From here on nothing that `from` says on a stream arrives.
    pub fn mute(&mut self, stream: StreamId, from: &'static str) {
        self.streams.remove(&(stream, from));
    }

    /// Such messages of `from` do not leave until they are let go.
    pub fn withhold(&mut self, stream: StreamId, from: &'static str, what: fn(&Message) -> bool) {
        self.withheld.insert((stream, from), (what, VecDeque::new()));
    }

    /// What was withheld leaves.
    pub fn let_go(&mut self, stream: StreamId, from: &'static str) {
        let Some((_, waiting)) = self.withheld.remove(&(stream, from)) else { return };
        if let Some((_, queue)) = self.streams.get_mut(&(stream, from)) {
            queue.extend(waiting);
        }
        self.run();
    }
}

/// A writer and its bridge in the east; a bridge, a member and a gateway in the west.
pub(super) fn two_regions() -> (World, StreamId) {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), policy(2, "public/*/*")]);
    world.bridge("east", near());
    world.bridge("west", far());
    world.add("member", far(), Role::Member(MemberId(1)), limits());
    world.add("gateway", far(), Role::Gateway, limits());
    world.give("member", Input::Installed { position: at(5), records: Vec::new() });
    world.connect("east", "a");
    let link = world.connect("west", "east");
    world.connect("west", "member");
    world.connect("member", "gateway");
    world.write("a", vec![set(1, session(1, "x")), set(2, session(1, "y"))]);
    world.tick(3);
    (world, link)
}
