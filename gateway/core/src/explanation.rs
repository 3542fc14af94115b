//! What a decision tells of itself while it is made, and who listens.

use crate::pick::Decision;

/// One endpoint as an explanation shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// Its position in the service's list.
    pub endpoint: u32,
    /// Latency × calls in flight by weight: the smaller wins.
    pub cost: f32,
}

/// One step as an explanation shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// The position of the step on the ladder.
    pub step: usize,
    /// The weight that is healthy and in rotation.
    pub available: f64,
    /// The share of all calls it could bear, at most 1.
    pub capacity: f64,
    /// The share of all calls its rung keeps at most, for it is slow; 1 for one that is not.
    pub keeps: f64,
}

/// Why a call goes where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The outcome, as routing has it.
    pub decision: Decision,
    /// The steps that were looked at, in that order.
    pub weighed: Vec<Weighed>,
    /// The endpoints that were compared at the end.
    pub compared: Vec<Compared>,
}

/// Listens to a decision being made.
pub(crate) trait Listener {
    /// A step was looked at.
    fn weighed(&mut self, weighed: Weighed);
    /// An endpoint was compared.
    fn compared(&mut self, compared: Compared);
}

/// The listener of the request path: nothing is left of it after compilation.
pub(crate) struct Nobody;

impl Listener for Nobody {
    fn weighed(&mut self, _: Weighed) {}
    fn compared(&mut self, _: Compared) {}
}

impl Listener for Explanation {
    fn weighed(&mut self, weighed: Weighed) {
        self.weighed.push(weighed);
    }

    fn compared(&mut self, compared: Compared) {
        self.compared.push(compared);
    }
}

impl Explanation {
    /// Nothing heard yet.
    pub(crate) fn blank() -> Self {
        Self { decision: Decision::Nobody, weighed: Vec::new(), compared: Vec::new() }
    }
}
