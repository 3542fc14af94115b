//! What kind of federation a seed makes.

use crate::sim::{dice::Dice, names::KEYS};

/// The kinds of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two regions of members and bridges, as the executable model of the feeds specification had them.
    Pair,
}

/// What stands in one region.
pub struct Place {
    pub members: usize,
    pub bridges: usize,
    /// Ephemeral services with a client.
    pub keys: usize,
}

impl Shape {
    /// All kinds; the first is played unless another is named.
    pub const ALL: [Self; 1] = [Self::Pair];

    /// What the command line calls it, with a space behind.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pair => "--pair ",
        }
    }

    /// By its word without the dashes.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.word().trim().trim_start_matches('-') == word)
    }

    /// The regions of a world.
    pub fn plan(self, _dice: &mut Dice, is_full: bool) -> Vec<Place> {
        match self {
            Self::Pair => {
                let small = if is_full { (3, KEYS) } else { (1, 1) };
                let places = [(3, KEYS), small].into_iter();
                places.map(|(members, keys)| Place { members, bridges: 2, keys }).collect()
            }
        }
    }
}
