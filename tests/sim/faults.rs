//! What goes wrong: crashes, cuts, restores, clock steps, drains, filters, disks, and one drama.

use std::collections::BTreeSet;

use landbridge_model::{FeedId, Position, Record, View};
use landbridge_registry_core::{Command, Input};

use crate::sim::{
    names::{self, KEYS, Records},
    node::{Given, Kind, Saved},
    shape::Shape,
    tally::Event,
    times,
    world::{Cause, Checked, World},
};

/// A member dies, its client moves and deregisters at a survivor, and there is no quorum for longer than a tombstone lives.
#[derive(Clone, Copy)]
pub struct Drama {
    victim: usize,
    survivor: usize,
    third: usize,
    client: usize,
}

impl World {
    pub fn crash(&mut self, n: usize, disk: bool) {
        if !self.nodes[n].is_up() {
            return;
        }
        self.log(|| format!("crash of {n}, disk: {disk}"));
        self.note(if disk { Event::CrashWithDisk } else { Event::CrashWithoutDisk });
        let (r, t) = (self.nodes[n].region, self.t);
        if let Some(own) = self.nodes[n].own() {
            self.crashed_at.insert(own.clone(), t);
            if self.nodes[n].unwell <= t - times::CLOSE - 6 {
                self.fair_crash.insert(own, t);
            }
        }
        let others: Vec<_> =
            self.members[r].iter().copied().filter(|m| *m != n && self.nodes[*m].is_up()).collect();
        let lone = self.nodes[n].is_member() && others.is_empty();
        for client in self.clients.iter_mut().filter(|client| client.region == r) {
            // Nobody is left: a beating client may fall back to the value of an older checkpoint (a stated limit).
            client.redo |= lone;
            // Acknowledged by this member alone, not yet copied: may be lost (a stated limit).
            let last = client.last.as_ref().filter(|l| (l.at, l.life) == (n, self.nodes[n].life));
            client.redo |= last.is_some_and(|last| {
                others.iter().any(|m| {
                    let copy = self.nodes[*m].holder().and_then(|holder| holder.copy(&last.own));
                    copy.is_none_or(|copy| copy.position().seq < last.seq)
                })
            });
        }
        let was_ready = self.nodes[n].ready;
        let before = (0..KEYS).filter(|k| was_ready && self.shows(n, r, *k)).collect();
        self.nodes[n].forget();
        self.nodes[n].before = before;
        if !disk {
            self.nodes[n].disk.clear();
            self.nodes[n].keepsake = None;
            self.nodes[n].applied = Position::NONE;
        }
        self.nodes[n].wake = t + self.dice.pick(&[1, 2, 5, 12, 25, 45]);
    }

    pub fn start(&mut self, n: usize) -> Checked {
        let r = self.nodes[n].region;
        self.log(|| format!("start of {n}"));
        self.next_seed += 1;
        let (members, seed, ring, credit) = (self.members[r].len(), self.next_seed, self.ring, self.credit);
        let (now, unix_ms) = (self.now(), self.unix_ms(n));
        self.nodes[n].build(&Given { members, seed, ring, credit, now, unix_ms });
        self.nodes[n].boot = self.t;
        self.check_keepsake(n)?;
        self.step(n, Input::Tick { unix_ms: self.unix_ms(n), leading: None }, Cause::Other)?;
        let mut disk = self.nodes[n].disk.clone();
        let own_raft = FeedId::Raft(names::region(r));
        if self.nodes[n].is_member() {
            self.install(n, &own_raft)?;
            disk.remove(&own_raft);
        }
        self.nodes[n].dirty = disk.iter().filter(|(_, s)| s.is_dirty).map(|(f, _)| f.clone()).collect();
        for (feed, saved) in disk {
            let records = saved.records.into_iter().collect();
            let (view, position) = (saved.view, saved.position);
            self.step(n, Input::Loaded { feed, view, position, records }, Cause::Other)?;
        }
        let Some(holder) = self.nodes[n].holder() else { return Ok(()) };
        let near = names::region(r);
        let loaded = holder.copies().filter(|(feed, _)| !feed.is_raft() && *feed.region() == near);
        let loaded: std::collections::BTreeMap<_, _> =
            loaded.map(|(feed, copy)| (feed.clone(), copy.position().seq)).collect();
        let all_listed = loaded.keys().all(|feed| holder.directory(&near).contains_key(feed));
        let listed = loaded.into_iter().filter(|(feed, _)| holder.directory(&near).contains_key(feed));
        let listed: std::collections::BTreeMap<_, _> = listed.collect();
        if members == 1 && self.nodes[n].is_member() && !listed.is_empty() && all_listed {
            self.nodes[n].loaded_keys = (0..KEYS).filter(|k| self.shows(n, r, *k)).collect();
        }
        self.nodes[n].loaded = listed;
        Ok(())
    }

    /// A member's Raft state comes back from its own disk, or from the group's last snapshot.
    fn install(&mut self, n: usize, raft: &FeedId) -> Checked {
        let r = self.nodes[n].region;
        let (at, base) = (self.nodes[n].applied, self.groups[r].base);
        let is_usable = at.era == base.era && at >= Position::NONE && self.history[raft].contains_key(&at);
        let position = if is_usable { at } else { base };
        self.nodes[n].applied = position;
        let records = self.history[raft][&position].clone();
        self.step(n, Input::Installed { position, records: records.into_iter().collect() }, Cause::Other)
    }

    pub fn meddle(&mut self) -> Checked {
        if self.drama.is_some() {
            self.play()?;
        } else if self.dice.chance(self.fault_rate) {
            self.fault()?;
        }
        if self.shape == Shape::Whole {
            self.write_without_quorum();
        }
        // A member is struck right after a close.
        if let Some((n, waited)) = self.hot {
            self.hot = Some((n, waited + 1));
            if self.dice.chance(0.5) || waited > 2 {
                self.hot = None;
                self.crash(n, true);
                self.nodes[n].wake = self.t + self.dice.range(0, 2);
            }
        }
        Ok(())
    }

    /// Somebody writes at a leader that has lost its quorum and does not know it yet.
    fn write_without_quorum(&mut self) {
        for r in 0..self.regions() {
            let alone = self.groups[r].leader.filter(|leader| {
                self.nodes[*leader].is_up() && self.is_awake(*leader) && !self.has_quorum(*leader)
            });
            if let Some(leader) = alone.filter(|_| self.dice.chance(0.1)) {
                self.put_persistent_at(leader);
            }
        }
    }

    fn fault(&mut self) -> Checked {
        let all: Vec<_> = (0..self.nodes.len()).collect();
        // Most are mended by a reconcile before a verification sees them: it takes many for one to be doubted.
        if self.corrupts && self.dice.chance(0.2) {
            let n = self.dice.pick(&all);
            self.save_all(n);
            self.corrupt(n);
        }
        let x = self.dice.part();
        let r = self.dice.range(0, self.regions() as i64) as usize;
        if x < 0.030 {
            let (n, disk) = (self.dice.pick(&all), self.dice.chance(0.6));
            self.crash(n, disk);
        } else if x < 0.034 {
            let disk = self.dice.chance(0.7);
            self.note(Event::RegionRestart);
            self.members[r].clone().into_iter().for_each(|n| self.crash(n, true));
            if self.dice.chance(0.4) {
                self.bridges[r].clone().into_iter().for_each(|n| self.crash(n, disk));
            }
        } else if x < 0.037 {
            self.restore(r);
        } else if x < 0.045 {
            self.drain_one()?;
        } else if x < 0.10 {
            self.cut_some(&all);
        } else if x < 0.14 {
            if self.dice.chance(0.5) {
                self.heal();
            } else {
                let (a, b) = (self.dice.pick(&all), self.dice.pick(&all));
                self.cut[a][b] = false;
            }
        } else if x < 0.16 {
            let (mut a, mut b) = (self.dice.pick(&all), self.dice.pick(&all));
            if self.is_calm && !self.dice.chance(0.1) {
                let (p, q) = self.two_regions();
                (a, b) = (self.dice.pick(&self.region_nodes(p)), self.dice.pick(&self.region_nodes(q)));
            }
            self.slow[a][b] = a != b && !self.slow[a][b];
        } else if x < 0.18 {
            let n = self.dice.pick(&all);
            self.nodes[n].skew = self.dice.range(-8, 9);
            self.note(Event::ClockStep);
        } else if x < 0.20 {
            if self.groups[r].leader.is_some() {
                let mask = self.dice.pick(&[0xffff, 0xffff, 0x0f07, 0x0f0b, 0x030f]);
                let peer = self.another_region(r);
                self.set_policy(r, peer, mask)?;
                self.note(Event::PolicyChange);
            }
        } else if x < 0.25 {
            self.put_persistent(r);
        } else if x < 0.27 {
            self.save();
        } else if (0.36..0.37).contains(&x) {
            for r in 0..self.regions() {
                if self.dice.chance(0.5) {
                    self.groups[r].compact();
                }
                if self.dice.chance(0.3) {
                    self.groups[r].back_up();
                }
            }
        } else if self.shape == Shape::Whole {
            self.trouble(x, r)?;
        }
        Ok(())
    }

    /// A region comes back from a backup, in a new era.
    fn restore(&mut self, r: usize) {
        self.note(Event::Restore);
        self.members[r].clone().into_iter().for_each(|n| self.crash(n, false));
        let back = self.dice.range(0, 9) as u64;
        let masks: Vec<_> = (0..self.regions()).map(|peer| self.backup_mask(r, peer)).collect();
        self.groups[r].restore(r, back);
        let position = self.groups[r].state.position();
        let records = self.groups[r].state.records().clone();
        self.history.entry(FeedId::Raft(names::region(r))).or_default().insert(position, records.clone());
        for (peer, mask) in masks.into_iter().enumerate() {
            self.masks.insert((r, peer, Position { seq: 0, ..position }), mask);
        }
        self.persistent[r] = (0..2).filter_map(|p| Some((p, persistent_value(&records, r, p)?))).collect();
        for n in self.bridges[r].clone() {
            if self.dice.chance(0.3) {
                self.crash(n, true);
            }
        }
        self.log(|| format!("restore of {r} to {position}"));
    }

    /// The mask of the policy in the backup.
    fn backup_mask(&self, r: usize, peer: usize) -> u32 {
        let key = landbridge_model::RecordKey::Policy(names::region(peer));
        let policies = self.groups[r].backup.get(&key).and_then(|record| match record {
            Record::Policy(policy) => Some(policy.since),
            _ => None,
        });
        policies.and_then(|since| self.masks.get(&(r, peer, since)).copied()).unwrap_or(0)
    }

    /// Two different regions; with only two no dice are thrown for them.
    pub fn two_regions(&mut self) -> (usize, usize) {
        if self.regions() == 2 {
            return (0, 1);
        }
        let p = self.dice.range(0, self.regions() as i64) as usize;
        (p, self.another_region(p))
    }

    pub fn another_region(&mut self, r: usize) -> usize {
        match self.regions() as i64 {
            2 => 1 - r,
            regions => (r + self.dice.range(1, regions) as usize) % regions as usize,
        }
    }

    fn drain_one(&mut self) -> Checked {
        let able: Vec<_> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].own().is_some() && self.nodes[*n].drain.is_none() && self.is_awake(*n))
            .collect();
        if able.is_empty() {
            return Ok(());
        }
        let n = self.dice.pick(&able);
        self.log(|| format!("drain of {n}"));
        self.note(Event::Drain);
        self.nodes[n].drain = Some(self.t);
        self.step(n, Input::Drain, Cause::Other)
    }

    fn cut_some(&mut self, all: &[usize]) {
        let (mut a, b) = (self.dice.pick(all), self.dice.pick(all));
        if a == b {
            return;
        }
        let r = self.nodes[a].region;
        let same = r == self.nodes[b].region;
        let both_members = self.nodes[a].is_member() && self.nodes[b].is_member();
        let has_cut = |w: &Self| w.members[r].iter().any(|p| w.members[r].iter().any(|q| w.cut[*p][*q]));
        if same && self.is_calm && both_members && has_cut(self) {
            return;
        }
        let y = self.dice.part();
        if y < 0.3 || (self.is_calm && same) {
            self.cut[a][b] = true;
            self.note(Event::CutOneWay);
        } else if y < 0.55 {
            (self.cut[a][b], self.cut[b][a]) = (true, true);
            self.note(Event::CutBothWays);
        } else if y < 0.75 && !self.is_calm {
            self.note(Event::CutMember);
            if self.dice.chance(0.5) {
                a = self.groups[r].leader.unwrap_or(a);
            }
            for z in self.region_nodes(self.nodes[a].region) {
                if z != a {
                    self.cut[a][z] |= y < 0.68;
                    self.cut[z][a] |= !(0.62..0.68).contains(&y);
                }
            }
        } else {
            let (p, q) = self.two_regions();
            self.note(Event::CutRegions);
            for p in self.region_nodes(p) {
                for q in self.region_nodes(q) {
                    (self.cut[p][q], self.cut[q][p]) = (true, true);
                }
            }
        }
        self.log(|| format!("cut of {a} and {b}: {y:.2}"));
    }

    pub fn heal(&mut self) {
        self.cut.iter_mut().for_each(|row| row.fill(false));
    }

    pub fn put_persistent(&mut self, r: usize) {
        let up: Vec<_> =
            self.members[r].iter().copied().filter(|m| self.nodes[*m].is_up() && self.is_awake(*m)).collect();
        if up.is_empty() {
            return;
        }
        let n = self.dice.pick(&up);
        self.put_persistent_at(n);
    }

    fn put_persistent_at(&mut self, n: usize) {
        let r = self.nodes[n].region;
        self.next_value += 1;
        let instance = names::valued(self.next_value);
        let service = names::persistent(self.dice.range(0, 2) as usize);
        self.note(Event::PersistentWrite);
        self.propose(n, Command::PutPersistent { service, key: names::instance(r), instance });
    }

    /// Processes save copies: bridges all at once, members lazily and feed by feed.
    fn save(&mut self) {
        for n in 0..self.nodes.len() {
            let is_member = self.nodes[n].is_member();
            if !self.nodes[n].is_up() || !self.dice.chance(0.5) {
                continue;
            }
            if self.nodes[n].kind == Kind::Gateway || !self.is_awake(n) {
                continue;
            }
            if self.nodes[n].has_slow_disk && !self.dice.chance(0.1) {
                continue;
            }
            let held = self.held(n);
            let present: BTreeSet<_> = held.iter().map(|(feed, _)| feed.clone()).collect();
            if !is_member {
                self.nodes[n].disk.clear();
            }
            let gone: Vec<_> =
                self.nodes[n].disk.keys().filter(|feed| !present.contains(*feed)).cloned().collect();
            for feed in gone {
                if self.dice.chance(0.7) {
                    self.nodes[n].disk.remove(&feed);
                }
            }
            for (feed, saved) in held {
                if !is_member || self.dice.chance(0.8) {
                    self.nodes[n].disk.insert(feed, saved);
                }
            }
        }
    }

    /// What a process would save: its copies, but for a member's Raft feed, which has a disk of its own.
    fn held(&self, n: usize) -> Vec<(FeedId, Saved)> {
        let Some(holder) = self.nodes[n].holder() else { return Vec::new() };
        let own_raft = FeedId::Raft(names::region(self.nodes[n].region));
        let copies = holder.copies().filter(|(feed, _)| !(self.nodes[n].is_member() && **feed == own_raft));
        let saved = copies.map(|(feed, copy)| {
            let records: Records = copy.records().map(|(k, v)| (k.clone(), v.clone())).collect();
            let (view, position): (View, _) = (copy.view().clone(), copy.position());
            let is_dirty = self.nodes[n].dirty.contains(feed);
            (feed.clone(), Saved { view, position, records, is_dirty })
        });
        saved.collect()
    }

    /// Everything that a process holds is on its disk.
    pub fn save_all(&mut self, n: usize) {
        if self.nodes[n].is_up() && self.nodes[n].kind != Kind::Gateway {
            self.nodes[n].disk = self.held(n).into_iter().collect();
        }
    }

    /// A disk changes silently, and its process restarts on it: a record lost, altered or extra.
    fn corrupt(&mut self, n: usize) {
        let own = self.nodes[n].own();
        let feeds: Vec<_> =
            self.nodes[n].disk.keys().filter(|f| !f.is_raft() && Some(*f) != own.as_ref()).cloned().collect();
        if !self.nodes[n].is_up() || feeds.is_empty() {
            return;
        }
        let feed = self.dice.pick(&feeds);
        let k = self.dice.range(0, KEYS as i64) as usize;
        let lose = self.dice.chance(0.5);
        let key = names::record_key(names::region_number(feed.region()), k);
        let Some(saved) = self.nodes[n].disk.get_mut(&feed) else { return };
        saved.is_dirty = true;
        match saved.records.get_mut(&key) {
            Some(_) if lose => {
                saved.records.remove(&key);
            }
            Some(Record::Registration(held)) => {
                held.life = landbridge_model::Life::Session(names::valued(777))
            }
            _ => {
                let stamp = landbridge_model::Stamp { clock: 1, member: landbridge_model::MemberId(99) };
                let life = landbridge_model::Life::Session(names::valued(999));
                let extra = landbridge_model::Registration { stamp, take: 0, life };
                saved.records.insert(key, Record::Registration(extra));
            }
        }
        self.note(Event::CorruptedCopy);
        self.log(|| format!("disk of {n} is corrupted in {feed}, key {k}"));
        self.crash(n, true);
        self.nodes[n].wake = self.t + 1;
        // A take-over may publish the wrong value until the client registers again (a stated limit).
        let region = feed.region().clone();
        for client in self.clients.iter_mut().filter(|c| names::region(c.region) == region && c.key == k) {
            client.redo = true;
        }
    }

    /// Sets the drama up, if the region is large enough.
    pub fn stage(&mut self) -> bool {
        let mut members = self.members[0].clone();
        self.dice.shuffle(&mut members);
        let able: Vec<_> = (0..self.clients.len())
            .filter(|c| self.clients[*c].region == 0 && self.clients[*c].key > 0)
            .collect();
        let (&[victim, survivor, third], false) = (&members[..], able.is_empty()) else { return false };
        self.drama = Some(Drama { victim, survivor, third, client: self.dice.pick(&able) });
        true
    }

    fn play(&mut self) -> Checked {
        let Some(Drama { victim, survivor, third, client: c }) = self.drama else { return Ok(()) };
        let sleep = self.t + times::TOMBSTONE + 40;
        match self.t {
            12 if self.nodes[victim].own().is_some() && self.nodes[survivor].own().is_some() => {
                let there = self.clients[c].member.is_some_and(|(n, _)| n == victim);
                if !self.clients[c].beats && !there {
                    self.cut_connection(c, Some(3));
                }
                self.register(c, victim, true)?;
            }
            16 => {
                let disk = self.dice.chance(0.5);
                self.crash(victim, disk);
                self.nodes[victim].wake = sleep;
            }
            18 => {
                self.crash(third, true);
                self.nodes[third].wake = sleep;
            }
            20 if !self.clients[c].beats && self.clients[c].member.is_none() => {
                self.register(c, survivor, false)?;
            }
            22 => {
                let there = self.clients[c].member.is_some_and(|(n, _)| n == survivor);
                if self.clients[c].wants && (self.clients[c].beats || there) {
                    self.deregister(c, survivor)?;
                    self.clients[c].last_operation = self.t + 999;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn persistent_value(records: &Records, r: usize, p: usize) -> Option<u64> {
    let key = landbridge_model::RecordKey::Persistent(names::persistent(p), names::instance(r));
    match records.get(&key)? {
        Record::Persistent(instance) => Some(names::value_of(instance)),
        _ => None,
    }
}
