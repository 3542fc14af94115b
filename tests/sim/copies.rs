//! What must hold of copies after every single step: I1 to I4, I7, I8, and continuity (I6) when something vanishes.

use std::collections::BTreeSet;

use landbridge_feed::Message;
use landbridge_model::{FeedId, Position, View};

use crate::sim::{
    clients::Client,
    invariants::{
        Held, Invariant, claimed, closed, doubted, exact, expired, forward,
        gone::{self, Gone},
        home, open,
    },
    names::{self, KEYS, Records},
    node::Seen,
    times,
    world::{Cause, Checked, World},
};

impl World {
    /// Looks at everything that a step has changed at a process.
    pub fn observe(&mut self, n: usize, cause: Cause) -> Checked {
        let Some(holder) = self.nodes[n].holder() else { return Ok(()) };
        let seen = &self.nodes[n].seen;
        let fresh = holder
            .copies()
            .filter(|(feed, copy)| seen.get(*feed).is_none_or(|seen| seen.generation != copy.generation()));
        let changed: Vec<FeedId> = fresh.map(|(feed, _)| feed.clone()).collect();
        let gone: Vec<FeedId> = seen.keys().filter(|feed| holder.copy(feed).is_none()).cloned().collect();
        if changed.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let own = holder.own().cloned();
        if let Some(own) = own.filter(|own| changed.contains(own)) {
            self.note_writing(n, &own, cause);
        }
        for feed in &changed {
            self.check_copy(n, feed)?;
        }
        for feed in &gone {
            self.check_drop(n, feed)?;
        }
        self.check_vanished(n, &changed, &gone)
    }

    /// Takes the writer's word down.
    fn note_writing(&mut self, n: usize, own: &FeedId, cause: Cause) {
        let Some(copy) = self.nodes[n].holder().and_then(|holder| holder.copy(own)) else { return };
        let now: Records = copy.records().map(|(k, v)| (k.clone(), v.clone())).collect();
        let position = copy.position();
        let before = self.last.insert(own.clone(), now.clone()).unwrap_or_default();
        let r = self.nodes[n].region;
        for k in 0..KEYS {
            let key = names::record_key(r, k);
            let (old, new) = (before.get(&key), now.get(&key));
            if old == new {
                continue;
            }
            match new.filter(|record| names::is_live(record)) {
                Some(_) => {
                    self.written.insert((own.clone(), k), self.t);
                }
                None => {
                    self.deleted.entry((r, k)).or_default().push((own.clone(), position.seq));
                    self.why.insert((own.clone(), k), cause);
                    self.note_lapse(r, k, old, cause);
                }
            }
        }
        self.history.entry(own.clone()).or_default().insert(position, now);
    }

    /// A change acknowledged by one member that could not copy it to the others before its lease ran out may be lost
    /// (a stated limit).
    fn note_lapse(&mut self, r: usize, k: usize, old: Option<&landbridge_model::Record>, cause: Cause) {
        let held = old.and_then(|record| record.registration()).and_then(|held| held.instance());
        let value = held.map(|instance| names::value_of(instance));
        let t = self.t;
        for client in self.clients.iter_mut().filter(|c| (c.region, c.key) == (r, k) && c.beats) {
            let is_late = client.spread.is_none_or(|spread| spread > t - times::LEASE + 6);
            client.redo |= cause == Cause::Tick && client.wants && client.acknowledged == value && is_late;
        }
    }

    /// Steps inside one step: what the writer tells of its own feed completes its history.
    pub fn note_batch(&mut self, n: usize, message: &Message) {
        let Message::Batch { feed, view, from, to, changes } = message else { return };
        let Some(holder) = self.nodes[n].holder() else { return };
        if holder.own() != Some(feed) || *view != View::WHOLE {
            return;
        }
        let Some(history) = self.history.get_mut(feed) else { return };
        if history.contains_key(to) {
            return;
        }
        let Some((_, base)) = history.range(*from..*to).next_back() else { return };
        let mut records = base.clone();
        for change in changes {
            match &change.record {
                Some(record) => records.insert(change.key.clone(), record.clone()),
                None => records.remove(&change.key),
            };
        }
        history.insert(*to, records);
    }

    fn check_copy(&mut self, n: usize, feed: &FeedId) -> Checked {
        let Some(copy) = self.nodes[n].holder().and_then(|holder| holder.copy(feed)) else { return Ok(()) };
        let (view, position, generation) = (copy.view().clone(), copy.position(), copy.generation());
        let near = names::region(self.nodes[n].region);
        self.judge_at(n, Invariant::Home, home::check(&near, feed, &view))?;
        let after = Seen { view, position, generation };
        match self.nodes[n].seen.get(feed) {
            Some(before) => self.judge_at(n, Invariant::Forward, forward::check(before, &after))?,
            None => self.judge_at(n, Invariant::Closed, closed::check(feed, &self.nodes[n].dropped))?,
        }
        self.nodes[n].seen.insert(feed.clone(), after);
        match self.exactness(n, feed) {
            Some(Err(_)) if self.corrupts && self.is_tainted(feed) => {
                self.nodes[n].dirty.insert(feed.clone());
                Ok(())
            }
            exactness => {
                self.nodes[n].dirty.remove(feed);
                let held = exactness.unwrap_or(Ok(()));
                self.judge_at(n, Invariant::Exact, held.map_err(|why| format!("{feed}: {why}")))
            }
        }
    }

    /// Whether anybody's copy of a feed, in memory or on a disk, was corrupted.
    fn is_tainted(&self, feed: &FeedId) -> bool {
        self.nodes
            .iter()
            .any(|node| node.dirty.contains(feed) || node.disk.get(feed).is_some_and(|saved| saved.is_dirty))
    }

    /// Whether a copy is what the writer held there; none if nobody wrote down what that was.
    pub fn is_exact(&self, n: usize, feed: &FeedId) -> Option<bool> {
        self.exactness(n, feed).map(|held| held.is_ok())
    }

    fn exactness(&self, n: usize, feed: &FeedId) -> Option<Held> {
        let copy = self.nodes[n].holder()?.copy(feed)?;
        let whole = self.history.get(feed)?.get(&copy.position())?;
        let o = names::region_number(feed.region());
        let here = copy.records();
        if copy.view().peer.is_none() {
            return Some(exact::check(here, whole));
        }
        let mask = *self.masks.get(&(o, self.nodes[n].region, copy.view().policy))?;
        Some(exact::check(here, &names::projected(whole, mask, &names::region(self.nodes[n].region))))
    }

    /// A copy went: its feed must be closed, and what it showed must be shown by others if its closer knew them.
    fn check_drop(&mut self, n: usize, feed: &FeedId) -> Checked {
        self.nodes[n].seen.remove(feed);
        self.nodes[n].dirty.remove(feed);
        self.nodes[n].dropped.insert(feed.clone());
        let o = names::region_number(feed.region());
        self.log(|| format!("{n} drops {feed}"));
        self.judge_at(n, Invariant::Open, open::check(feed, &self.groups[o].listed()))
    }

    fn check_vanished(&mut self, n: usize, changed: &[FeedId], gone: &[FeedId]) -> Checked {
        for o in 0..self.regions() {
            let visible: BTreeSet<_> = (0..KEYS).filter(|k| self.shows(n, o, *k)).collect();
            let before = std::mem::replace(&mut self.nodes[n].visible[o], visible.clone());
            for k in before.difference(&visible) {
                let of_region = |feed: &&FeedId| *feed.region() == names::region(o);
                for feed in gone.iter().filter(of_region) {
                    self.check_gone(n, o, *k, feed)?;
                }
                for feed in changed.iter().filter(of_region).filter(|feed| !feed.is_raft()) {
                    self.check_taken(n, o, *k, feed)?;
                }
            }
        }
        Ok(())
    }

    /// A key vanished with a dropped feed.
    fn check_gone(&self, n: usize, o: usize, k: usize, feed: &FeedId) -> Checked {
        let Some(holder) = self.nodes[n].holder() else { return Ok(()) };
        let raft = FeedId::Raft(names::region(o));
        let era = holder.copy(&raft).map_or(0, |copy| copy.position().era.0);
        let is_covered = !matches!(feed, FeedId::Member { era: born, .. } if born.0 < era);
        let Some(promise) = self.promises.get(feed).or_else(|| self.settles.get(&(o, era))) else {
            let gone = Gone { is_covered, is_promised: false, is_exported: false, is_explained: false };
            return self.judge_at(n, Invariant::Gone, gone::check(&gone));
        };
        let all_select =
            holder.copies().filter(|(feed, _)| *feed.region() == names::region(o)).all(|(_, copy)| {
                let mask = self.masks.get(&(o, self.nodes[n].region, copy.view().policy));
                copy.view().peer.is_none() || mask.is_some_and(|mask| mask >> k & 1 == 1)
            });
        let is_explained = self.was_deleted(o, k, promise) || self.was_lost_later(o, k, feed, promise);
        let is_promised = promise.keys.contains(&k);
        let gone = Gone { is_covered: true, is_promised, is_exported: all_select, is_explained };
        let held = gone::check(&gone).map_err(|why| format!("key {k} of {o} {why}"));
        self.judge_at(n, Invariant::Gone, held)
    }

    /// Whether a deletion that the closer had not seen explains an absence.
    pub fn was_deleted(&self, o: usize, k: usize, promise: &crate::sim::world::Promise) -> bool {
        let deletions = self.deleted.get(&(o, k)).into_iter().flatten();
        deletions.into_iter().any(|(feed, seq)| promise.cursor.get(feed).is_none_or(|cursor| seq > cursor))
    }

    /// Whether another close took the key, later or still unknown to this closer.
    pub fn was_lost_later(
        &self,
        o: usize,
        k: usize,
        feed: &FeedId,
        promise: &crate::sim::world::Promise,
    ) -> bool {
        let closes = self.promises.iter().any(|(other, theirs)| {
            let is_later = self.closed_at.get(other).is_some_and(|at| *at >= promise.at);
            let is_near = *other.region() == names::region(o) && other != feed;
            is_near && (is_later || promise.cursor.contains_key(other)) && !theirs.keys.contains(&k)
        });
        let settles = self
            .settles
            .iter()
            .any(|((at, _), theirs)| *at == o && theirs.at >= promise.at && !theirs.keys.contains(&k));
        closes || settles
    }

    /// A key vanished with a change of a feed: by what its writer did.
    fn check_taken(&self, n: usize, o: usize, k: usize, feed: &FeedId) -> Checked {
        let Some(holder) = self.nodes[n].holder() else { return Ok(()) };
        let record = holder.copy(feed).and_then(|copy| copy.record(&names::record_key(o, k)));
        if record.is_some_and(names::is_live) || self.nodes[n].region != o {
            return Ok(());
        }
        match self.why.get(&(feed.clone(), k)) {
            Some(Cause::Tick) if self.nodes[n].ready => {
                let is_its = |c: &&Client| (c.region, c.key) == (o, k) && c.wants && c.beats;
                for client in self.clients.iter().filter(is_its) {
                    let answered = client.since.max(client.unheard);
                    let held = expired::check(self.t, answered, self.disturbed[o]);
                    self.judge_at(n, Invariant::Expired, held.map_err(|why| format!("{why}, key {k},")))?;
                }
            }
            Some(Cause::End) if self.was_calm(o, self.t - times::MARGIN) => {
                return self.check_claims_elsewhere(n, o, k, feed);
            }
            Some(Cause::Tick | Cause::End | Cause::Deregister | Cause::Other) | None => {}
        }
        Ok(())
    }

    /// I10: the end of a claim never hides another live one, at whatever member it stands.
    fn check_claims_elsewhere(&self, n: usize, o: usize, k: usize, feed: &FeedId) -> Checked {
        let Some(holder) = self.nodes[n].holder() else { return Ok(()) };
        let winner = holder.winner(&names::region(o), &names::service(k), &names::instance(o));
        let is_shown = winner.is_some_and(|(won, _)| won != feed);
        let lives = self.sessions.iter().filter(|((_, _, key), _)| *key == k).any(|((m, life, _), held)| {
            let node = &self.nodes[*m];
            let is_its = node.region == o && node.life == *life && node.drain.is_none();
            let Some(own) = node.own().filter(|_| is_its) else { return false };
            let position = |holder: &landbridge_feed::Holder| holder.copy(&own).map(|copy| copy.position());
            let is_level = position(holder).is_some() && position(holder) == node.holder().and_then(position);
            is_level && held.values().any(|(since, broken)| !broken && *since < self.t - times::MARGIN)
        });
        self.judge_at(n, Invariant::Claimed, claimed::check(k, lives, is_shown))
    }

    /// I11: a verification never doubts a correct copy.
    pub fn check_doubt(&self, n: usize, feed: &FeedId) -> Checked {
        let held = doubted::check(self.is_exact(n, feed));
        self.judge_at(n, Invariant::Doubted, held.map_err(|why| format!("{why}: {feed}")))
    }

    /// The position a member's own feed has reached.
    pub fn end_of(&self, feed: &FeedId) -> Option<Position> {
        let (n, life) = self.writers.get(feed)?;
        let node = &self.nodes[*n];
        (node.life == *life).then(|| node.holder()?.copy(feed).map(|copy| copy.position()))?
    }
}
