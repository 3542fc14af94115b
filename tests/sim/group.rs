//! A stand-in for one region's Raft group: the production state machine over an ordered log, with leader changes and with
//! proposals that are late, lost, repeated or stuck.

use std::collections::{BTreeMap, VecDeque};

use landbridge_feed::Holder;
use landbridge_model::{Change, Era, FeedId, Position, Record, RecordKey};
use landbridge_registry_core::{Command, Input, Leading, RaftState};

use crate::sim::{
    names::{self, KEYS, Records},
    tally::Event,
    world::{Cause, Checked, Promise, World},
};

/// One region's group.
pub struct Group {
    pub state: RaftState,
    pub index: u64,
    /// What each change did, for members that are not far behind.
    log: VecDeque<(Position, Vec<Change>)>,
    /// Where a member without the log starts from.
    pub base: Position,
    pub leader: Option<usize>,
    term: u64,
    pending: Vec<Pending>,
    pub backup: Records,
}

struct Pending {
    due: i64,
    from: usize,
    command: Command,
    promise: Option<Promise>,
    /// In the leader's log, waiting for a quorum.
    is_stuck: bool,
}

impl Group {
    pub fn new(r: usize) -> Self {
        let mut state = RaftState::new(names::region(r));
        state.apply(1, &Command::Found { era: Era(1) });
        let base = state.position();
        Self {
            state,
            index: 1,
            log: VecDeque::new(),
            base,
            leader: None,
            term: 0,
            pending: Vec::new(),
            backup: Records::new(),
        }
    }

    pub fn listed(&self) -> Vec<FeedId> {
        self.state.directory().map(|(feed, _)| feed.clone()).collect()
    }

    pub fn lists(&self, feed: &FeedId) -> bool {
        self.state.records().contains_key(&RecordKey::Directory(feed.clone()))
    }

    pub fn is_settling(&self) -> bool {
        self.state.records().contains_key(&RecordKey::Settling)
    }

    /// Forgets the log before the present, as after a snapshot.
    pub fn compact(&mut self) {
        self.base = self.state.position();
        self.log.clear();
    }

    /// Remembers what a backup would hold.
    pub fn back_up(&mut self) {
        let kept = |key: &RecordKey| matches!(key, RecordKey::Policy(_) | RecordKey::Persistent(..));
        let records = self.state.records().iter().filter(|(key, _)| kept(key));
        self.backup = records.map(|(key, record)| (key.clone(), record.clone())).collect();
    }

    /// Starts over from the backup in a new era, some entries back.
    pub fn restore(&mut self, r: usize, back: u64) {
        let era = Era(self.state.position().era.0 + 1);
        self.index = self.index.saturating_sub(back).max(1);
        let position = Position { era, seq: self.index };
        self.state = RaftState::reborn(names::region(r), position, self.backup.clone());
        (self.leader, self.base) = (None, position);
        self.pending.clear();
        self.log.clear();
    }
}

impl World {
    pub fn propose(&mut self, n: usize, command: Command) {
        let due = if self.quiet || self.dice.chance(0.93) {
            self.dice.pick(&[0, 1, 1, 2])
        } else {
            self.dice.range(3, 12)
        };
        let promise = self.promise(n, &command);
        let r = self.nodes[n].region;
        if due >= 3 {
            self.note(Event::LateProposal);
        }
        let again = (!self.quiet && self.dice.chance(0.06)).then(|| self.dice.range(1, 9));
        if again.is_some() {
            self.note(Event::RepeatedProposal);
        }
        for due in [Some(due), again].into_iter().flatten() {
            let (command, promise) = (command.clone(), promise.clone());
            let pending = Pending { due: self.t + due, from: n, command, promise, is_stuck: false };
            self.groups[r].pending.push(pending);
        }
    }

    /// What the proposer of a close sees in the feeds that stay.
    fn promise(&self, n: usize, command: &Command) -> Option<Promise> {
        let cursor = match command {
            Command::Close { cursor, .. } | Command::Settle { cursor } => cursor.clone(),
            _ => return None,
        };
        let (holder, r) = (self.nodes[n].holder()?, self.nodes[n].region);
        let keys = (0..KEYS).filter(|k| visible_in(holder, r, cursor.keys(), *k));
        let heard = cursor.keys().filter_map(|feed| {
            let n = *self.nodes[n].heard[1].get(feed)?;
            Some((feed.clone(), *self.beaten.get(&(feed.clone(), n))?))
        });
        let is_drain = self.nodes[n].drain.is_some();
        Some(Promise { keys: keys.collect(), heard: heard.collect(), cursor, at: self.t, is_drain })
    }

    /// The leader has two-way contact to a majority.
    pub fn has_quorum(&self, n: usize) -> bool {
        let members = &self.members[self.nodes[n].region];
        let near = members
            .iter()
            .filter(|m| self.nodes[**m].is_up() && self.both_ways(n, **m) && self.is_awake(**m));
        2 * near.count() > members.len()
    }

    pub fn leading(&self, r: usize, n: usize) -> Option<Leading> {
        let group = &self.groups[r];
        (group.leader == Some(n)).then(|| Leading { term: group.term, quorum: self.has_quorum(n) })
    }

    pub fn raft_tick(&mut self, r: usize) -> Checked {
        self.keep_or_elect(r)?;
        let Some(leader) = self.groups[r].leader else { return Ok(()) };
        let has_quorum = self.has_quorum(leader);
        let mut kept = Vec::new();
        for mut pending in std::mem::take(&mut self.groups[r].pending) {
            if pending.due > self.t {
                kept.push(pending);
            } else if !pending.is_stuck && !self.is_linked(pending.from, leader) {
                self.note(Event::LostProposal);
            } else if has_quorum {
                self.commit(r, pending.command, pending.promise)?;
            } else if pending.is_stuck || self.dice.chance(0.7) {
                pending.is_stuck = true;
                self.note(Event::StuckProposal);
                kept.push(pending);
            } else {
                self.note(Event::LostProposal);
            }
        }
        self.groups[r].pending.extend(kept);
        for n in self.members[r].clone() {
            let hears = n == leader && has_quorum || n != leader && self.is_linked(leader, n);
            if self.nodes[n].is_up() && self.is_awake(n) && hears {
                self.catch_up(n, n == leader)?;
            }
        }
        Ok(())
    }

    fn keep_or_elect(&mut self, r: usize) -> Checked {
        let members = self.members[r].clone();
        if let Some(leader) = self.groups[r].leader {
            let is_up = self.nodes[leader].is_up() && self.is_awake(leader);
            let hear = members.iter().filter(|m| self.nodes[**m].is_up() && self.is_linked(leader, **m));
            let lost = 2 * hear.count() <= members.len() && self.dice.chance(0.5);
            if is_up && !lost && (self.quiet || !self.dice.chance(0.01)) {
                return Ok(());
            }
            // Entries of the old leader that never got a quorum are gone.
            self.groups[r].leader = None;
            self.groups[r].pending.retain(|pending| !pending.is_stuck);
        }
        if !self.dice.chance(0.5) {
            return Ok(());
        }
        let able = members
            .iter()
            .copied()
            .filter(|m| self.nodes[*m].is_up() && self.is_awake(*m) && self.has_quorum(*m));
        let able: Vec<_> = able.collect();
        if able.is_empty() {
            return Ok(());
        }
        let leader = self.dice.pick(&able);
        self.groups[r].leader = Some(leader);
        self.groups[r].term += 1;
        self.log(|| format!("leader of {r}: {leader}"));
        self.note(Event::LeaderChange);
        self.catch_up(leader, true)?;
        if !self.quiet && !self.is_calm && self.dice.chance(0.4) {
            let on = self.dice.chance(0.6);
            members.iter().for_each(|m| self.slow[leader][*m] = on);
        }
        Ok(())
    }

    pub fn commit(&mut self, r: usize, command: Command, promise: Option<Promise>) -> Checked {
        let group = &mut self.groups[r];
        let index = group.index + 1;
        let (_, changes) = group.state.apply(index, &command);
        if changes.is_empty() {
            return Ok(());
        }
        group.index = index;
        let position = group.state.position();
        group.log.push_back((position, changes));
        let records = group.state.records().clone();
        self.history.entry(FeedId::Raft(names::region(r))).or_default().insert(position, records);
        self.log(|| format!("commit in {r} at {position}: {command:?}"));
        match (&command, promise) {
            (Command::Close { feed, .. }, Some(promise)) => {
                self.closed_at.insert(feed.clone(), self.t);
                self.promises.insert(feed.clone(), promise.clone());
                self.check_close(r, feed, &promise)?;
                if !self.quiet && !self.is_calm && self.dice.chance(0.3) {
                    let writer = self.writers.get(feed).map(|(n, _)| *n).filter(|_| self.dice.chance(0.7));
                    let struck = writer.unwrap_or_else(|| self.dice.pick(&self.members[r]));
                    self.hot = Some((struck, 0));
                }
            }
            (Command::Settle { .. }, Some(promise)) => {
                self.settles.insert((r, position.era.0), promise);
            }
            (Command::DeletePersistent { service, .. }, _) => {
                self.persistent[r].remove(&usize::from(service.service().as_str() == "p1"));
            }
            (Command::PutPersistent { service, instance, .. }, _) => {
                let p = usize::from(service.service().as_str() == "p1");
                self.persistent[r].insert(p, names::value_of(instance));
            }
            _ => {}
        }
        Ok(())
    }

    pub fn set_policy(&mut self, r: usize, peer: usize, mask: u32) -> Checked {
        let policy = Some(std::sync::Arc::new(names::policy(mask)));
        let before = self.groups[r].state.position();
        self.commit(r, Command::SetPolicy { peer: names::region(peer), policy }, None)?;
        let position = self.groups[r].state.position();
        if position != before {
            self.masks.insert((r, peer, position), mask);
        }
        Ok(())
    }

    /// What a region lets out to a peer.
    pub fn mask(&self, r: usize, peer: usize) -> u32 {
        self.masks[&(r, peer, self.policy_since(r, peer))]
    }

    /// The position that names the view in force.
    pub fn policy_since(&self, r: usize, peer: usize) -> Position {
        let state = &self.groups[r].state;
        let era = state.position().era;
        match state.records().get(&RecordKey::Policy(names::region(peer))) {
            Some(Record::Policy(policy)) if policy.since.era == era => policy.since,
            _ => Position { era, seq: 0 },
        }
    }

    /// Brings a member's state machine up to date, by entries or by a snapshot.
    pub fn catch_up(&mut self, n: usize, now: bool) -> Checked {
        let r = self.nodes[n].region;
        let (at, to) = (self.nodes[n].applied, self.groups[r].state.position());
        if at != to {
            if !now && self.dice.chance(0.25) && self.t % 3 != 0 {
                return Ok(());
            }
            let group = &self.groups[r];
            let jumps = at.era != to.era || at < group.base || self.dice.chance(0.08);
            let input = if jumps {
                let records = group.state.records().clone();
                self.note(Event::RaftSnapshot);
                Input::Installed { position: to, records: records.into_iter().collect() }
            } else {
                let newer = group.log.iter().filter(|(position, _)| *position > at);
                let mut changes = BTreeMap::new();
                for change in newer.flat_map(|(_, changes)| changes) {
                    changes.insert(change.key.clone(), change.clone());
                }
                Input::Applied { position: to, changes: changes.into_values().collect() }
            };
            self.nodes[n].applied = to;
            self.step(n, input, Cause::Other)?;
        }
        if self.nodes[n].is_up() && !self.nodes[n].caught_up {
            self.nodes[n].caught_up = true;
            self.step(n, Input::CaughtUp, Cause::Other)?;
        }
        Ok(())
    }
}

/// Whether the greatest record of a key among these feeds is one that is shown.
fn visible_in<'a>(holder: &Holder, r: usize, feeds: impl Iterator<Item = &'a FeedId>, k: usize) -> bool {
    let key = names::record_key(r, k);
    let records = feeds.filter_map(|feed| {
        let record = holder.copy(feed)?.record(&key)?;
        let held = record.registration()?;
        Some(((held.stamp, held.take, feed.clone()), names::is_live(record)))
    });
    records.max().is_some_and(|(_, live)| live)
}
