//! Groups of several members in one process, over a wire that can be cut.

mod room;
mod standing;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use landbridge_model::{Era, FeedId, MemberId, Record};
use landbridge_registry_core::Reply;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{DEADLINE, config, installed, next, opening};
use crate::{
    Applied, Call, CallError, Change, ChangeError, GroupId, ProposeError, Rpc, Store, StoreConfig,
    StoreLimits, Timing, Transport, codec,
    rpc::{AppendCall, Envelope},
};

/// Between two questions whether something is so.
const PAUSE: Duration = Duration::from_millis(5);

/// All members' ends, and who is cut off.
#[derive(Default)]
struct Wire {
    ends: Mutex<BTreeMap<MemberId, Store>>,
    cut: Mutex<BTreeSet<MemberId>>,
    /// How long each member takes to say that entries are durable.
    slow: Mutex<Duration>,
    /// Who is brought heartbeats, and no entries.
    starved: Mutex<BTreeSet<MemberId>>,
    /// Whether calls to take leadership over are lost, and who made such calls.
    keeps_leaders: AtomicBool,
    transfers: Mutex<Vec<MemberId>>,
}

impl Wire {
    /// Whether a call arrives.
    fn brings(&self, from: MemberId, to: MemberId, rpc: Rpc, body: &Bytes) -> bool {
        if rpc == Rpc::Transfer {
            self.transfers.lock().unwrap().push(from);
        }
        let starves = rpc == Rpc::Append && self.starved.lock().unwrap().contains(&to);
        let lost = (starves && has_entries(body))
            || (rpc == Rpc::Transfer && self.keeps_leaders.load(Ordering::Relaxed));
        let cut = self.cut.lock().unwrap();
        !lost && !cut.contains(&from) && !cut.contains(&to)
    }
}

fn has_entries(body: &Bytes) -> bool {
    let call = codec::read::<Envelope>("call", body.clone()).unwrap().body;
    !codec::read::<AppendCall>("call", call).unwrap().request().unwrap().entries.is_empty()
}

/// One member's end.
struct End {
    from: MemberId,
    wire: Arc<Wire>,
}

impl Transport for End {
    fn call(&self, to: MemberId, rpc: Rpc, body: Bytes) -> Call<'_> {
        let slow = *self.wire.slow.lock().unwrap();
        let brings = self.wire.brings(self.from, to, rpc, &body);
        let end = self.wire.ends.lock().unwrap().get(&to).filter(|_| brings).cloned();
        Box::pin(async move {
            let end = end.ok_or_else(|| CallError::Unreachable("cut".to_owned()))?;
            let answer = end.answer(rpc, body).await;
            let synced = Instant::now() + if rpc == Rpc::Append { slow } else { Duration::ZERO };
            while Instant::now() < synced {
                tokio::time::sleep(PAUSE).await;
            }
            answer
        })
    }
}

struct Three {
    wire: Arc<Wire>,
    dir: TempDir,
    applied: BTreeMap<MemberId, mpsc::Receiver<Applied>>,
    limits: StoreLimits,
    /// The number of the next disk.
    disks: AtomicU64,
}

impl Three {
    async fn start(limits: StoreLimits) -> Self {
        let (wire, dir) = (Arc::default(), tempfile::tempdir().unwrap());
        let disks = AtomicU64::new(1);
        let mut three = Self { wire, dir, applied: BTreeMap::new(), limits, disks };
        for member in 1..=3 {
            three.open(MemberId(member)).await;
        }
        three
    }

    fn config(&self, member: MemberId) -> StoreConfig {
        let voters = (1..=member.0.max(3)).map(|id| (MemberId(id), format!("host-{id}:7848").into()));
        StoreConfig {
            dir: member_dir(self.dir.path(), member),
            member,
            voters: voters.collect(),
            era: Era(1_000 + u64::from(member.0)),
            disk: self.disks.fetch_add(1, Ordering::Relaxed),
            limits: self.limits,
            // Patient, so that a busy machine does not move leadership while a test names the leader.
            timing: Timing {
                heartbeat_ms: 200,
                election_min_ms: 800,
                election_max_ms: 1_200,
                ..Timing::ORDINARY
            },
            ..config(self.dir.path())
        }
    }

    async fn open(&mut self, member: MemberId) {
        let end = End { from: member, wire: self.wire.clone() };
        let (store, applied) = Store::open(self.config(member), Arc::new(end)).await.expect("it opens");
        self.wire.ends.lock().unwrap().insert(member, store);
        self.applied.insert(member, applied);
    }

    fn store(&self, member: MemberId) -> Store {
        self.wire.ends.lock().unwrap()[&member].clone()
    }

    /// Waits until one of the members leads, and the group has its era.
    async fn leader(&self, among: &[u16]) -> MemberId {
        let leads = |id: &&u16| {
            let store = self.store(MemberId(**id));
            let leading = store.standing().borrow().leading;
            leading && *store.inner.founded.borrow()
        };
        MemberId(*until("somebody leads", async || among.iter().find(leads)).await)
    }

    async fn stop(self) {
        for member in 1..=3 {
            self.store(MemberId(member)).shutdown().await.unwrap();
        }
    }
}

fn member_dir(dir: &Path, member: MemberId) -> std::path::PathBuf {
    dir.join(member.to_string())
}

fn others(member: MemberId) -> Vec<u16> {
    (1..=3).filter(|id| *id != member.0).collect()
}

/// Asks until the answer is there, with a rest between two questions; the deadline fails the test.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let by = Instant::now() + DEADLINE;
    let mut answer = ask().await;
    while answer.is_none() {
        tokio::time::sleep(PAUSE).await;
        assert!(Instant::now() < by, "not in time: {what}");
        answer = ask().await;
    }
    answer.expect("the loop ends with an answer")
}

/// Opens a feed, again and again until a majority answers: on a busy machine leadership may move at any time.
async fn opened_at_last(store: &Store, nonce: u64) -> FeedId {
    match until("a majority answers", async || store.propose(&opening(nonce)).await.ok()).await {
        (_, Reply::Opened(feed)) => feed,
        (_, other) => panic!("opening said {other:?}"),
    }
}

/// The nonces of all feeds, once nothing from before the start is missing.
async fn caught_up(applied: &mut mpsc::Receiver<Applied>) -> BTreeSet<u64> {
    let mut nonces = BTreeSet::new();
    let mut take = |record: Option<&Record>| {
        if let Some(Record::Directory(entry)) = record {
            nonces.insert(entry.nonce);
        }
    };
    loop {
        match next(applied).await {
            Applied::Installed { records, .. } => records.iter().for_each(|(_, record)| take(Some(record))),
            Applied::Changed { changes, .. } => {
                changes.iter().for_each(|change| take(change.record.as_ref()))
            }
            Applied::CaughtUp => return nonces,
        }
    }
}

/// Gives an order, again and again until it is carried out: who is to vote must have caught up.
async fn ordered_at_last(store: &Store, change: Change) {
    until("the order is carried out", async || store.order(change).await.ok()).await;
}

/// Reads, again and again until a majority answers.
async fn read_at_last(store: &Store) {
    until("a majority answers", async || store.read_index().await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_begin_with_one_era_and_answer_at_any_of_them() {
    let mut three = Three::start(StoreLimits::ORDINARY).await;

    let mut feeds = BTreeSet::new();
    for member in 1..=3 {
        feeds.insert(opened_at_last(&three.store(MemberId(member)), 7).await);
        read_at_last(&three.store(MemberId(member))).await;
    }

    assert_eq!(feeds.len(), 1, "one nonce, one feed: {feeds:?}");
    let mut eras = BTreeSet::new();
    for applied in three.applied.values_mut() {
        let Applied::Installed { position, .. } = next(applied).await else { panic!("not installed first") };
        eras.insert(position.era);
    }
    assert_eq!(eras.len(), 1, "one group, one era: {eras:?}");
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_is_replaced_and_nothing_answered_is_lost() {
    let mut three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    for nonce in 0..20 {
        opened_at_last(&three.store(leader), nonce).await;
    }
    let (term, _) = three.store(leader).leading(DEADLINE).expect("it leads");

    let died = Instant::now();
    three.store(leader).shutdown().await.unwrap();
    let rest = others(leader);
    let survivor = three.store(MemberId(rest[0]));
    opened_at_last(&survivor, 100).await;

    println!("first answer {:?} after the leader's end, with patient timing", died.elapsed());
    let heir = three.leader(&rest).await;
    assert!(three.store(heir).leading(DEADLINE).is_some_and(|(newer, _)| newer > term));
    three.open(leader).await;
    opened_at_last(&three.store(leader), 101).await;
    let applied = three.applied.get_mut(&leader).unwrap();
    assert!(installed(applied).await >= 20);
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_majority_answers_that_it_is_unavailable() {
    let mut limits = StoreLimits::ORDINARY;
    limits.snapshot_entries = 1_000;
    let three = Three::start(limits).await;
    let leader = three.leader(&[1, 2, 3]).await;

    three.wire.cut.lock().unwrap().insert(leader);
    let answer = three.store(leader).propose(&opening(1)).await;

    assert!(matches!(answer, Err(ProposeError::Unavailable(_) | ProposeError::NotLeader(_))), "{answer:?}");
    three.wire.cut.lock().unwrap().clear();
    opened_at_last(&three.store(leader), 2).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_are_slower_than_heartbeats_keep_no_entry_from_being_answered() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;

    *three.wire.slow.lock().unwrap() = Duration::from_millis(300);
    let answer = three.store(leader).propose(&opening(1)).await;

    assert!(answer.is_ok(), "{answer:?}");
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_missed_what_was_purged_is_given_a_snapshot() {
    let limits = StoreLimits {
        snapshot_entries: 40,
        kept_entries: 5,
        tail_bytes_max: 500,
        snapshot_part_bytes: 1_000,
        ..StoreLimits::ORDINARY
    };
    let mut three = Three::start(limits).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let away = MemberId(others(leader)[0]);
    for applied in three.applied.values_mut() {
        installed(applied).await;
    }
    let mut applied = three.applied.remove(&away).unwrap();
    for (_, mut drained) in std::mem::take(&mut three.applied) {
        tokio::spawn(async move { while drained.recv().await.is_some() {} });
    }

    three.wire.cut.lock().unwrap().insert(away);
    for nonce in 0..150 {
        opened_at_last(&three.store(leader), nonce).await;
    }
    let purged = three.store(leader).inner.raft.wait(Some(DEADLINE));
    purged.metrics(|metrics| metrics.purged.is_some_and(|id| id.index > 60), "purged").await.unwrap();
    three.wire.cut.lock().unwrap().clear();

    let records = loop {
        match next(&mut applied).await {
            Applied::Installed { records, .. } => break records.len(),
            Applied::Changed { .. } | Applied::CaughtUp => {}
        }
    };
    assert!(records > 60, "only {records} records came");
    tokio::spawn(async move { while applied.recv().await.is_some() {} });
    opened_at_last(&three.store(away), 200).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_when_asked() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let heir = MemberId(others(leader)[0]);
    opened_at_last(&three.store(leader), 1).await;

    three.store(leader).transfer(heir).await.unwrap();

    assert_eq!(three.leader(&[heir.0]).await, heir);
    three.stop().await;
}

#[tokio::test]
async fn a_call_of_another_group_is_refused() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _applied) = super::open(config(dir.path())).await;
    let mut other = config(other_dir.path());
    other.group = GroupId { deployment: "other".into(), ..other.group };
    let wire = Arc::new(Wire::default());
    wire.ends.lock().unwrap().insert(MemberId(1), store.clone());
    let stranger = crate::network::Network {
        group: crate::rpc::group_number(&other.group),
        line: Arc::default(),
        transport: Arc::new(End { from: MemberId(2), wire }),
        snapshot_part_bytes: 1,
        append_within: DEADLINE,
    };

    let answer =
        stranger.call::<crate::rpc::Roll>(MemberId(1), Rpc::Roll, &crate::rpc::Nothing {}, DEADLINE).await;

    assert_eq!(answer, Err(CallError::Failed("the call is for another group".to_owned())));
    store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_member_takes_the_place_of_a_lost_one() {
    let mut three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    opened_at_last(&three.store(leader), 1).await;
    let (lost, new) = (MemberId(others(leader)[0]), MemberId(4));
    three.store(lost).shutdown().await.unwrap();
    three.wire.cut.lock().unwrap().insert(lost);

    three.open(new).await;
    let stays = MemberId(others(leader)[1]);
    ordered_at_last(&three.store(stays), Change::Add(new)).await;
    ordered_at_last(&three.store(stays), Change::Replace { old: lost, new }).await;
    let voters = [leader, stays, new];

    until("the new one votes for the lost one", async || {
        (three.store(leader).members().voters == BTreeSet::from(voters)).then_some(())
    })
    .await;
    assert_eq!(installed(three.applied.get_mut(&new).unwrap()).await, 1);
    opened_at_last(&three.store(new), 2).await;
    three.store(new).shutdown().await.unwrap();
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_member_is_refilled_before_it_votes_again() {
    let mut three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let lost = MemberId(others(leader)[0]);
    for nonce in 0..10 {
        opened_at_last(&three.store(leader), nonce).await;
    }
    until("its disk is noted", async || three.store(leader).noted(lost)).await;
    let before = three.store(lost).disk().0;
    three.store(lost).shutdown().await.unwrap();
    std::fs::remove_dir_all(member_dir(three.dir.path(), lost)).unwrap();

    three.open(lost).await;

    let disk = three.store(lost).disk().0;
    assert_ne!(disk, before, "an empty disk has the number of another one");
    until("it has its part again and all three vote", async || {
        let noted = three.store(leader).noted(lost)?.is(disk);
        let votes = |at| three.store(at).members().voters.len() == 3;
        (noted && three.store(lost).disk().1 && votes(leader) && votes(lost)).then_some(())
    })
    .await;
    let (applied, store) =
        (three.applied.get_mut(&lost).unwrap(), three.wire.ends.lock().unwrap()[&lost].clone());
    assert!(installed(applied).await <= 10);
    opened_at_last(&store, 100).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_member_does_not_vote_for_one_that_lags() {
    let mut three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let (lost, lags) = (MemberId(others(leader)[0]), MemberId(others(leader)[1]));
    opened_at_last(&three.store(lags), 1).await;
    // What is answered from here on stands at the leader and at the member whose disk is about to be lost.
    three.wire.cut.lock().unwrap().insert(lags);
    opened_at_last(&three.store(leader), 2).await;
    three.store(leader).shutdown().await.unwrap();
    three.store(lost).shutdown().await.unwrap();
    std::fs::remove_dir_all(member_dir(three.dir.path(), lost)).unwrap();
    three.wire.cut.lock().unwrap().clear();
    three.wire.cut.lock().unwrap().insert(leader);

    three.open(lost).await;
    let asked = three.store(lags).propose(&opening(3)).await;

    assert!(asked.is_err(), "a majority of one and a stranger decided: {asked:?}");
    assert!(!three.store(lost).disk().1, "nobody who knows what was answered admitted it");
    three.wire.cut.lock().unwrap().clear();
    three.open(leader).await;
    opened_at_last(&three.store(lost), 4).await;
    let nonces = caught_up(three.applied.get_mut(&leader).unwrap()).await;
    assert!(nonces.is_superset(&BTreeSet::from([1, 2])), "what was answered is lost: {nonces:?} are left");
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_would_leave_nobody_to_decide_is_refused() {
    let mut three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let (dead, lives) = (MemberId(others(leader)[0]), MemberId(others(leader)[1]));
    opened_at_last(&three.store(leader), 1).await;
    let store = three.store(lives);
    let refused = async |change, part: &str| {
        let said = until("the order is decided", async || match store.order(change).await {
            Err(ChangeError::Undecided(_)) => None,
            said => Some(said),
        });
        let said = said.await;
        assert!(matches!(&said, Err(ChangeError::Unsafe(why)) if why.contains(part)), "{change:?}: {said:?}");
    };

    refused(Change::Promote(MemberId(4)), "no learner").await;
    refused(Change::Add(lives), "in the group already").await;
    refused(Change::Remove(leader), "leads").await;
    refused(Change::Remove(MemberId(7)), "not in the group").await;
    ordered_at_last(&store, Change::Add(MemberId(4))).await;
    refused(Change::Promote(MemberId(4)), "does not answer").await;
    ordered_at_last(&store, Change::Remove(MemberId(4))).await;
    three.store(dead).shutdown().await.unwrap();
    three.wire.cut.lock().unwrap().insert(dead);
    until("the leader misses it", async || {
        let silent = three.store(leader).followers().iter().find(|row| row.member == dead)?.silent_ms;
        silent.filter(|silent| *silent > 2_000)
    })
    .await;
    refused(Change::Remove(lives), "nothing could be decided").await;
    refused(Change::Transfer(dead), "does not answer").await;
    ordered_at_last(&store, Change::Remove(dead)).await;

    until("two vote", async || {
        (three.store(leader).members().voters == BTreeSet::from([leader, lives])).then_some(())
    })
    .await;
    ordered_at_last(&store, Change::Transfer(lives)).await;
    opened_at_last(&store, 9).await;
    three.wire.cut.lock().unwrap().clear();
    three.open(dead).await;
    three.stop().await;
}
