//! Clients: connections and beating ones, that register, change, move, deregister, break and come back.

use landbridge_model::{FeedId, InstanceKey, Record, Stamp};
use landbridge_registry_core::{ConnectionId, Input, Outcome, Published};

use crate::sim::{
    invariants::{Invariant, ordered},
    names,
    tally::Event,
    times,
    world::{Cause, Checked, Watch, World},
};

/// Where a client's last acknowledged operation stands.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub at: usize,
    pub life: u32,
    pub own: FeedId,
    pub seq: u64,
}

/// One client of one key.
pub struct Client {
    pub region: usize,
    pub key: usize,
    pub beats: bool,
    /// How many more instances of the same service its connection publishes.
    pub siblings: u16,
    /// Whether it wants to be seen.
    pub wants: bool,
    pub acknowledged: Option<u64>,
    /// The member it is connected to, and that member's life.
    pub member: Option<(usize, u32)>,
    pub old_member: Option<usize>,
    pub connection: u64,
    pub back: i64,
    pub next_beat: i64,
    /// When a member last answered a beat or a registration of it.
    pub answered: i64,
    /// The last tick in which it had been without an answer for longer than a beat or two.
    pub unheard: i64,
    pub operations: u64,
    pub since: i64,
    pub last_operation: i64,
    pub last: Option<Acknowledged>,
    /// When its last operation had reached every member that is up.
    pub spread: Option<i64>,
    pub last_stamp: Option<Stamp>,
    pub value: u64,
    /// A stated limit may have lost its last operation: it must register again before its value is judged.
    pub redo: bool,
}

impl Client {
    pub fn new(region: usize, key: usize, beats: bool) -> Self {
        Self {
            region,
            key,
            beats,
            siblings: 0,
            wants: false,
            acknowledged: None,
            member: None,
            old_member: None,
            connection: 0,
            back: 0,
            next_beat: 0,
            answered: 0,
            unheard: 0,
            operations: 0,
            since: 0,
            last_operation: -99,
            last: None,
            spread: None,
            last_stamp: None,
            value: 0,
            redo: false,
        }
    }
}

impl Client {
    /// The instances it vouches for.
    pub fn instances(&self) -> impl Iterator<Item = InstanceKey> {
        let (r, siblings) = (self.region, self.siblings);
        (1..=siblings).map(move |at| names::sibling(r, at)).chain([names::instance(r)])
    }
}

impl World {
    /// The members a client would turn to.
    pub fn usable(&self, r: usize) -> Vec<usize> {
        let nodes = self.members[r].iter().copied();
        nodes
            .filter(|m| self.nodes[*m].is_up() && self.nodes[*m].drain.is_none() && self.is_awake(*m))
            .collect()
    }

    fn is_connected(&self, c: usize) -> bool {
        self.clients[c].member.is_some_and(|(n, life)| self.nodes[n].is_up() && self.nodes[n].life == life)
    }

    /// Registers a client at a member; false if that refused.
    pub fn register(&mut self, c: usize, n: usize, is_new: bool) -> Result<bool, String> {
        let life = self.nodes[n].life;
        let (r, k, beats) = (self.clients[c].region, self.clients[c].key, self.clients[c].beats);
        if self.nodes[n].own().is_none() || self.nodes[n].drain.is_some() || !self.is_awake(n) {
            return Ok(false);
        }
        if is_new || self.clients[c].value == 0 {
            self.next_value += 1;
            self.clients[c].value = self.next_value;
        }
        let instance = names::valued(self.clients[c].value);
        let result = if beats {
            let target = (names::service(k), names::instance(r));
            self.ask(n, |ticket| Input::Register { ticket, target, instance }, Cause::Other)?
        } else {
            if self.clients[c].member != Some((n, life)) {
                self.next_connection += 1;
                self.clients[c].connection = self.next_connection;
                let connection = ConnectionId(self.next_connection);
                self.step(n, Input::ConnectionOpened { connection }, Cause::Other)?;
            }
            let connection = ConnectionId(self.clients[c].connection);
            let siblings = self.clients[c].siblings;
            let published = if siblings == 0 {
                Published::One(names::instance(r), instance)
            } else {
                let value = self.clients[c].value;
                let siblings = (1..=siblings).map(|at| (names::sibling(r, at), names::valued_in(value, "b")));
                Published::Batch(siblings.chain([(names::instance(r), instance)]).collect())
            };
            let service = names::service(k);
            self.ask(n, |ticket| Input::Publish { ticket, connection, service, published }, Cause::Other)?
        };
        let Ok(Outcome::Written(token)) = result else { return Ok(false) };
        let ordered = self.acknowledge(c, n, &token.feed, token.seq)?;
        let t = self.t;
        if !beats {
            self.note(Event::Session);
            if self.clients[c].old_member.is_some_and(|old| old != n) {
                self.note(Event::Move);
            }
            let connection = self.clients[c].connection;
            self.sessions.entry((n, life, k)).or_default().insert(connection, (t, false));
        }
        let client = &mut self.clients[c];
        if !client.wants {
            client.since = t;
        }
        (client.wants, client.acknowledged, client.last_operation) = (true, Some(client.value), t);
        client.operations += 1;
        client.redo = !ordered;
        if beats {
            (client.next_beat, client.answered) = (t + times::BEAT, t);
        } else {
            (client.member, client.old_member) = (Some((n, life)), Some(n));
        }
        let value = client.value;
        self.log(|| format!("client {c} registers {value} for key {k} at {n}"));
        Ok(true)
    }

    /// Notes an acknowledgement; tells whether it is ordered after the client's last one, as it must be where that was known.
    fn acknowledge(&mut self, c: usize, n: usize, own: &FeedId, seq: u64) -> Result<bool, String> {
        let (r, k) = (self.clients[c].region, self.clients[c].key);
        let record = self.nodes[n]
            .holder()
            .and_then(|holder| holder.copy(own)?.record(&names::record_key(r, k)).cloned());
        let Some(stamp) = record.as_ref().and_then(Record::registration).map(|held| held.stamp) else {
            return Ok(false);
        };
        let ordered = self.check_order(c, n, stamp)?;
        let client = &mut self.clients[c];
        client.last_stamp = Some(stamp);
        client.spread = None;
        client.last = Some(Acknowledged { at: n, life: self.nodes[n].life, own: own.clone(), seq });
        Ok(ordered)
    }

    fn check_order(&self, c: usize, n: usize, stamp: Stamp) -> Result<bool, String> {
        let client = &self.clients[c];
        let (Some(before), Some(last)) = (client.last_stamp, &client.last) else { return Ok(true) };
        if stamp > before {
            self.judge_at(n, Invariant::Ordered, ordered::check(before, stamp, true))?;
            return Ok(true);
        }
        let seen = self.nodes[n].holder().and_then(|holder| holder.copy(&last.own));
        let Some(seen) = seen.filter(|copy| copy.position().seq >= last.seq) else { return Ok(false) };
        let was_known = (last.at, last.life) == (n, self.nodes[n].life)
            || seen.record(&names::record_key(client.region, client.key)).is_some();
        self.judge_at(n, Invariant::Ordered, ordered::check(before, stamp, was_known))?;
        Ok(!client.beats)
    }

    pub fn client_tick(&mut self, c: usize) -> Checked {
        self.notice_loss(c)?;
        if self.quiet {
            let client = &self.clients[c];
            let must = client.wants && (client.redo || !client.beats && client.member.is_none());
            if must && self.t >= client.back {
                let usable = self.usable(client.region);
                if !usable.is_empty() {
                    let n = self.dice.pick(&usable);
                    self.register(c, n, false)?;
                }
            }
        } else {
            self.act(c)?;
        }
        self.send_beat(c)?;
        if self.t - self.clients[c].answered > times::BEAT + 1 {
            self.clients[c].unheard = self.t;
        }
        self.note_spread(c);
        Ok(())
    }

    /// A connection's member died or drains: the client comes back, after a while.
    fn notice_loss(&mut self, c: usize) -> Checked {
        if self.clients[c].beats || self.clients[c].member.is_none() {
            return Ok(());
        }
        if !self.is_connected(c) {
            let soon = self.dice.range(0, 4);
            let late = self.dice.range(0, times::BACK + 1);
            self.clients[c].member = None;
            self.clients[c].back = self.t + self.dice.pick(&[soon, late]);
            return Ok(());
        }
        let Some((n, life)) = self.clients[c].member else { return Ok(()) };
        let asked = self.nodes[n].drain.is_some_and(|since| self.t > since + self.clients[c].key as i64 % 3);
        let usable = self.usable(self.clients[c].region);
        if asked && !usable.is_empty() {
            let to = self.dice.pick(&usable);
            let old = self.clients[c].connection;
            if self.register(c, to, false)? {
                let due = self.t + self.dice.range(0, 3);
                self.break_connection(n, life, self.clients[c].key, old, due);
            }
        }
        Ok(())
    }

    /// The connection is dead from here on; its member finds that out when it is due.
    fn break_connection(&mut self, n: usize, life: u32, k: usize, connection: u64, due: i64) {
        if let Some(held) = self.sessions.get_mut(&(n, life, k)).and_then(|held| held.get_mut(&connection)) {
            held.1 = true;
        }
        self.endings.push((due, n, life, connection));
        self.note(Event::BrokenConnection);
    }

    pub fn cut_connection(&mut self, c: usize, within: Option<i64>) {
        let Some((n, life)) = self.clients[c].member.take() else { return };
        let (a, b) = (self.dice.range(0, times::SESSION), self.dice.range(0, times::SESSION));
        let delay = within.unwrap_or_else(|| self.dice.pick(&[a, b, times::HALF_DEAD]));
        let (k, connection) = (self.clients[c].key, self.clients[c].connection);
        self.break_connection(n, life, k, connection, self.t + delay);
    }

    pub fn end_connections(&mut self) -> Checked {
        let t = self.t;
        let (due, left) = std::mem::take(&mut self.endings).into_iter().partition(|(at, ..)| *at <= t);
        self.endings = left;
        let due: Vec<(i64, usize, u32, u64)> = due;
        for (_, n, life, connection) in due {
            if !self.nodes[n].is_up() || self.nodes[n].life != life {
                continue;
            }
            if !self.is_awake(n) {
                self.endings.push((t + 1, n, life, connection));
                continue;
            }
            let is_draining = self.nodes[n].drain.is_some();
            let ended = self.sessions.iter_mut().filter(|((at, lived, _), _)| (*at, *lived) == (n, life));
            let mut keys = Vec::new();
            for ((_, _, k), held) in ended {
                if held.remove(&connection).is_some() {
                    keys.push(*k);
                }
            }
            self.step(n, Input::ConnectionEnded { connection: ConnectionId(connection) }, Cause::End)?;
            for k in keys.into_iter().filter(|_| !is_draining) {
                self.check_ended(n, life, k)?;
            }
        }
        Ok(())
    }

    /// What clients do when nobody makes them.
    fn act(&mut self, c: usize) -> Checked {
        let (r, beats) = (self.clients[c].region, self.clients[c].beats);
        let x = self.dice.part();
        let usable = self.usable(r);
        let is_idle = self.t - self.clients[c].last_operation > 5;
        if !beats && self.clients[c].wants && self.clients[c].member.is_none() {
            if self.t >= self.clients[c].back && !usable.is_empty() {
                let old = self.clients[c].old_member.filter(|old| usable.contains(old));
                let home = old.filter(|_| self.dice.chance(0.4));
                let n = home.unwrap_or_else(|| self.dice.pick(&usable));
                if !self.register(c, n, false)? {
                    self.clients[c].back = self.t + 1;
                }
            }
        } else if x < 0.05 && is_idle && !usable.is_empty() {
            let n = self.clients[c].member.filter(|_| !beats).map(|(n, _)| n);
            let n = n.unwrap_or_else(|| self.dice.pick(&usable));
            self.register(c, n, true)?;
        } else if x < 0.07 && self.clients[c].wants && is_idle {
            let n = self.clients[c].member.filter(|_| !beats).map(|(n, _)| n);
            let n = n.or_else(|| (!usable.is_empty()).then(|| self.dice.pick(&usable)));
            if let Some(n) = n {
                self.deregister(c, n)?;
            }
        } else if x < 0.09
            && !beats
            && self.clients[c].member.is_some_and(|(n, _)| self.nodes[n].drain.is_none())
        {
            self.cut_connection(c, None);
            self.clients[c].back = self.t + self.dice.range(0, 5);
        } else if x < 0.10 && beats && self.clients[c].wants {
            (self.clients[c].wants, self.clients[c].acknowledged) = (false, None);
            self.clients[c].operations += 1;
        }
        Ok(())
    }

    fn send_beat(&mut self, c: usize) -> Checked {
        let (r, k) = (self.clients[c].region, self.clients[c].key);
        if !self.clients[c].beats || !self.clients[c].wants || self.t < self.clients[c].next_beat {
            return Ok(());
        }
        self.clients[c].next_beat = self.t + times::BEAT;
        let usable = self.usable(r);
        if usable.is_empty() {
            return Ok(());
        }
        let n = self.dice.pick(&usable);
        let target = (names::service(k), names::instance(r));
        let result = self.ask(n, |ticket| Input::Beat { ticket, target, full: None }, Cause::Other)?;
        let is_known = matches!(result, Ok(Outcome::Renewed { .. }));
        if is_known {
            self.clients[c].answered = self.t;
            self.note(Event::Beat);
        } else if !self.register(c, n, false)? {
            self.clients[c].next_beat = self.t + 1;
        }
        Ok(())
    }

    pub fn deregister(&mut self, c: usize, n: usize) -> Checked {
        let (r, k, beats) = (self.clients[c].region, self.clients[c].key, self.clients[c].beats);
        let life = self.nodes[n].life;
        if self.nodes[n].own().is_none() || self.nodes[n].drain.is_some() || !self.is_awake(n) {
            return Ok(());
        }
        let connection = self.clients[c].connection;
        let result = if beats {
            let target = (names::service(k), names::instance(r));
            self.ask(n, |ticket| Input::Deregister { ticket, target }, Cause::Deregister)?
        } else {
            let (connection, service) = (ConnectionId(connection), names::service(k));
            self.ask(n, |ticket| Input::Withdraw { ticket, connection, service }, Cause::Deregister)?
        };
        let Ok(Outcome::Written(token)) = result else { return Ok(()) };
        self.note(Event::Deregistration);
        let record = self.nodes[n]
            .holder()
            .and_then(|h| h.copy(&token.feed)?.record(&names::record_key(r, k)).cloned());
        let is_buried = record.as_ref().is_some_and(names::is_tombstone);
        self.log(|| format!("client {c} deregisters key {k} at {n}, buried: {is_buried}"));
        let ordered = !is_buried || self.acknowledge(c, n, &token.feed, token.seq)?;
        if !beats {
            if let Some(held) = self.sessions.get_mut(&(n, life, k)) {
                held.remove(&connection);
            }
            self.endings.push((self.t, n, life, connection));
        }
        let t = self.t;
        let client = &mut self.clients[c];
        (client.wants, client.acknowledged, client.last_operation) = (false, None, t);
        client.operations += 1;
        if !beats {
            client.member = None;
            client.back = t;
        }
        if is_buried && ordered && !self.twins.contains(&(r, k)) {
            let operations = client.operations;
            let (due, own) = (t + times::MARGIN, token.feed);
            self.watches.push(Watch { due, client: c, operations, at: n, life, own, since: t });
        }
        Ok(())
    }

    fn note_spread(&mut self, c: usize) {
        let client = &self.clients[c];
        let Some(last) = client.last.as_ref().filter(|_| client.spread.is_none()) else { return };
        let alive = self.nodes[last.at].life == last.life && self.nodes[last.at].is_up();
        let has = |m: &usize| {
            let copy = self.nodes[*m].holder().map(|holder| holder.copy(&last.own));
            copy.is_none_or(|copy| copy.is_some_and(|copy| copy.position().seq >= last.seq))
        };
        if alive && self.members[client.region].iter().all(has) {
            self.clients[c].spread = Some(self.t);
        }
    }
}
