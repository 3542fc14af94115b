//! Steps of the Raft state machine.

use landbridge_model::{Address, Cluster, Definition, ExportPolicy, KeyGlob, MemberId, Metadata};

use super::*;

fn east() -> Region {
    Region::parse("east").unwrap()
}

fn founded() -> RaftState {
    let mut state = RaftState::new(east());
    state.apply(1, &Command::Found { era: Era(7) });
    state
}

fn open(nonce: u64) -> Command {
    Command::Open { member: MemberId(1), address: "a:1".into(), nonce }
}

fn opened(state: &mut RaftState, index: u64) -> FeedId {
    match state.apply(index, &open(index)).0 {
        Reply::Opened(feed) => feed,
        other @ (Reply::Done | Reply::NotFound | Reply::Unfounded) => {
            panic!("expected a feed, not {other:?}")
        }
    }
}

fn need(state: &RaftState, feed: &FeedId) -> u64 {
    state.directory().find(|(listed, _)| *listed == feed).map(|(_, entry)| entry.need).unwrap()
}

fn target() -> (ServiceKey, InstanceKey) {
    let (ip, cluster) = (Address::parse("10.0.0.1").unwrap(), Cluster::parse("").unwrap());
    (ServiceKey::parse("", "", "orders").unwrap(), InstanceKey { ip, port: 1, cluster })
}

fn put_persistent() -> Command {
    let (service, key) = target();
    Command::PutPersistent { service, key, instance: Arc::new(Instance::plain(Metadata::default())) }
}

#[test]
fn nothing_is_decided_before_the_group_has_an_era() {
    let mut state = RaftState::new(east());

    assert_eq!(state.apply(1, &open(5)), (Reply::Unfounded, vec![]));
    assert_eq!(state.position(), Position::NONE);
}

#[test]
fn the_first_era_stays() {
    let mut state = founded();

    state.apply(2, &Command::Found { era: Era(99) });

    assert_eq!(state.position(), Position { era: Era(7), seq: 1 });
}

#[test]
fn a_feed_is_named_by_the_index_that_opened_it() {
    let mut state = founded();

    let (reply, changes) = state.apply(4, &open(5));

    let feed = FeedId::Member { region: east(), era: Era(7), index: 4 };
    assert_eq!(reply, Reply::Opened(feed.clone()));
    assert_eq!(changes[0].key, RecordKey::Directory(feed));
    assert_eq!(state.position().seq, 4);
}

#[test]
fn an_open_that_arrives_twice_opens_one_feed() {
    let mut state = founded();
    let first = state.apply(2, &open(5)).0;

    let (reply, changes) = state.apply(3, &open(5));

    assert_eq!((reply, changes), (first, vec![]));
    assert_eq!(state.position().seq, 2, "what changes nothing moves nothing");
}

#[test]
fn opening_a_feed_leaves_older_feeds_of_the_member_listed() {
    let mut state = founded();
    let old = opened(&mut state, 2);

    opened(&mut state, 3);

    assert!(state.directory().any(|(feed, _)| *feed == old));
}

#[test]
fn a_close_raises_the_needs_of_those_that_stay_and_never_lowers_one() {
    let mut state = founded();
    let (a, b, c, d) =
        (opened(&mut state, 2), opened(&mut state, 3), opened(&mut state, 4), opened(&mut state, 5));
    let cursor = BTreeMap::from([(b.clone(), 9), (c.clone(), 1)]);
    state.apply(6, &Command::Close { feed: a.clone(), cursor });

    let cursor = BTreeMap::from([(b.clone(), 4), (c.clone(), 3), (a, 100)]);
    state.apply(7, &Command::Close { feed: d, cursor });

    assert_eq!((need(&state, &b), need(&state, &c)), (9, 3));
    assert_eq!(state.directory().count(), 2, "a closed feed does not come back by a cursor");
}

#[test]
fn a_close_that_arrives_twice_changes_nothing() {
    let mut state = founded();
    let (a, b) = (opened(&mut state, 2), opened(&mut state, 3));
    state.apply(4, &Command::Close { feed: a.clone(), cursor: BTreeMap::new() });

    let late = Command::Close { feed: a, cursor: BTreeMap::from([(b.clone(), 50)]) };

    assert_eq!(state.apply(5, &late), (Reply::NotFound, vec![]));
    assert_eq!(need(&state, &b), 0);
}

#[test]
fn a_restored_group_lists_nobody_keeps_the_rest_and_is_settling() {
    let mut old = founded();
    opened(&mut old, 2);
    old.apply(3, &put_persistent());

    let mut state = RaftState::reborn(east(), Position { era: Era(8), seq: 3 }, old.records().clone());

    let (service, key) = target();
    assert_eq!(state.directory().count(), 0);
    assert!(state.records().contains_key(&RecordKey::Persistent(service, key)));
    assert!(state.records().contains_key(&RecordKey::Settling));

    let feed = opened(&mut state, 9);
    state.apply(10, &Command::Settle { cursor: BTreeMap::from([(feed.clone(), 6)]) });

    assert!(!state.records().contains_key(&RecordKey::Settling));
    assert_eq!(need(&state, &feed), 6);
    assert_eq!(state.apply(11, &Command::Settle { cursor: BTreeMap::new() }).0, Reply::NotFound);
}

#[test]
fn the_same_put_twice_is_one_change() {
    let mut state = founded();

    assert_eq!(state.apply(2, &put_persistent()).1.len(), 1);
    assert_eq!(state.apply(3, &put_persistent()).1.len(), 0);
}

#[test]
fn a_probe_flips_what_is_there_and_passes_over_what_is_gone() {
    let mut state = founded();
    state.apply(2, &put_persistent());
    let (service, key) = target();
    let gone = InstanceKey { port: 99, ..key.clone() };
    let flips = vec![(service.clone(), key.clone(), false), (service, gone, false)];

    let (_, changes) = state.apply(3, &Command::SetHealth { flips: flips.clone() });

    let Some(Record::Persistent(instance)) = &changes[0].record else { panic!("expected an instance") };
    assert!(!instance.healthy && changes.len() == 1);
    assert!(state.apply(4, &Command::SetHealth { flips }).1.is_empty());
}

#[test]
fn edits_add_up_until_they_are_cleared() {
    let mut state = founded();
    let lay = |overlay| {
        let (service, key) = target();
        Command::SetOverlay { service, key, overlay: Arc::new(overlay) }
    };
    state.apply(2, &lay(Overlay { weight: Some(3.0), ..Overlay::default() }));

    let (_, changes) = state.apply(3, &lay(Overlay { enabled: Some(false), ..Overlay::default() }));

    let Some(Record::Overlay(overlay)) = &changes[0].record else { panic!("expected an overlay") };
    assert_eq!((overlay.weight, overlay.enabled), (Some(3.0), Some(false)));
    let cleared = |seen| {
        let (service, key) = target();
        Command::ClearOverlay { service, key, seen }
    };
    let older = Arc::new(Overlay { weight: Some(3.0), ..Overlay::default() });
    assert_eq!(
        state.apply(4, &cleared(Some(older))),
        (Reply::NotFound, Vec::new()),
        "newer edits were taken back"
    );
    assert_eq!(state.apply(5, &cleared(Some(Arc::clone(overlay)))).1[0].record, None);
    state.apply(6, &lay(Overlay { enabled: Some(false), ..Overlay::default() }));
    assert_eq!(state.apply(7, &cleared(None)).1[0].record, None);
}

#[test]
fn definitions_come_and_go() {
    let mut state = founded();
    let (service, _) = target();
    let definition = Arc::new(Definition { protect_threshold: 0.5, metadata: Metadata::default() });

    state.apply(2, &Command::Define { service: service.clone(), definition });
    assert_eq!(state.records().len(), 1);

    state.apply(3, &Command::Undefine { service: service.clone() });
    assert_eq!(state.records().len(), 0);
    assert_eq!(state.apply(4, &Command::Undefine { service }).0, Reply::NotFound);
}

#[test]
fn every_change_of_a_policy_makes_a_newer_view_also_its_end() {
    let mut state = founded();
    let west = Region::parse("west").unwrap();
    let mut set = |index, policy: Option<&str>| {
        let allow = |glob| vec![KeyGlob::parse(glob).unwrap()];
        let policy = policy.map(|glob| ExportPolicy { allow: allow(glob), ..ExportPolicy::default() });
        let command = Command::SetPolicy { peer: west.clone(), policy: policy.map(Arc::new) };
        let changes = state.apply(index, &command).1;
        changes.first().map(|change| {
            let Some(Record::Policy(policy)) = &change.record else { panic!("expected a policy") };
            (policy.since.seq, policy.allow.len())
        })
    };

    assert_eq!(set(2, Some("public/*/*")), Some((2, 1)));
    assert_eq!(set(3, Some("public/*/*")), None, "the same again is none");
    assert_eq!(set(4, Some("*/*/*")), Some((4, 1)));
    assert_eq!(set(5, None), Some((5, 0)));
}

#[test]
fn a_snapshot_restores_the_same_state() {
    let mut state = founded();
    opened(&mut state, 2);
    state.apply(3, &put_persistent());

    let again = RaftState::restore(east(), state.position(), state.records().clone());

    assert_eq!(again, state);
}

#[test]
fn a_note_is_kept_and_thrown_away_without_a_change_for_any_feed() {
    let mut state = founded();
    let note =
        |text: Option<&str>| Command::Note { name: "namespace/dev".into(), text: text.map(Into::into) };
    let before = state.position();

    assert_eq!(state.apply(2, &note(Some("a"))), (Reply::Done, vec![]));
    assert_eq!(state.notes().get("namespace/dev").map(|text| text.as_str()), Some("a"));
    assert_eq!(state.apply(3, &note(None)), (Reply::Done, vec![]));
    assert_eq!(state.apply(4, &note(None)), (Reply::NotFound, vec![]));

    assert!(state.notes().is_empty() && state.records().is_empty());
    assert_eq!(state.position(), before);
}

#[test]
fn each_service_gets_a_port_of_its_own_and_keeps_it_while_the_range_holds_it() {
    let mut state = founded();
    let named = |name| ServiceKey::parse("", "", name).unwrap();
    let mut assign = |index, name, range| {
        let service = named(name);
        let reply = state.apply(index, &Command::AssignPort { service: service.clone(), range }).0;
        (reply, state.records().get(&RecordKey::Port(service)).cloned())
    };
    let port = |port| (Reply::Done, Some(Record::Port(port)));

    assert_eq!(assign(2, "b", (5, 6)), port(5));
    assert_eq!(assign(3, "a", (5, 6)), port(6));
    assert_eq!(assign(4, "c", (5, 6)), (Reply::NotFound, None), "there is no third");
    assert_eq!(assign(5, "b", (5, 6)), port(5), "asked again it stays");
    assert_eq!(assign(6, "b", (6, 7)), port(7), "the range moved, and 6 is another's");

    state.apply(7, &Command::ReleasePort { service: named("a") });
    assert_eq!(state.records().keys().filter(|key| matches!(key, RecordKey::Port(_))).count(), 1);
}

#[test]
fn services_get_different_ports_while_a_bridge_is_listed() {
    let mut state = founded();
    let hears = Some([Region::parse("west").unwrap()].into());
    state.apply(2, &Command::SetBridge { id: "b1".into(), hears });

    let range = (5, 9);
    for (index, name) in (3..).zip(["a", "b", "c"]) {
        let service = ServiceKey::parse("", "", name).unwrap();
        assert_eq!(state.apply(index, &Command::AssignPort { service, range }).0, Reply::Done);
    }

    let port = |record: &Record| if let Record::Port(port) = record { Some(*port) } else { None };
    let given: Vec<_> = state.records().values().filter_map(port).collect();
    assert_eq!(given, [5, 6, 7]);
}
