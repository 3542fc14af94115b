//! The writer's own word on what its feed holds at a position (R25).
//!
//! Invariant: only the writer makes one; a holder passes it on only after its own copy compared equal.

use landbridge_model::{Position, View};

use crate::{copy::Copy, message::Digests};

/// A verification of a feed, made here or found equal here.
#[derive(Debug)]
pub(crate) struct Verification {
    /// Counts up per writer.
    pub n: u64,
    pub view: View,
    pub position: Position,
    pub digests: Digests,
}

impl Verification {
    /// The writer's word on its own feed as it stands.
    pub fn of(own: &Copy, n: u64) -> Self {
        Self { n, view: own.view().clone(), position: own.position(), digests: own.digests().clone() }
    }
}
