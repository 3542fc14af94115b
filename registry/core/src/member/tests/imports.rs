//! Protection between regions: a mass loss of imported instances is held, marked, and let go for a reason.

use std::sync::Arc;

use landbridge_feed::{BUCKETS, Digests, Message, Peer, Role, StreamId};
use landbridge_model::{
    Change, Era, FeedId, Heartbeat, Life, LinkOrder, MemberId, Position, Record, RecordKey, Region,
    Registration, Stamp, View,
};

use super::rig::*;
use crate::{Command, Effect, Host, Input, Limits, RaftState};

/// The stream of the own region's bridge, which brings the far region.
const BRIDGE: StreamId = StreamId(2);

/// Where a feed stands that has just been opened.
const OPENED: Position = Position { era: Era(5), seq: 1 };

/// A member that shows the instances of a far region, whose bridge these tests speak for.
struct Far {
    rig: Rig,
    feed: FeedId,
    view: View,
    seq: u64,
    beats: u64,
    /// Whether the feed's writer says nothing.
    silent: bool,
    /// What the region has decided.
    state: RaftState,
    /// Feeds of further writers, each heard every second.
    others: Vec<FeedId>,
}

fn west() -> Region {
    Region::parse("west").unwrap()
}

fn registered(port: u16) -> (RecordKey, Record) {
    let stamp = Stamp { clock: 1, member: MemberId(0) };
    let registration = Registration { stamp, take: 0, life: Life::Session(labelled("far")) };
    (RecordKey::Instance(service(), key(port)), Record::Registration(registration))
}

impl Far {
    fn showing(ports: &[u16]) -> Self {
        let mut rig = Rig::ready(1);
        rig.import(0, "west", ports);
        let peer = Peer { region: own_region(), role: Role::Bridge, id: "bridge".into() };
        rig.give(0, Input::Opened { stream: BRIDGE, peer });
        let feed = FeedId::Member { region: west(), era: Era(5), index: 2 };
        let view = View { policy: Position::NONE, peer: Some(own_region()) };
        let mut state = founded(west());
        state.apply(2, &Command::Open { member: MemberId(0), address: "".into(), nonce: 1 });
        let mut far = Self { rig, feed, view, seq: 1, beats: 0, silent: false, state, others: Vec::new() };
        far.ticks(3);
        assert_eq!(far.shown(), (ports.len(), 0));
        far.rig.seen.clear();
        far
    }

    fn at(&self) -> Position {
        Position { era: Era(5), seq: self.seq }
    }

    fn say(&mut self, message: Message) {
        self.rig.give(0, Input::Received { stream: BRIDGE, message });
    }

    fn changes(&mut self, changes: Vec<Change>) {
        let from = self.at();
        self.seq += 1;
        let (feed, view, to) = (self.feed.clone(), self.view.clone(), self.at());
        self.say(Message::Batch { feed, view, from, to, changes });
    }

    /// These are gone, as when their connections end.
    fn lose(&mut self, ports: impl Iterator<Item = u16>) {
        let gone = |port| Change { key: RecordKey::Instance(service(), key(port)), record: None };
        self.changes(ports.map(gone).collect());
    }

    /// Seconds pass, in each of which the far writer is heard.
    fn ticks(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.beats += 1;
            let beat = |position| Heartbeat { n: self.beats, position, unix_ms: BEGIN_MS };
            let raft = self.rig.member(0).holder().copy(&FeedId::Raft(west())).map(|copy| copy.position());
            let raft = raft.map(|position| (FeedId::Raft(west()), beat(position)));
            let first = (!self.silent).then(|| (self.feed.clone(), beat(self.at())));
            let others = self.others.iter().map(|feed| (feed.clone(), beat(OPENED)));
            let beats = raft.into_iter().chain(first).chain(others).collect();
            self.say(Message::Beats { unix_ms: BEGIN_MS, beats, hears: vec![west()] });
            self.rig.ticks(1);
        }
    }

    /// The region decides something.
    fn decide(&mut self, command: &Command) {
        let from = self.state.position();
        let changes = self.state.apply(from.seq + 1, command).1;
        let (view, to) = (self.view.clone(), self.state.position());
        self.say(Message::Batch { feed: FeedId::Raft(west()), view, from, to, changes });
    }

    /// Another writer opens a feed, which stays empty.
    fn opens(&mut self, member: u16) -> FeedId {
        self.decide(&Command::Open {
            member: MemberId(member),
            address: "".into(),
            nonce: u64::from(member) + 1,
        });
        let feed = FeedId::Member { region: west(), era: Era(5), index: self.state.position().seq };
        let (view, records) = (self.view.clone(), Vec::new());
        self.rig.give(0, Input::Loaded { feed: feed.clone(), view, position: OPENED, records });
        self.others.push(feed.clone());
        self.ticks(3);
        feed
    }

    /// The far writer says what its feed holds, which is what the copy holds.
    fn verify(&mut self) {
        self.verify_of(&self.feed.clone());
    }

    /// Likewise of any feed.
    fn verify_of(&mut self, feed: &FeedId) {
        let copy = self.rig.member(0).holder().copy(feed).expect("a copy");
        let (view, position, digests) = (self.view.clone(), copy.position(), copy.digests().clone());
        self.beats += 1;
        self.say(Message::Verify { feed: feed.clone(), view, position, digests, n: self.beats });
        self.ticks(1);
    }

    fn verify_as(&mut self, digests: Digests) {
        self.beats += 1;
        let (feed, view, position, n) = (self.feed.clone(), self.view.clone(), self.at(), self.beats);
        self.say(Message::Verify { feed, view, position, digests, n });
        self.ticks(1);
    }

    /// How many instances of the region are shown, and how many of these are marked.
    fn shown(&mut self) -> (usize, usize) {
        let hosts = self.rig.view(0).map(|view| view.hosts).unwrap_or_default();
        let marked = |host: &&Host| host.unverified;
        (hosts.len(), hosts.iter().filter(marked).count())
    }

    /// What was told about holds.
    fn told(&self) -> Vec<(usize, bool)> {
        let held = |(_, effect): &(usize, Effect)| match effect {
            Effect::Held { origin, count, began } => {
                assert_eq!(*origin, west());
                Some((*count, *began))
            }
            _ => None,
        };
        self.rig.seen.iter().filter_map(held).collect()
    }
}

#[test]
fn a_mass_loss_of_another_region_is_held_marked_and_told() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));

    far.lose(1..=120);

    assert_eq!(far.shown(), (300, 120));
    assert_eq!(far.told(), [(120, true)]);
    assert_eq!(far.rig.member(0).holds(), [(west(), 120)]);
    let copy = far.rig.member(0).holder().copy(&far.feed).expect("a copy");
    assert_eq!(copy.len(), 180, "the copy is exact");
}

#[test]
fn a_loss_of_no_more_than_the_floor_or_the_share_is_shown_at_once() {
    let mut few = Far::showing(&Vec::from_iter(1..=150));
    few.lose(1..=100);
    assert_eq!(few.shown(), (50, 0), "not above the floor");

    let mut small = Far::showing(&Vec::from_iter(1..=500));
    small.lose(1..=150);
    assert_eq!(small.shown(), (350, 0), "not above the share");
    assert!(few.told().is_empty() && small.told().is_empty());
}

#[test]
fn losses_within_ten_seconds_are_one_event_and_what_went_first_is_back() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.lose(1..=90);
    assert_eq!(far.shown(), (210, 0));
    far.ticks(9);

    far.lose(91..=120);

    assert_eq!(far.shown(), (300, 120));
    let mut slow = Far::showing(&Vec::from_iter(1..=300));
    slow.lose(1..=90);
    slow.ticks(10);
    slow.lose(91..=120);
    assert_eq!(slow.shown(), (180, 0), "two events, each of them small");
}

#[test]
fn two_verifications_that_match_let_a_hold_go_and_one_does_not() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.verify();
    far.lose(1..=200);
    far.ticks(5);
    assert_eq!(far.shown(), (300, 200), "the word of before does not count");

    far.verify();
    assert_eq!(far.shown(), (300, 200));
    far.verify();

    assert_eq!(far.shown(), (100, 0));
    assert_eq!(far.told(), [(200, true), (0, false)]);
}

#[test]
fn a_verification_that_does_not_match_lets_nothing_go() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.lose(1..=200);

    for _ in 0..3 {
        far.verify_as(Digests(Box::new([7; BUCKETS])));
    }

    assert_eq!(far.shown(), (300, 200));
}

#[test]
fn what_a_silent_writer_lost_is_not_let_go_by_the_word_of_another_one() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    let other = far.opens(1);
    far.silent = true;
    far.ticks(12);
    far.lose(1..=200);

    for _ in 0..3 {
        far.verify_of(&other);
    }
    assert_eq!(far.shown().0, 300);
    far.silent = false;
    far.ticks(2);
    far.verify();
    assert_eq!(far.shown().0, 300);
    far.verify();

    assert_eq!(far.shown(), (100, 0));
}

#[test]
fn what_a_writer_lost_waits_for_another_one_that_is_heard_and_for_none_that_is_silent() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    let other = far.opens(1);
    far.lose(1..=200);
    for _ in 0..3 {
        far.verify();
    }
    assert_eq!(far.shown().0, 300, "it may have moved to the other one");

    far.others.retain(|heard| *heard != other);
    far.ticks(12);

    assert_eq!(far.shown(), (100, 0));
}

#[test]
fn what_went_with_a_closed_feed_waits_for_the_word_of_all_that_are_open() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    let (first, second) = (far.opens(1), far.opens(2));
    far.others.retain(|heard| *heard != second);
    far.ticks(12);
    far.silent = true;
    far.decide(&Command::Close { feed: far.feed.clone(), cursor: Default::default() });
    assert_eq!(far.shown(), (300, 300));

    for _ in 0..3 {
        far.verify_of(&first);
    }
    assert_eq!(far.shown().0, 300, "the silent one may have what was lost");
    for _ in 0..2 {
        far.verify_of(&second);
    }

    assert_eq!(far.shown().0, 0);
}

#[test]
fn a_hold_ends_after_ten_minutes_whatever_is_heard() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.lose(1..=200);

    far.rig.ticks(u64::from(Limits::STANDARD.hold_max_ticks) - 1);
    assert_eq!(far.shown().0, 300);
    far.rig.ticks(1);

    assert_eq!(far.shown().0, 100);
}

#[test]
fn an_operator_lets_a_hold_go() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.lose(1..=200);

    far.rig.give(0, Input::Release { origin: own_region() });
    assert_eq!(far.shown(), (300, 200), "another region's holds are another matter");
    far.rig.give(0, Input::Release { origin: west() });

    assert_eq!(far.shown(), (100, 0));
}

#[test]
fn a_deregistration_is_never_held_and_counts_as_no_loss() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    let stamp = Stamp { clock: 2, member: MemberId(0) };
    let buried = Registration { stamp, take: 0, life: Life::Tombstone };
    let bury = |port| Change {
        key: RecordKey::Instance(service(), key(port)),
        record: Some(Record::Registration(buried.clone())),
    };

    far.changes((1..=200).map(bury).collect());

    assert_eq!(far.shown(), (100, 0));
    let mut held = Far::showing(&Vec::from_iter(1..=300));
    held.lose(1..=200);
    held.changes((1..=50).map(bury).collect());
    assert_eq!(held.shown(), (250, 150), "not even of an instance that is held");
}

#[test]
fn what_is_registered_again_is_shown_by_its_record() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.lose(1..=200);

    let again = (1..=150).map(registered).map(|(key, record)| Change { key, record: Some(record) });
    far.changes(again.collect());

    assert_eq!(far.shown(), (300, 50));
    assert_eq!(far.rig.member(0).holds(), [(west(), 50)]);
}

#[test]
fn an_evicted_region_takes_what_is_held_of_it_along() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.lose(1..=200);

    let order = LinkOrder { hold: landbridge_model::Hold::Evicted, since_ms: 1 };
    far.rig.commit_and_apply(&Command::SetLink { region: west(), order: Some(order) });
    far.rig.ticks(1);

    assert_eq!(far.shown(), (0, 0));
    assert!(far.rig.member(0).holds().is_empty());
}

#[test]
fn what_a_narrower_policy_takes_away_is_no_loss() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    let narrower = View { policy: Position { era: Era(5), seq: 9 }, peer: Some(own_region()) };
    let position = far.at();

    far.say(Message::Begin { feed: far.feed.clone(), view: narrower.clone() });
    for bucket in 0..BUCKETS as u16 {
        let content = landbridge_feed::BucketContent::Records { records: vec![], last: true };
        far.say(Message::Bucket { feed: far.feed.clone(), bucket, content });
    }
    far.say(Message::End { feed: far.feed.clone(), view: narrower, position });

    assert_eq!(far.shown(), (0, 0));
    assert!(far.told().is_empty());
}

#[test]
fn an_overlay_that_disables_a_held_instance_is_heeded() {
    let mut far = Far::showing(&Vec::from_iter(1..=300));
    far.lose(1..=200);
    let raft = FeedId::Raft(west());
    let at = far.rig.member(0).holder().copy(&raft).expect("a copy").position();
    let overlay = landbridge_model::Overlay { enabled: Some(false), ..Default::default() };
    let change = Change {
        key: RecordKey::Overlay(service(), key(7)),
        record: Some(Record::Overlay(Arc::new(overlay))),
    };
    let (view, to) = (far.view.clone(), Position { seq: at.seq + 1, ..at });

    far.say(Message::Batch { feed: raft, view, from: at, to, changes: vec![change] });

    let view = far.rig.view(0).expect("the service");
    assert!(!view.host(&key(7)).expect("it is held").instance.enabled);
}
