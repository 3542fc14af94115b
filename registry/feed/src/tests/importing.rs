//! Several bridges of one region: one of them imports, the others follow at home, and any of them takes over.

use landbridge_model::{Change, MemberId, Record, RecordKey};

use super::world::*;
use crate::{Input, Message, Role, StreamId};

const BRIDGES: [&str; 2] = ["b1", "b2"];

/// A writer and its bridge in the east, two bridges and a member in the west; by bridge, the streams to the east.
struct West {
    world: World,
    far: [StreamId; 2],
    near: [StreamId; 2],
    home: StreamId,
}

impl West {
    fn new() -> Self {
        let mut world = World::new();
        world.member("a", 1, &[listed(1, 0), policy(2, "public/*/*")]);
        world.bridge("east", near());
        let home = world.connect("east", "a");
        world.add("m", far(), Role::Member(MemberId(1)), limits());
        world.give("m", Input::Installed { position: at(5), records: Vec::new() });
        let streams = BRIDGES.map(|name| {
            world.bridge(name, far());
            world.give(name, Input::Named { id: name.into() });
            (world.connect(name, "east"), world.connect(name, "m"))
        });
        world.write("a", vec![set(1, session(1, "x"))]);
        let mut west =
            Self { world, far: streams.map(|(far, _)| far), near: streams.map(|(_, near)| near), home };
        west.list(6, "b1", true);
        west.list(7, "b2", true);
        west.world.tick(12);
        west
    }

    fn list(&mut self, index: u64, id: &str, here: bool) {
        let record = here.then(|| Record::Bridge([near()].into()));
        self.world.apply("m", index, vec![Change { key: RecordKey::Bridge(id.into()), record }]);
        self.world.run();
    }

    /// The places in [`BRIDGES`] of those that ask the east for its member's feed.
    fn importing(&self) -> Vec<usize> {
        let asks = |at: &usize| self.world.holders["east"].wants_on(self.far[*at]).contains(&feed(1));
        (0..2).filter(asks).collect()
    }

    fn importer(&self) -> usize {
        let id = self.world.holders["m"].importer(&near()).expect("somebody is listed").clone();
        BRIDGES.iter().position(|name| *name == id).expect("one of the two")
    }
}

fn tells_of_the_members_feed(message: &Message) -> bool {
    match message {
        Message::Batch { feed, .. }
        | Message::Begin { feed, .. }
        | Message::Live { feed, .. }
        | Message::Bucket { feed, .. }
        | Message::End { feed, .. } => !feed.is_raft(),
        Message::Want { .. } | Message::Unwant { .. } | Message::Beats { .. } | Message::Verify { .. } => {
            false
        }
    }
}

#[test]
fn one_bridge_imports_and_the_other_follows_at_home() {
    let west = West::new();

    assert_eq!(west.importing(), [west.importer()]);
    for name in ["b1", "b2", "m"] {
        assert_eq!(west.world.shown(name).len(), 1, "{name}");
    }
}

#[test]
fn news_reach_the_region_once() {
    let mut west = West::new();
    let other = 1 - west.importer();

    west.world.write("a", vec![set(2, session(1, "y"))]);
    while west.world.deliver(west.home, "a") {}

    let said = west.world.queued(west.far[other], "east");
    assert!(
        west.world.queued(west.far[1 - other], "east").len() > said.len(),
        "the importer was told nothing"
    );
    assert!(said.iter().all(|message| matches!(message, Message::Beats { .. })), "{said:?}");
    west.world.run();
    assert_eq!(west.world.shown(BRIDGES[other]).len(), 2);
}

#[test]
fn when_the_importer_is_struck_off_the_other_takes_over_where_it_stood() {
    let mut west = West::new();
    let (importer, other) = (west.importer(), 1 - west.importer());
    let swaps = west.world.copy(BRIDGES[other], &feed(1)).unwrap().swaps();
    west.world.cut(west.far[importer]);
    west.world.cut(west.near[importer]);
    west.world.write("a", vec![set(2, session(1, "y"))]);

    west.list(8, BRIDGES[importer], false);

    assert_eq!(west.importing(), [other]);
    for name in [BRIDGES[other], "m"] {
        assert_eq!(west.world.shown(name).len(), 2, "{name} lost what came meanwhile");
    }
    assert_eq!(west.world.copy(BRIDGES[other], &feed(1)).unwrap().swaps(), swaps, "it was asked for all");
}

#[test]
fn when_nobody_strikes_a_dead_importer_off_the_other_takes_over_all_the_same() {
    let mut west = West::new();
    let (importer, other) = (west.importer(), 1 - west.importer());
    west.world.cut(west.far[importer]);
    west.world.cut(west.near[importer]);
    west.world.write("a", vec![set(2, session(1, "y"))]);

    west.world.tick(8);

    assert_eq!(west.importing(), [other]);
    assert_eq!(west.world.shown("m").len(), 2);
}

#[test]
fn an_importer_that_comes_back_imports_again_and_nothing_is_rebuilt() {
    let mut west = West::new();
    let (importer, other) = (west.importer(), 1 - west.importer());
    west.list(8, BRIDGES[importer], false);
    west.world.tick(2);
    assert_eq!(west.importing(), [other]);
    let swaps = west.world.copy("m", &feed(1)).unwrap().swaps();

    west.list(9, BRIDGES[importer], true);
    west.world.write("a", vec![set(2, session(1, "y"))]);
    west.world.tick(2);

    assert_eq!(west.importing(), [importer]);
    assert_eq!(west.world.shown("m").len(), 2);
    assert_eq!(west.world.copy("m", &feed(1)).unwrap().swaps(), swaps);
}

#[test]
fn bridges_that_nobody_lists_all_import() {
    let mut west = West::new();
    for (index, name) in BRIDGES.iter().enumerate() {
        west.list(8 + index as u64, name, false);
    }
    west.world.tick(1);

    assert_eq!(west.importing(), [0, 1]);
}

#[test]
fn a_bridge_tells_its_region_which_origins_it_hears_itself() {
    let mut west = West::new();
    let said = |west: &West, at: usize| west.world.holders["m"].hears(west.near[at]).clone();
    assert_eq!((said(&west, 0), said(&west, 1)), ([near()].into(), [near()].into()));

    west.world.cut(west.far[0]);
    west.world.tick(1);

    assert_eq!((said(&west, 0), said(&west, 1)), ([].into(), [near()].into()));
}

#[test]
fn an_importer_that_lost_its_link_does_not_go_in_circles_with_the_members_that_ask_it() {
    let mut west = West::new();
    let (importer, other) = (west.importer(), 1 - west.importer());
    west.world.cut(west.far[importer]);

    // Nobody lists anything else: no leader.
    west.world.tick(1);
    west.world.write("a", vec![set(2, session(1, "y"))]);
    west.world.run();

    assert_eq!(west.importing(), [other]);
    for name in [BRIDGES[importer], BRIDGES[other], "m"] {
        assert_eq!(west.world.shown(name).len(), 2, "{name}");
    }
}

#[test]
fn a_copy_under_a_withdrawn_policy_counts_as_behind_though_its_position_is_the_newest() {
    let mut west = West::new();
    let importer = west.importer();
    west.world.withhold(west.near[importer], BRIDGES[importer], tells_of_the_members_feed);

    west.world.apply("a", 20, vec![change(policy(20, "public/*/none"))]);
    west.world.tick(12);

    assert_eq!(west.world.shown("m").len(), 0, "what is no longer exported is still shown");
}
