//! How each link is doing, by what its origin's feeds have reached.
//!
//! ```text
//! absent ──first copy──▶ moving ──behind without progress for stall_ticks while live──▶ stalled
//! stalled ──progress, or caught up──▶ moving        (a silent origin is not stalled: it is suspect, then frozen)
//! ```
//!
//! Invariant: "connected" is not "fresh": a link that is up and behind without progress is told within `stall_ticks`.

use std::collections::BTreeMap;

use ecow::EcoString;
use landbridge_feed::{RegionStatus, Standing};
use landbridge_model::{Mutant, Region, planted};

/// What the links are told, once a tick and origin.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// How an origin stands, and the sum of all positions its copies have reached.
    Status {
        /// As the holder says.
        status: RegionStatus,
        /// Rises with every step of any of its copies.
        reached: u64,
    },
    /// Which bridge of the region imports an origin, by the region's list.
    Importer {
        /// Which origin.
        region: Region,
        /// Its name; none if no bridge is listed, and every bridge imports.
        importer: Option<EcoString>,
    },
    /// Nothing is held of an origin any more.
    Gone {
        /// Which origin.
        region: Region,
    },
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The origin lives and is behind, and nothing moves: count it and tell the operator.
    Stalled {
        /// Which origin.
        region: Region,
        /// How far behind.
        lag_seqs: u64,
    },
    /// This bridge imports the origin from here on.
    TakenOver {
        /// Which origin.
        region: Region,
    },
    /// Another bridge of the region imports it from here on.
    GivenUp {
        /// Which origin.
        region: Region,
        /// Who.
        importer: EcoString,
    },
    /// It moves again, or has caught up.
    Moving {
        /// Which origin.
        region: Region,
    },
}

/// One directed path from an origin to here.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// As the holder says.
    pub status: RegionStatus,
    /// Whether it is behind without progress though its origin lives.
    pub stalled: bool,
    reached: u64,
    still_ticks: u64,
}

/// All links of one bridge.
#[derive(Clone, Debug)]
pub struct Links {
    own: EcoString,
    stall_ticks: u64,
    importers: BTreeMap<Region, Option<EcoString>>,
    links: BTreeMap<Region, Link>,
}

impl Links {
    /// No links yet of the bridge of this name; `stall_ticks` without progress make one stalled.
    pub fn new(own: EcoString, stall_ticks: u64) -> Self {
        Self { own, stall_ticks, importers: BTreeMap::new(), links: BTreeMap::new() }
    }

    /// Takes one input and appends what follows from it to `effects`.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Status { status, reached } => self.status(status, reached, effects),
            Input::Importer { region, importer } => self.importer(region, importer, effects),
            Input::Gone { region } => drop(self.links.remove(&region)),
        }
    }

    /// The links by origin.
    pub fn links(&self) -> &BTreeMap<Region, Link> {
        &self.links
    }

    /// Whether this bridge imports an origin: it is the one that the region's list names, or the list names none.
    pub fn imports(&self, region: &Region) -> bool {
        let importer = self.importers.get(region).and_then(Option::as_ref);
        importer.is_none_or(|importer| *importer == self.own)
    }

    /// The bridge that the region's list names for an origin.
    pub fn importer_of(&self, region: &Region) -> Option<&EcoString> {
        self.importers.get(region)?.as_ref()
    }

    fn importer(&mut self, region: Region, importer: Option<EcoString>, effects: &mut Vec<Effect>) {
        let is_first = !self.importers.contains_key(&region);
        let before = self.imports(&region);
        self.importers.insert(region.clone(), importer.clone());
        match (before, self.imports(&region), importer) {
            (false, true, _) => effects.push(Effect::TakenOver { region }),
            (true, false, Some(importer)) if !is_first => effects.push(Effect::GivenUp { region, importer }),
            (true, true, _) | (false, false, _) | (true, false, _) => {}
        }
    }

    fn status(&mut self, status: RegionStatus, reached: u64, effects: &mut Vec<Effect>) {
        let region = status.region.clone();
        let earlier = self.links.get(&region);
        let waits = status.lag_seqs > 0
            && status.standing == Standing::Live
            && earlier.is_some_and(|link| link.reached == reached);
        let still_ticks = if waits { earlier.map_or(0, |link| link.still_ticks) + 1 } else { 0 };
        let stalled = still_ticks >= self.stall_ticks && !planted(Mutant::StallNotTold);
        let was_stalled = earlier.is_some_and(|link| link.stalled);
        if stalled && !was_stalled {
            effects.push(Effect::Stalled { region: region.clone(), lag_seqs: status.lag_seqs });
        }
        if was_stalled && !stalled {
            effects.push(Effect::Moving { region: region.clone() });
        }
        self.links.insert(region, Link { status, stalled, reached, still_ticks });
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::Position;

    use super::*;

    fn region() -> Region {
        Region::parse("west").unwrap()
    }

    fn tick(links: &mut Links, standing: Standing, reached: u64, lag_seqs: u64) -> Vec<Effect> {
        let status = RegionStatus {
            region: region(),
            standing,
            age_ms: 0,
            raft: Position::NONE,
            feeds: 1,
            records: 0,
            lag_seqs,
            lag_ms: None,
        };
        let mut effects = Vec::new();
        links.step(Input::Status { status, reached }, &mut effects);
        effects
    }

    #[test]
    fn behind_without_progress_is_told_once_and_its_end_too() {
        let mut links = Links::new("b1".into(), 3);

        let told: Vec<_> = (0..6).flat_map(|_| tick(&mut links, Standing::Live, 10, 5)).collect();

        assert_eq!(told, [Effect::Stalled { region: region(), lag_seqs: 5 }]);
        assert_eq!(tick(&mut links, Standing::Live, 11, 4), [Effect::Moving { region: region() }]);
    }

    #[test]
    fn slow_progress_and_being_level_are_no_stall() {
        let mut links = Links::new("b1".into(), 3);

        let slow: Vec<_> = (0..9).flat_map(|at| tick(&mut links, Standing::Live, at, 5)).collect();
        let level: Vec<_> = (0..9).flat_map(|_| tick(&mut links, Standing::Live, 9, 0)).collect();

        assert_eq!((slow, level), (vec![], vec![]));
    }

    #[test]
    fn the_change_of_an_importer_is_told_once_on_both_sides() {
        let mut links = Links::new("b1".into(), 3);
        let mut says = |importer: Option<&str>| {
            let mut effects = Vec::new();
            let importer = importer.map(EcoString::from);
            links.step(Input::Importer { region: region(), importer }, &mut effects);
            (links.imports(&region()), effects)
        };

        assert_eq!(says(None), (true, vec![]));
        let given_up = Effect::GivenUp { region: region(), importer: "b2".into() };
        assert_eq!(says(Some("b2")), (false, vec![given_up]));
        assert_eq!(says(Some("b2")), (false, vec![]));
        assert_eq!(says(Some("b1")), (true, vec![Effect::TakenOver { region: region() }]));
        assert_eq!(says(None), (true, vec![]));
    }

    #[test]
    fn an_origin_of_which_nothing_is_held_has_no_link() {
        let mut links = Links::new("b1".into(), 3);
        tick(&mut links, Standing::Live, 10, 5);

        links.step(Input::Gone { region: region() }, &mut Vec::new());

        assert!(links.links().is_empty());
    }

    #[test]
    fn a_silent_origin_is_not_called_stalled() {
        let mut links = Links::new("b1".into(), 3);

        let told: Vec<_> = (0..9).flat_map(|_| tick(&mut links, Standing::Frozen, 10, 5)).collect();

        assert_eq!(told, []);
    }
}
