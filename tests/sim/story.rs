//! What a schedule tells: the readable trace, and a fingerprint of everything that every process was told.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The trace of one schedule.
#[derive(Default)]
pub struct Story {
    /// Whether anybody listens; without a listener nothing is made.
    listens: bool,
    /// One line for each thing of note.
    pub lines: Vec<String>,
    fingerprint: DefaultHasher,
}

impl Story {
    /// A story that is told.
    pub fn told() -> Self {
        Self { listens: true, ..Self::default() }
    }

    pub fn tell(&mut self, t: i64, text: impl FnOnce() -> String) {
        if self.listens {
            self.lines.push(format!("{:4} {}", t, text()));
        }
    }

    /// Takes one step of one process into the fingerprint.
    pub fn step(&mut self, n: usize, input: &impl std::fmt::Debug) {
        if self.listens {
            (n, format!("{input:?}")).hash(&mut self.fingerprint);
        }
    }

    /// Differs when any process was told anything else, or in another order.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }
}
