//! A world as its seed makes it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use landbridge_model::{FeedId, Position};

use crate::sim::{
    clients::Client,
    dice::Dice,
    group::Group,
    names,
    node::{Kind, Node},
    shape::{Place, Shape},
    story::Story,
    world::{Checked, World},
};

impl World {
    /// A world of this seed and shape, not yet begun.
    pub fn build(seed: u64, shape: Shape, story: Story) -> Self {
        let mut dice = Dice::new(seed);
        let is_full = dice.chance(0.3);
        let plan = shape.plan(&mut dice, is_full);
        let mut nodes = Vec::new();
        let (mut members, mut bridges, mut gateways) = (Vec::new(), Vec::new(), Vec::new());
        for (r, place) in plan.iter().enumerate() {
            members.push((nodes.len()..nodes.len() + place.members).collect());
            nodes.extend((0..place.members).map(|m| Node::new(0, r, Kind::Member(m as u16))));
            bridges.push((nodes.len()..nodes.len() + place.bridges).collect());
            nodes.extend((0..place.bridges).map(|_| Node::new(0, r, Kind::Bridge)));
            gateways.push((nodes.len()..nodes.len() + place.gateways).collect());
            nodes.extend((0..place.gateways).map(|_| Node::new(0, r, Kind::Gateway)));
        }
        nodes.iter_mut().enumerate().for_each(|(id, node)| node.id = id);
        let count = nodes.len();
        let (clients, twins) = people(&plan, shape, &mut dice);
        let is_deployed = shape == Shape::Whole && dice.chance(0.6);
        Self {
            corrupts: dice.chance(0.2),
            ring: dice.pick(&[2, 4, 8]),
            credit: dice.pick(&[2048, 8192, 65_536]),
            slowness: dice.pick(&[0.7, 0.9]),
            is_calm: dice.chance(0.5),
            dice,
            story: RefCell::new(story),
            t: 0,
            steps: 0,
            cut: vec![vec![false; count]; count],
            slow: vec![vec![false; count]; count],
            nodes,
            members,
            bridges,
            gateways,
            groups: (0..plan.len()).map(Group::new).collect(),
            links: Vec::new(),
            next_stream: 0,
            clients,
            next_connection: 0,
            next_value: 0,
            next_seed: seed.wrapping_mul(1000),
            sessions: BTreeMap::new(),
            endings: Vec::new(),
            answers: BTreeMap::new(),
            history: BTreeMap::new(),
            last: BTreeMap::new(),
            written: BTreeMap::new(),
            deleted: BTreeMap::new(),
            why: BTreeMap::new(),
            writers: BTreeMap::new(),
            beaten: BTreeMap::new(),
            masks: BTreeMap::new(),
            promises: BTreeMap::new(),
            settles: BTreeMap::new(),
            closed_at: BTreeMap::new(),
            crashed_at: BTreeMap::new(),
            fair_crash: BTreeMap::new(),
            true_since: vec![BTreeMap::new(); plan.len()],
            disturbed: vec![-99; plan.len()],
            watches: Vec::new(),
            twins,
            persistent: vec![BTreeMap::new(); plan.len()],
            calls: (0, 0),
            tally: RefCell::default(),
            shape,
            is_deployed,
            quiet: false,
            fault_rate: 0.0,
            hot: None,
            drama: None,
        }
    }

    /// Founds the regions and starts everybody.
    pub fn begin(&mut self) -> Checked {
        for r in 0..self.regions() {
            let position = self.groups[r].state.position();
            let history = self.history.entry(FeedId::Raft(names::region(r))).or_default();
            history.insert(position, BTreeMap::new());
            for peer in (0..self.regions()).filter(|peer| *peer != r) {
                self.masks.insert((r, peer, Position { seq: 0, ..position }), 0);
                self.set_policy(r, peer, 0xffff)?;
            }
            if !self.is_calm && self.dice.chance(0.4) {
                for a in self.region_nodes(r) {
                    for b in self.region_nodes(r) {
                        self.slow[a][b] = a != b && self.dice.chance(0.3);
                    }
                }
            }
        }
        (0..self.nodes.len()).try_for_each(|n| self.start(n))
    }
}

/// The clients of all regions, and the keys that two of them share.
fn people(plan: &[Place], shape: Shape, dice: &mut Dice) -> (Vec<Client>, BTreeSet<(usize, usize)>) {
    let mut clients = Vec::new();
    for (r, place) in plan.iter().enumerate() {
        clients.extend((0..place.keys).map(|k| Client::new(r, k, k & 1 == 1)));
    }
    let mut twins = BTreeSet::new();
    if dice.chance(0.5) {
        twins.insert((0, 0));
        clients.push(Client::new(0, 0, false));
    }
    if shape == Shape::Whole {
        give_siblings(&mut clients, &twins, dice);
    }
    (clients, twins)
}

/// Some connections publish several instances of their service.
fn give_siblings(clients: &mut [Client], twins: &BTreeSet<(usize, usize)>, dice: &mut Dice) {
    let alone = |client: &&mut Client| !client.beats && !twins.contains(&(client.region, client.key));
    clients.iter_mut().filter(alone).for_each(|client| client.siblings = dice.pick(&[0, 0, 1, 3]));
}
