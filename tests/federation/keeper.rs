//! A holder on a carrier, turned by hand: time passes only when a test says so.

use landbridge_carrier::{Event, Shelf, Target};
use landbridge_feed::{Effect, Holder, Input, Limits, Role, Settings, Standing};
use landbridge_model::{
    Change, DirectoryEntry, Era, ExportPolicy, FeedId, Instance, InstanceKey, KeyGlob, Life, MemberId,
    Metadata, Moment, Position, Record, RecordKey, Registration, ServiceKey, Stamp,
};
use landbridge_tests::{authority::Authority, wait::until_async};

use crate::end::{DEADLINE, End, region};

/// The Raft incarnation of every region here.
const ERA: Era = Era(1);

/// A holder with its streams, and a shelf if a test gave it one.
pub struct Keeper {
    pub holder: Holder,
    pub end: End,
    pub shelf: Option<Shelf>,
    pub region: String,
    pub standings: Vec<Standing>,
    ticks: u64,
    /// The Raft feed's last index, of a member.
    index: u64,
}

pub fn service(name: &str) -> ServiceKey {
    ServiceKey::parse("", "", name).expect("a valid service")
}

pub fn instance_key(host: u32) -> InstanceKey {
    InstanceKey {
        ip: landbridge_model::Address::parse(&format!("10.0.{}.{}", host / 250, host % 250)).expect("valid"),
        port: 80,
        cluster: landbridge_model::Cluster::parse("").expect("valid"),
    }
}

impl Keeper {
    /// A lone member: it writes the region's Raft feed and a feed of its own, and lets everything leave for `peers`.
    pub async fn member(authority: &Authority, region_name: &str, peers: &[&str]) -> Self {
        let role = Role::Member(MemberId(1));
        let mut member = Self::start(authority, region_name, "registry/1", role, &[], Limits::STANDARD).await;
        let feed = member.own_feed();
        let entry = DirectoryEntry { member: MemberId(1), address: "10.9.9.9:1".into(), nonce: 1, need: 0 };
        let mut records = vec![(RecordKey::Directory(feed.clone()), Record::Directory(entry))];
        for (at, peer) in (3..).zip(peers) {
            records.push(policy(peer, at, &["*/*/*"]));
            member.index = at;
        }
        let position = Position { era: ERA, seq: member.index };
        member.step(Input::Installed { position, records });
        member.step(Input::Begun { feed, records: Vec::new() });
        member
    }

    /// A bridge that lets the bridges of `neighbours` in.
    pub async fn bridge(authority: &Authority, region_name: &str, neighbours: &[&str]) -> Self {
        Self::bridge_with(authority, region_name, neighbours, Limits::STANDARD).await
    }

    /// As `bridge`, with other bounds.
    pub async fn bridge_with(
        authority: &Authority,
        region_name: &str,
        neighbours: &[&str],
        limits: Limits,
    ) -> Self {
        Self::start(authority, region_name, "bridge/b1", Role::Bridge, neighbours, limits).await
    }

    async fn start(
        authority: &Authority,
        region_name: &str,
        name: &str,
        role: Role,
        neighbours: &[&str],
        limits: Limits,
    ) -> Self {
        let identity = authority.identity(&format!("demo/{region_name}/{name}"));
        let end = End::start(identity, neighbours).await;
        let holder = Holder::new(Settings { region: region(region_name), role, limits });
        let region = region_name.to_owned();
        Self { holder, end, shelf: None, region, standings: Vec::new(), ticks: 0, index: 2 }
    }

    /// The feed that this member writes.
    pub fn own_feed(&self) -> FeedId {
        FeedId::Member { region: region(&self.region), era: ERA, index: 2 }
    }

    /// Keeps a stream with each of these.
    pub fn dial(&self, others: &[&Self]) {
        let targets = others
            .iter()
            .map(|other| Target { address: other.end.address.to_string(), region: region(&other.region) });
        self.end.carrier.dial(targets.collect());
    }

    /// Registers one instance per host in the member's own feed.
    pub fn register(&mut self, service_name: &str, hosts: std::ops::Range<u32>) {
        for host in hosts {
            let key = RecordKey::Instance(service(service_name), instance_key(host));
            let record = Record::Registration(Registration {
                stamp: Stamp {
                    clock: Stamp::clock_at(self.unix_ms()) + u64::from(host),
                    member: MemberId(1),
                },
                take: 0,
                life: Life::Session(Instance::plain(Metadata::default()).into()),
            });
            self.step(Input::Wrote { changes: vec![Change { key, record: Some(record) }] });
        }
    }

    /// Takes a registration away again.
    pub fn deregister(&mut self, service_name: &str, host: u32) {
        let key = RecordKey::Instance(service(service_name), instance_key(host));
        self.step(Input::Wrote { changes: vec![Change { key, record: None }] });
    }

    /// Lets only these services leave for a peer.
    pub fn allow(&mut self, peer: &str, globs: &[&str]) {
        self.index += 1;
        let position = Position { era: ERA, seq: self.index };
        let (key, record) = policy(peer, self.index, globs);
        self.step(Input::Applied { position, changes: vec![Change { key, record: Some(record) }] });
    }

    /// How many instances of a service of a region are shown.
    pub fn shows(&self, region_name: &str, service_name: &str) -> usize {
        self.holder.shown(&region(region_name), &service(service_name)).len()
    }

    /// How often the copy of a feed was replaced whole.
    pub fn swaps(&self, feed: &FeedId) -> u64 {
        self.holder.copy(feed).map_or(0, landbridge_feed::Copy::swaps)
    }

    /// One second passes.
    pub fn tick(&mut self) {
        self.ticks += 1;
        if self.holder.own().is_some() {
            self.step(Input::RaftBeat { n: (1 << 32) + self.ticks, unix_ms: self.unix_ms() });
        }
        let unix_ms = self.unix_ms();
        self.step(Input::Tick { unix_ms });
    }

    /// Takes in everything that has come.
    pub fn drain(&mut self) {
        while let Ok(event) = self.end.events.try_recv() {
            if let Some(input) = Event::into_input(event) {
                self.step(input);
            }
        }
    }

    /// Takes in what a shelf held.
    pub fn resume(&mut self, shelf: Shelf, loaded: Vec<landbridge_carrier::Loaded>) {
        for landbridge_carrier::Loaded { feed, view, position, records } in loaded {
            self.step(Input::Loaded { feed, view, position, records });
        }
        self.shelf = Some(shelf);
    }

    /// Saves everything and closes the shelf.
    pub fn shelve(&mut self) {
        let mut shelf = self.shelf.take().expect("a shelf");
        shelf.save(self.holder.copies());
        shelf.close();
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.ticks * 1_000
    }

    pub fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.holder.step(Moment(self.ticks * 1_000), input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { stream, message } => self.end.carrier.send_or_close(stream, message),
                Effect::Refuse { stream, why } => {
                    panic!("{} refuses stream {}: {why}", self.region, stream.0)
                }
                Effect::StandingChanged { standing, .. } => self.standings.push(standing),
                Effect::Doubted { feed } => panic!("{} doubts {feed}", self.region),
                Effect::Touched { .. } | Effect::DirectoryChanged { .. } | Effect::Dropped { .. } => {}
            }
        }
    }
}

fn policy(peer: &str, at: u64, globs: &[&str]) -> (RecordKey, Record) {
    let allow = globs.iter().map(|glob| KeyGlob::parse(glob).expect("a valid glob")).collect();
    let since = Position { era: ERA, seq: at };
    let policy = ExportPolicy { since, allow, deny: Vec::new() };
    (RecordKey::Policy(region(peer)), Record::Policy(policy.into()))
}

/// Turns all keepers until the condition holds. Time stands still meanwhile.
pub async fn until(what: &str, keepers: &mut [&mut Keeper], mut holds: impl FnMut(&[&mut Keeper]) -> bool) {
    until_async(what, DEADLINE, async || {
        for keeper in keepers.iter_mut() {
            keeper.drain();
        }
        holds(keepers).then_some(())
    })
    .await;
}

/// Lets a second pass for all keepers, and takes in what comes of it, until the condition holds.
pub async fn until_ticking(
    what: &str,
    keepers: &mut [&mut Keeper],
    mut holds: impl FnMut(&[&mut Keeper]) -> bool,
) {
    until_async(what, DEADLINE, async || {
        for keeper in keepers.iter_mut() {
            keeper.drain();
        }
        if holds(keepers) {
            return Some(());
        }
        for keeper in keepers.iter_mut() {
            keeper.tick();
        }
        None
    })
    .await;
}
