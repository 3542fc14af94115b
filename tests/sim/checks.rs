//! What must hold of members and of time: closes, READY, marks, claims, and acknowledged deregistrations.

use std::collections::BTreeSet;

use landbridge_model::FeedId;
use landbridge_registry_core::Phase;

use crate::sim::{
    clients::Client,
    core::Core,
    invariants::{
        Invariant, claimed,
        closing::{self, Closing},
        deleted,
        lone::{self, Lone},
        marked::{self, Marked},
        ready::{self, Ready},
    },
    names::{self, KEYS},
    times::{BEAT_LAG, CLOSE, MARGIN, TOMBSTONE, UNVERIFIED},
    world::{Checked, Promise, World},
};

impl World {
    /// I6 at a close: nobody connected is closed, nobody too early, and whoever moved in time is known to the closer.
    pub fn check_close(&self, r: usize, feed: &FeedId, promise: &Promise) -> Checked {
        let Some((n, life)) = self.writers.get(feed).copied().filter(|_| !promise.is_drain) else {
            return Ok(());
        };
        let node = &self.nodes[n];
        let is_here =
            node.is_up() && node.life == life && node.own().as_ref() == Some(feed) && node.drain.is_none();
        let last = self.last.get(feed);
        let held = |k: usize| last.and_then(|records| records.get(&names::record_key(r, k)));
        let had_any = (0..KEYS).any(|k| held(k).is_some_and(names::is_live));
        let crashed = self.fair_crash.get(feed).copied();
        let mut owed = self.moved(r, feed, promise);
        if let Some(crashed) = crashed {
            owed.extend(self.beating(r, n, promise.at - CLOSE - BEAT_LAG, crashed, &held));
            owed.extend(self.returned(r, crashed, &held));
        }
        let closing = Closing {
            now: self.t,
            proposed: promise.at,
            connected_since: is_here.then(|| node.opened.max(node.unwell).max(self.disturbed[r] + 1)),
            crashed: crashed.filter(|_| had_any),
            owed: &owed,
            known: &promise.keys,
        };
        self.judge_at(n, Invariant::Closing, closing::check(&closing).map_err(|why| format!("{feed}: {why}")))
    }

    /// Keys of clients whose beats went on at healthy members since the crash.
    fn beating<'a>(
        &self,
        r: usize,
        n: usize,
        since: i64,
        crashed: i64,
        held: &impl Fn(usize) -> Option<&'a landbridge_model::Record>,
    ) -> Vec<(usize, &'static str)> {
        let others = self.members[r].iter().filter(|m| **m != n);
        let healthy = others.into_iter().all(|m| {
            let node = &self.nodes[*m];
            let quiet = node.unwell.max(node.opened).max(node.boot) <= since;
            node.own().is_some() && node.drain.is_none() && quiet
        });
        if self.nodes[n].is_up() || !healthy || !self.was_calm(r, since) {
            return Vec::new();
        }
        let is_owed = |c: &&Client| {
            let is_beating = c.region == r && c.beats && c.wants && !c.redo;
            let is_old = c.since < crashed && c.last_operation < crashed;
            is_beating && is_old && held(c.key).is_some_and(names::is_beating)
        };
        self.clients.iter().filter(is_owed).map(|c| (c.key, "its client beat on")).collect()
    }

    /// Keys of connections that were back in time at a healthy member (the specification's promise G2, directly).
    fn returned<'a>(
        &self,
        r: usize,
        crashed: i64,
        held: &impl Fn(usize) -> Option<&'a landbridge_model::Record>,
    ) -> Vec<(usize, &'static str)> {
        if !self.was_calm(r, crashed - 4) {
            return Vec::new();
        }
        let is_owed = |c: &&Client| {
            let Some((g, life)) = c.member.filter(|_| c.region == r && !c.beats && c.wants) else {
                return false;
            };
            let node = &self.nodes[g];
            let Some(own) = node.own().filter(|_| node.life == life && node.drain.is_none()) else {
                return false;
            };
            let in_time = crashed < c.last_operation && c.last_operation <= crashed + CLOSE - 10;
            let is_well = node.opened < c.last_operation && node.unwell.max(node.boot) < c.last_operation - 4;
            in_time && is_well && held(c.key).is_some() && self.groups[r].lists(&own)
        };
        self.clients.iter().filter(is_owed).map(|c| (c.key, "its client came back in time")).collect()
    }

    /// Keys of clients that moved, announced by a heartbeat that the closer had heard.
    fn moved(&self, r: usize, feed: &FeedId, promise: &Promise) -> Vec<(usize, &'static str)> {
        let mut owed = Vec::new();
        for (key, record) in self.last.get(feed).into_iter().flatten() {
            let Some(k) = names::number(key).filter(|_| names::is_live(record)) else { continue };
            let others = self.groups[r].listed().into_iter().filter(|other| other != feed);
            let best = others.filter_map(|other| {
                let record = self.last.get(&other)?.get(key)?;
                let held = record.registration()?;
                Some(((held.stamp, held.take, other.clone()), names::is_live(record), other))
            });
            let Some((_, true, other)) = best.max_by(|a, b| a.0.cmp(&b.0)) else { continue };
            let (Some((g, life)), Some(heard)) = (self.writers.get(&other), promise.heard.get(&other)) else {
                continue;
            };
            let node = &self.nodes[*g];
            let is_here = node.is_up() && node.life == *life && node.own().as_ref() == Some(&other);
            let written = self.written.get(&(other.clone(), k)).copied().unwrap_or(self.t);
            let is_announced = *heard > written && promise.at - heard < 4;
            if is_here && is_announced && !self.was_deleted(r, k, promise) {
                owed.push((k, "its client moved, and that was announced"));
            }
        }
        owed
    }

    /// READY (R14): no less than before, than was promised, than a peer shows.
    pub fn check_phase(&mut self, n: usize) -> Checked {
        let Some(Core::Member(member)) = &self.nodes[n].core else { return Ok(()) };
        let (was_ready, is_ready) = (self.nodes[n].ready, member.phase() == Phase::Ready);
        self.nodes[n].ready |= is_ready;
        if was_ready || !is_ready {
            return Ok(());
        }
        self.log(|| format!("{n} is READY"));
        self.judge_at(n, Invariant::Lone, lone::check(&Lone { waits: None, lacks: self.lacking(n) }))?;
        let r = self.nodes[n].region;
        let ready = Ready {
            shown: &(0..KEYS).filter(|k| self.shows(n, r, *k)).collect(),
            promised: &self.promised(n),
            before: &self.shown_before(n),
            stable: &self.shown_by_peers(n),
        };
        self.judge_at(n, Invariant::Ready, ready::check(&ready))
    }

    /// A key of a lone member's checkpoint that it does not show.
    fn lacking(&self, n: usize) -> Option<usize> {
        let (node, r) = (&self.nodes[n], self.nodes[n].region);
        if self.members[r].len() > 1 || !node.loaded.keys().all(|feed| self.groups[r].lists(feed)) {
            return None;
        }
        // A bridge may have known more of an old feed than the disk did.
        let position = |feed: &FeedId| {
            node.holder().and_then(|holder| holder.copy(feed)).map(|copy| copy.position().seq)
        };
        if node.loaded.iter().any(|(feed, seq)| position(feed) != Some(*seq)) {
            return None;
        }
        let own = node.own().and_then(|own| self.last.get(&own));
        let is_buried = |k: usize| {
            own.and_then(|records| records.get(&names::record_key(r, k))).is_some_and(names::is_tombstone)
        };
        node.loaded_keys.iter().copied().find(|k| !self.shows(n, r, *k) && !is_buried(*k))
    }

    /// Whatever a close promised is visible at the first read.
    fn promised(&self, n: usize) -> BTreeSet<usize> {
        let mut owed = BTreeSet::new();
        let r = self.nodes[n].region;
        let Some(holder) = self.nodes[n].holder() else { return owed };
        let raft = FeedId::Raft(names::region(r));
        let Some(at) = holder.copy(&raft).map(|copy| copy.position()) else { return owed };
        let truth = self.truth(r);
        for (feed, promise) in &self.promises {
            let FeedId::Member { region, era, index } = feed else { continue };
            let is_known = *region == names::region(r) && *era == at.era && *index <= at.seq;
            if !is_known || holder.directory(region).contains_key(feed) || holder.copy(feed).is_some() {
                continue;
            }
            for k in promise.keys.iter().filter(|k| truth.contains_key(k)) {
                if !self.was_deleted(r, *k, promise) && !self.was_lost_later(r, *k, feed, promise) {
                    owed.insert(*k);
                }
            }
        }
        owed
    }

    /// What it showed before, if the writer that has it now announced it here.
    fn shown_before(&self, n: usize) -> BTreeSet<usize> {
        let r = self.nodes[n].region;
        let Some(holder) = self.nodes[n].holder() else { return BTreeSet::new() };
        let truth = self.truth(r);
        let is_owed = |k: &&usize| {
            let Some(record) = truth.get(k) else { return false };
            let key = names::record_key(r, **k);
            self.groups[r].listed().into_iter().any(|feed| {
                let beat = holder.heartbeat(&feed).and_then(|beat| self.beaten.get(&(feed.clone(), beat.n)));
                let written = self.written.get(&(feed.clone(), **k)).copied().unwrap_or(self.t);
                let is_fresh = holder.silent_ticks(&feed) < UNVERIFIED as u64;
                let holds = self.last.get(&feed).and_then(|records| records.get(&key)) == Some(record);
                holds && is_fresh && beat.is_some_and(|beat| written < *beat)
            })
        };
        self.nodes[n].before.iter().filter(is_owed).copied().collect()
    }

    /// What a peer has shown for long: the very record, not only the key.
    fn shown_by_peers(&self, n: usize) -> BTreeSet<usize> {
        let (r, long) = (self.nodes[n].region, MARGIN + 6);
        if !self.was_calm(r, self.t - long) {
            return BTreeSet::new();
        }
        let truth = self.truth(r);
        let is_owed = |(k, since): &(&usize, &i64)| {
            let Some(record) = truth.get(k).filter(|_| self.t - *since > long) else { return false };
            let is_shown = self.members[r].iter().any(|m| {
                let peer = &self.nodes[*m];
                let is_old = *m != n && peer.ready && peer.boot < self.t - long;
                is_old && self.winner(*m, r, **k) == record.registration()
            });
            let key = names::record_key(r, **k);
            let holders = self.last.iter().filter(|(_, records)| records.get(&key) == Some(record));
            let written = holders.filter_map(|(feed, _)| self.written.get(&(feed.clone(), **k))).max();
            is_shown && written.is_some_and(|written| *written < self.t - MARGIN)
        };
        self.true_since[r].iter().filter(is_owed).map(|(k, _)| *k).collect()
    }

    /// I12 and the waiting half of I13, once a tick.
    pub fn check_unverified(&mut self) -> Checked {
        for r in 0..self.regions() {
            self.note_late(r);
            for n in self.members[r].clone() {
                let Some(holder) = self.nodes[n].holder() else { continue };
                for feed in holder.directory(&names::region(r)).keys() {
                    if holder.own() != Some(feed) && holder.copy(feed).is_some() {
                        self.check_mark(n, feed)?;
                    }
                }
                self.check_lone(n)?;
            }
        }
        Ok(())
    }

    /// Notes who has yet to be told by a relay what another member has heard already.
    fn note_late(&mut self, r: usize) {
        for feed in self.groups[r].listed() {
            let n_at = |m: usize| Some(self.nodes[m].holder()?.heartbeat(&feed).map_or(0, |beat| beat.n));
            let heard: Vec<_> = self.members[r].iter().filter_map(|m| Some((*m, n_at(*m)?))).collect();
            let newest = heard.iter().map(|(_, n)| *n).max().unwrap_or(0);
            for (m, _) in heard.into_iter().filter(|(_, n)| *n < newest) {
                self.nodes[m].late.insert(feed.clone(), self.t);
            }
        }
    }

    fn check_mark(&self, n: usize, feed: &FeedId) -> Checked {
        let (Some((w, life)), Some(holder)) = (self.writers.get(feed), self.nodes[n].holder()) else {
            return Ok(());
        };
        let (writer, here) = (&self.nodes[*w], &self.nodes[n]);
        let is_there = writer.is_up() && writer.life == *life && writer.own().as_ref() == Some(feed);
        let settled = writer.unwell.max(here.unwell).max(writer.opened).max(here.boot);
        let calm = self.disturbed[here.region] + 1;
        let crashed = self.crashed_at.get(feed).copied().unwrap_or(self.t);
        // A relay that was cut off may bring news that is old, but news here.
        let late = here.late.get(feed).copied().unwrap_or(crashed);
        let marked = Marked {
            now: self.t,
            is_marked: holder.unverified(feed),
            connected_since: is_there.then_some(settled.max(calm)),
            gone_since: (!is_there).then(|| here.unwell.max(crashed).max(late)),
            silent: holder.silent_ticks(feed) as i64,
        };
        self.judge_at(n, Invariant::Marked, marked::check(&marked).map_err(|why| format!("{why}: {w},")))
    }

    /// I13: a lone member with a checkpoint is READY soon after its feed is open.
    fn check_lone(&self, n: usize) -> Checked {
        let (node, r) = (&self.nodes[n], self.nodes[n].region);
        let Some(holder) = node.holder().filter(|_| self.members[r].len() == 1) else { return Ok(()) };
        let near = names::region(r);
        let waits = node.own().is_some() && node.caught_up && !node.loaded.is_empty() && !node.ready;
        let covers = |(feed, entry): (&FeedId, &landbridge_model::DirectoryEntry)| {
            holder.own() == Some(feed) || node.loaded.get(feed).is_some_and(|seq| *seq >= entry.need)
        };
        let may_be = !holder.settling(&near) && node.drain.is_none();
        let waits = waits && may_be && holder.directory(&near).iter().all(covers);
        let lone = Lone { waits: waits.then_some(self.t - node.opened), lacks: None };
        self.judge_at(n, Invariant::Lone, lone::check(&lone))
    }

    /// I10 at the member itself: after the end of one claim another live one still shows.
    pub fn check_ended(&self, n: usize, life: u32, k: usize) -> Checked {
        let lives =
            self.sessions.get(&(n, life, k)).is_some_and(|held| held.values().any(|(_, broken)| !broken));
        let Some(holder) = self.nodes[n].holder().filter(|_| lives) else { return Ok(()) };
        let r = self.nodes[n].region;
        let winner = holder.winner(&names::region(r), &names::service(k), &names::instance(r));
        let is_shown = |(feed, record): (&FeedId, &landbridge_model::Registration)| {
            record.instance().is_some() || Some(feed) != holder.own()
        };
        self.judge_at(n, Invariant::Claimed, claimed::check(k, lives, winner.is_some_and(is_shown)))
    }

    /// I9: a deregistered key stays absent, also after its tombstone went.
    pub fn check_watches(&mut self) -> Checked {
        let mut kept = Vec::new();
        for watch in std::mem::take(&mut self.watches) {
            if watch.due > self.t {
                kept.push(watch);
                continue;
            }
            let client = &self.clients[watch.client];
            let (r, k) = (client.region, client.key);
            let node = &self.nodes[watch.at];
            let is_same = node.is_up() && node.life == watch.life && node.own().as_ref() == Some(&watch.own);
            if client.operations != watch.operations || !is_same || !self.was_calm(r, watch.since - 4) {
                continue;
            }
            let knows = |m: usize| {
                let holder = self.nodes[m].holder();
                let lists = holder.is_some_and(|h| h.directory(&names::region(r)).contains_key(&watch.own));
                lists && self.nodes[m].ready && self.nodes[m].boot < watch.since
            };
            let members = self.members[r].iter().copied().filter(|m| knows(*m));
            let members: Vec<_> = members.map(|m| (m, self.shows(m, r, k))).collect();
            self.judge(Invariant::Deleted, deleted::check(k, &members))?;
            if self.t < watch.since + 3 * TOMBSTONE {
                kept.push(watch);
            }
        }
        self.watches = kept;
        Ok(())
    }

    /// What is still missing until all agree; none when nothing is.
    pub fn unsettled(&self) -> Option<String> {
        (0..self.regions()).find_map(|r| self.unsettled_region(r))
    }

    fn unsettled_region(&self, r: usize) -> Option<String> {
        let group = &self.groups[r];
        if group.is_settling() || group.leader.is_none() {
            return Some("settling".into());
        }
        let listed = group.listed();
        for m in &self.members[r] {
            let own = self.nodes[*m].own();
            if !self.nodes[*m].ready || !own.is_some_and(|own| listed.contains(&own)) {
                return Some(format!("member {m} not ready"));
            }
        }
        if listed.len() != self.members[r].len() {
            return Some("dead feeds listed".into());
        }
        (0..self.nodes.len()).find_map(|n| self.unsettled_node(n, r, &listed))
    }

    fn unsettled_node(&self, n: usize, r: usize, listed: &[FeedId]) -> Option<String> {
        let region = names::region(r);
        let holder = self.nodes[n].holder()?;
        let raft = FeedId::Raft(region.clone());
        let at = holder.copy(&raft).map(|copy| copy.position());
        if at != Some(self.groups[r].state.position()) {
            return Some(format!("node {n} raft copy of {region}"));
        }
        let held: Vec<_> =
            holder.copies().map(|(f, _)| f).filter(|f| *f.region() == region && !f.is_raft()).collect();
        if held.len() != listed.len() || !held.iter().all(|feed| listed.contains(feed)) {
            return Some(format!("node {n} feeds of {region}: {held:?} instead of {listed:?}"));
        }
        let is_near = self.nodes[n].region == r;
        for feed in held {
            let copy = holder.copy(feed)?;
            if Some(copy.position()) != self.end_of(feed) {
                return Some(format!("node {n} lags in {feed}"));
            }
            if self.is_exact(n, feed) != Some(true) {
                return Some(format!("node {n} differs in {feed}"));
            }
            if !is_near && copy.view().policy != self.policy_since(r, self.nodes[n].region) {
                return Some(format!("node {n} old view of {feed}"));
            }
        }
        self.differs_from_model(n, r)
    }
}
