//! A world as its seed makes it.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_model::FeedId;

use crate::{
    clients::Client,
    dice::Dice,
    group::Group,
    names::{self, KEYS},
    node::Node,
    world::{Checked, World},
};

impl World {
    /// The schedule of one seed, from its first tick to its last; the error says what broke.
    pub fn play_seed(seed: u64, trace: bool) -> Checked {
        let mut world = Self::build(seed, trace);
        world.begin()?;
        world.run()
    }

    fn build(seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let is_full = dice.chance(0.3);
        let mut nodes = Vec::new();
        let (mut members, mut bridges) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for r in 0..2 {
            let count = if r == 0 || is_full { 3 } else { 1 };
            for member in (0..count).map(Some).chain([None, None]) {
                let list = if member.is_some() { &mut members[r] } else { &mut bridges[r] };
                list.push(nodes.len());
                nodes.push(Node::new(nodes.len(), r, member));
            }
        }
        let count = nodes.len();
        let mut clients = Vec::new();
        for r in 0..2 {
            let keys = if r == 0 || is_full { KEYS } else { 1 };
            clients.extend((0..keys).map(|k| Client::new(r, k, k & 1 == 1)));
        }
        let mut twins = BTreeSet::new();
        if dice.chance(0.5) {
            twins.insert((0, 0));
            clients.push(Client::new(0, 0, false));
        }
        Self {
            corrupts: dice.chance(0.2),
            ring: dice.pick(&[2, 4, 8]),
            credit: dice.pick(&[2048, 8192, 65_536]),
            slowness: dice.pick(&[0.7, 0.9]),
            is_calm: dice.chance(0.5),
            dice,
            trace,
            t: 0,
            cut: vec![vec![false; count]; count],
            slow: vec![vec![false; count]; count],
            nodes,
            members,
            bridges,
            groups: [Group::new(0), Group::new(1)],
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
            true_since: [BTreeMap::new(), BTreeMap::new()],
            disturbed: [-99, -99],
            watches: Vec::new(),
            twins,
            persistent: [BTreeMap::new(), BTreeMap::new()],
            quiet: false,
            fault_rate: 0.0,
            hot: None,
            drama: None,
        }
    }

    /// Founds the regions and starts everybody.
    fn begin(&mut self) -> Checked {
        for r in 0..2 {
            let position = self.groups[r].state.position();
            let history = self.history.entry(FeedId::Raft(names::region(r))).or_default();
            history.insert(position, BTreeMap::new());
            self.masks.insert((r, landbridge_model::Position { seq: 0, ..position }), 0);
            self.set_policy(r, 0xffff)?;
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
