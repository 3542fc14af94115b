//! Streams between processes: in order inside a stream, any delay between them, ends that learn of a break at different
//! times, and old streams that go on delivering.

use std::collections::BTreeSet;

use landbridge_bridge_core::Plan;
use landbridge_feed::{Message, StreamId};
use landbridge_registry_core::Input;

use crate::sim::{
    invariants::{Invariant, dialled},
    names,
    node::{address, at_address},
    tally::Event,
    world::{Cause, Checked, Queue, World},
};

/// How long a slow link holds its messages back at most, in ticks.
const SLOW_MAX: u32 = 6;

/// One end of a stream.
pub struct End {
    pub node: usize,
    life: u32,
    is_open: bool,
    /// What it has said and the other has not heard.
    queue: Queue,
    stalled: u32,
    is_stalled: bool,
    /// When it learns that the stream is gone.
    close_at: Option<i64>,
}

/// A stream.
pub struct Link {
    id: StreamId,
    ends: [End; 2],
    /// An old stream beside a new one of the same pair: slow, and about to close.
    is_lame: bool,
}

impl Link {
    fn at(&self, n: usize) -> Option<usize> {
        self.ends.iter().position(|end| end.node == n)
    }

    fn joins(&self, a: usize, b: usize) -> bool {
        !self.is_lame && self.at(a).is_some() && self.at(b).is_some() && self.ends.iter().all(|e| e.is_open)
    }
}

impl World {
    /// Puts a message on its way.
    pub fn post(&mut self, n: usize, stream: StreamId, message: Message) {
        self.note_batch(n, &message);
        self.note_overrun(n, stream, &message);
        let link = self.links.iter_mut().find(|link| link.id == stream);
        if let Some(link) = link
            && let Some(end) = link.at(n)
        {
            link.ends[end].queue.push_back(message);
        }
    }

    /// A reconcile of a copy that an unbroken row of steps would have brought on: its ring had forgotten some.
    fn note_overrun(&self, n: usize, stream: StreamId, message: &Message) {
        let Message::Begin { feed, view } = message else { return };
        let link = self.links.iter().find(|link| link.id == stream);
        let Some(other) = link.and_then(|link| Some(link.ends[1 - link.at(n)?].node)) else { return };
        let holders = (self.nodes[n].holder(), self.nodes[other].holder());
        let (Some(here), Some(there)) = holders else { return };
        let (Some(here), Some(there)) = (here.copy(feed), there.copy(feed)) else { return };
        if there.view() == view && there.position() < here.position() {
            self.note(Event::FullRing);
        }
    }

    pub fn stream_tick(&mut self) -> Checked {
        self.break_links()?;
        self.make_links()?;
        for at in 0..self.links.len() {
            for end in 0..2 {
                self.stall(at, end);
            }
        }
        for _ in 0..3 {
            let mut order: Vec<_> = (0..self.links.len())
                .flat_map(|at| [(self.links[at].id, 0), (self.links[at].id, 1)])
                .collect();
            self.dice.shuffle(&mut order);
            for (id, end) in order {
                self.deliver_some(id, end)?;
            }
        }
        Ok(())
    }

    fn stall(&mut self, at: usize, end: usize) {
        let [a, b] = [&self.links[at].ends[end], &self.links[at].ends[1 - end]].map(|end| end.node);
        let (is_lame, stalled) = (self.links[at].is_lame, self.links[at].ends[end].stalled);
        let is_busy = !self.links[at].ends[end].queue.is_empty();
        let stalls = if self.slow[a][b] || is_lame {
            stalled < SLOW_MAX && self.dice.chance(self.slowness)
        } else {
            stalled < 2 && self.dice.chance(0.2)
        };
        if stalls && is_busy {
            self.note(Event::Delay);
        }
        let end = &mut self.links[at].ends[end];
        end.is_stalled = stalls;
        end.stalled = if stalls { stalled + 1 } else { 0 };
    }

    fn deliver_some(&mut self, id: StreamId, end: usize) -> Checked {
        loop {
            let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return Ok(()) };
            let (from, to) = (link.ends[end].node, link.ends[1 - end].node);
            let is_held = link.ends[end].is_stalled;
            if is_held || !self.is_linked(from, to) {
                return Ok(());
            }
            let Some(link) = self.links.iter_mut().find(|link| link.id == id) else { return Ok(()) };
            let Some(message) = link.ends[end].queue.pop_front() else { return Ok(()) };
            let (sends, hears) = (link.ends[end].is_open, link.ends[1 - end].is_open);
            let bytes = message.weight_bytes();
            if sends && self.nodes[from].is_up() {
                self.step(from, Input::Drained { stream: id, bytes }, Cause::Other)?;
            }
            if hears && self.nodes[to].is_up() {
                self.step(to, Input::Received { stream: id, message }, Cause::Other)?;
            }
            if !self.is_calm && !self.quiet && self.dice.chance(0.15) {
                return Ok(());
            }
        }
    }

    /// Streams break, are given up at one end before the other, and end with their processes.
    fn break_links(&mut self) -> Checked {
        let mut closed = Vec::new();
        for at in 0..self.links.len() {
            let [a, b] = [self.links[at].ends[0].node, self.links[at].ends[1].node];
            let same = self.nodes[a].region == self.nodes[b].region;
            let mesh = same && self.nodes[a].is_member() && self.nodes[b].is_member();
            let is_cut = !self.both_ways(a, b);
            let breaks = is_cut && self.dice.chance(0.35)
                || !self.quiet && self.dice.chance(if mesh { 0.01 } else { 0.06 });
            let lames = !is_cut && breaks && self.dice.chance(0.5);
            let delays = [self.dice.range(0, 7), self.dice.range(0, 7), self.dice.range(5, 20)];
            let first = self.dice.chance(0.5);
            if breaks {
                self.note(if lames { Event::ZombieStream } else { Event::LostStream });
            }
            let awake = [self.is_awake(a), self.is_awake(b)];
            let link = &mut self.links[at];
            for end in 0..2 {
                let other = &link.ends[1 - end];
                let is_gone = self.nodes[other.node].life != other.life || !self.nodes[other.node].is_up();
                if is_gone && link.ends[end].close_at.is_none() {
                    link.ends[end].close_at = Some(self.t + delays[end]);
                }
                if breaks && link.ends[end].close_at.is_none() {
                    let at_once = (end == 0) == first;
                    let delay = if lames {
                        delays[2]
                    } else if at_once {
                        0
                    } else {
                        delays[end]
                    };
                    link.ends[end].close_at = Some(self.t + delay);
                    link.is_lame |= lames;
                }
                let me = &mut link.ends[end];
                let is_dead = self.nodes[me.node].life != me.life || !self.nodes[me.node].is_up();
                let is_due = awake[end] && me.close_at.is_some_and(|due| due <= self.t);
                if me.is_open && (is_dead || is_due) {
                    me.is_open = false;
                    me.queue.clear();
                    if !is_dead {
                        closed.push((me.node, link.id));
                    }
                }
            }
        }
        self.links.retain(|link| link.ends.iter().any(|end| end.is_open));
        for (n, stream) in closed {
            self.step(n, Input::Closed { stream }, Cause::Other)?;
        }
        Ok(())
    }

    /// Members are all joined; a bridge knows some members of its region and some bridges of the other.
    fn make_links(&mut self) -> Checked {
        for r in 0..self.regions() {
            let members = self.members[r].clone();
            for (at, a) in members.iter().enumerate() {
                for b in &members[at + 1..] {
                    if !self.links.iter().any(|link| link.joins(*a, *b)) {
                        self.open(*a, *b)?;
                    }
                }
            }
            for gateway in self.gateways[r].clone() {
                let wide = if self.quiet || self.is_deployed { members.len() } else { 1 };
                self.join_some(gateway, &members, wide)?;
            }
            for bridge in self.bridges[r].clone() {
                if self.is_deployed {
                    self.dial_plan(bridge)?;
                    continue;
                }
                let wide = if self.quiet { 2 } else { 1 };
                self.join_some(bridge, &members, wide.max(self.members[r].len() / 2))?;
                for o in (0..self.regions()).filter(|o| *o != r) {
                    let far = self.bridges[o].clone();
                    self.join_some(bridge, &far, wide)?;
                }
                if self.dice.chance(0.1) {
                    let near: Vec<_> = self.bridges[r].iter().copied().filter(|b| *b != bridge).collect();
                    self.join_some(bridge, &near, 1)?;
                }
            }
            // A member that no bridge knows must still hear of the other region, at the latest in quiet times.
            if self.quiet {
                for member in members {
                    let bridges = self.bridges[r].clone();
                    self.join_some(member, &bridges, 1)?;
                }
            }
        }
        Ok(())
    }

    /// A bridge keeps streams with whom its plan and the directory it holds name.
    fn dial_plan(&mut self, bridge: usize) -> Checked {
        let r = self.nodes[bridge].region;
        let near = names::region(r);
        let Some(holder) = self.nodes[bridge].holder() else { return Ok(()) };
        let others = (0..self.regions()).filter(|o| *o != r);
        let peers = others.map(|o| (names::region(o), self.bridges[o].iter().map(|n| address(*n)).collect()));
        let registries = [address(self.members[r][0])].into();
        let plan = Plan { own: near.clone(), registries, peers: peers.collect() };
        for dial in plan.dials(holder.directory(&near), &BTreeSet::new()) {
            let peer = at_address(&dial.address);
            let listens = peer.map(|peer| names::region(self.nodes[peer].region));
            self.judge_at(bridge, Invariant::Dialled, dialled::check(&dial.region, listens.as_ref()))?;
            let Some(peer) = peer else { continue };
            if !self.links.iter().any(|link| link.joins(bridge, peer)) {
                self.open(bridge, peer)?;
            }
        }
        Ok(())
    }

    fn join_some(&mut self, n: usize, peers: &[usize], count: usize) -> Checked {
        let joined: BTreeSet<_> =
            peers.iter().copied().filter(|p| self.links.iter().any(|link| link.joins(n, *p))).collect();
        let left: Vec<_> = peers.iter().copied().filter(|p| !joined.contains(p)).collect();
        if joined.len() < count && !left.is_empty() {
            let peer = self.dice.pick(&left);
            self.open(n, peer)?;
        }
        Ok(())
    }

    fn open(&mut self, a: usize, b: usize) -> Checked {
        let able = self.nodes[a].is_up() && self.nodes[b].is_up() && self.both_ways(a, b);
        if !able {
            return Ok(());
        }
        self.next_stream += 1;
        let id = StreamId(self.next_stream);
        let end = |n: usize| End {
            node: n,
            life: self.nodes[n].life,
            is_open: true,
            queue: Queue::new(),
            stalled: 0,
            is_stalled: false,
            close_at: None,
        };
        let ends = [end(a), end(b)];
        self.links.push(Link { id, ends, is_lame: false });
        for (n, other) in [(a, b), (b, a)] {
            let peer = self.nodes[other].peer();
            self.step(n, Input::Opened { stream: id, peer }, Cause::Other)?;
        }
        Ok(())
    }
}
