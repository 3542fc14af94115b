//! What kind of federation a seed makes.

use crate::sim::{dice::Dice, names::KEYS};

/// The kinds of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two to four regions of members, bridges, gateways and callers, under every fault there is.
    Whole,
    /// Two regions of members and bridges, as the executable model of the feeds specification had them.
    Pair,
    /// Two regions of three members, two bridges and a gateway each: the stage of the scenarios, no kind of schedule.
    Stage,
}

/// What stands in one region.
pub struct Place {
    pub members: usize,
    pub bridges: usize,
    pub gateways: usize,
    /// Ephemeral services with a client.
    pub keys: usize,
}

impl Shape {
    /// All kinds; the first is played unless another is named.
    pub const ALL: [Self; 2] = [Self::Whole, Self::Pair];

    /// What the command line calls it, with a space behind.
    pub fn word(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Pair => "--pair ",
            Self::Stage => "--stage ",
        }
    }

    /// By its name in `seeds.txt`.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "whole" => Some(Self::Whole),
            "pair" => Some(Self::Pair),
            _ => None,
        }
    }

    /// For how many ticks there may be trouble: one of these.
    pub fn ticks(self) -> [i64; 4] {
        match self {
            Self::Whole => [40, 40, 60, 100],
            Self::Pair | Self::Stage => [30, 60, 60, 100],
        }
    }

    /// The regions of a world.
    pub fn plan(self, dice: &mut Dice, is_full: bool) -> Vec<Place> {
        match self {
            Self::Whole => {
                let count = dice.pick(&[2, 2, 3, 3, 4]);
                let place = |r| Place {
                    members: dice.pick(&[3, 3, 2, 1]),
                    bridges: dice.pick(&[1, 2]),
                    gateways: dice.pick(&[1, 1, 2]),
                    keys: if r == 0 { KEYS } else { dice.pick(&[1, 2, KEYS]) },
                };
                (0..count).map(place).collect()
            }
            Self::Stage => (0..2).map(|_| Place { members: 3, bridges: 2, gateways: 1, keys: 0 }).collect(),
            Self::Pair => {
                let small = if is_full { (3, KEYS) } else { (1, 1) };
                let places = [(3, KEYS), small].into_iter();
                places.map(|(members, keys)| Place { members, bridges: 2, gateways: 0, keys }).collect()
            }
        }
    }
}
