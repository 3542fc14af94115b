//! One feed as a holder keeps it: exactly what its writer held at one position, under one view.
//!
//! Invariant: a copy is never partly filled; it changes by whole steps (R5) or is replaced whole (R7).
//! Invariant: its position never runs back in one life of a holder (R6).

use std::sync::Arc;

use landbridge_model::{Change, FeedId, Mutant, Position, Record, RecordKey, View, planted};

use crate::{body::Body, message::Digests, ring::Ring, settings::Limits};

/// A copy of a feed, or the feed itself at its writer.
#[derive(Clone, Debug)]
pub struct Copy {
    id: Arc<FeedId>,
    view: View,
    position: Position,
    doubted: bool,
    generation: u64,
    pub(crate) body: Body,
    pub(crate) ring: Ring,
    /// How often the copy was replaced whole: a supplier in the middle of a reconcile starts over when it sees that.
    pub(crate) swaps: u64,
}

impl Copy {
    /// The swaps of a copy that has not been replaced.
    pub const SWAPS_AT_FIRST: u64 = 1;

    pub(crate) fn new(feed: &FeedId, view: View, position: Position, body: Body) -> Self {
        Self {
            id: Arc::new(feed.clone()),
            view,
            position,
            doubted: false,
            generation: 1,
            body,
            ring: Ring::new(position),
            swaps: Self::SWAPS_AT_FIRST,
        }
    }

    /// The filter under which it was taken.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether a verification found it to differ from its writer (R25).
    pub fn doubted(&self) -> bool {
        self.doubted
    }

    /// Rises with every change: a copy saved at an equal generation need not be saved again.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All it holds, in an order that is the same at every holder.
    pub fn records(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.body.records()
    }

    /// How often it was replaced whole, counted from [`Self::SWAPS_AT_FIRST`].
    pub fn swaps(&self) -> u64 {
        self.swaps
    }

    /// The latest change per key since it stood at `at`; none if its recent steps do not reach back that far.
    pub fn changes_since(&self, at: Position) -> Option<Vec<Change>> {
        if at < self.ring.floor() {
            return None;
        }
        let steps = self.ring.after(at, usize::MAX);
        let changes = steps.into_iter().flat_map(|steps| steps.changes);
        Some(changes.map(|(key, record)| Change { key, record }).collect())
    }

    /// What it holds for a key.
    pub fn record(&self, key: &RecordKey) -> Option<&Record> {
        self.body.record(key)
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digests of its buckets.
    pub fn digests(&self) -> &Digests {
        self.body.digests()
    }

    pub(crate) fn id(&self) -> &Arc<FeedId> {
        &self.id
    }

    /// R5: whether a step leads on from here.
    pub(crate) fn accepts(&self, view: &View, from: Position, to: Position) -> bool {
        (self.view == *view || planted(Mutant::ViewIgnored))
            && (from <= self.position || planted(Mutant::GapTaken))
            && (self.position < to || planted(Mutant::KnownStepTaken))
    }

    /// Takes a step that it accepts, and tells for each key what stood there before.
    pub(crate) fn advance(
        &mut self,
        to: Position,
        changes: Vec<Change>,
        limits: &Limits,
    ) -> Vec<(Change, Option<Record>)> {
        assert!(self.position < to, "a copy never goes back");
        let taken = changes.iter().map(|change| {
            let old = self.body.put(&change.key, change.record.clone());
            (change.clone(), old)
        });
        let taken = taken.collect();
        self.ring.push(self.position, to, changes, limits);
        self.position = to;
        self.generation += 1;
        taken
    }

    /// R6: whether a finished reconcile may take this copy's place.
    pub(crate) fn yields_to(&self, view: &View, position: Position) -> bool {
        let equal = *view == self.view && position == self.position;
        let is_back = position < self.position
            && !planted(Mutant::RollBack)
            && !(planted(Mutant::NewerViewOlderSeq) && *view > self.view);
        *view >= self.view && !is_back && (!equal || self.doubted && !planted(Mutant::RepairRefused))
    }

    /// Follows on a replaced copy, so that its suppliers and its saver notice.
    pub(crate) fn succeed(&mut self, old: &Self) {
        self.id = Arc::clone(&old.id);
        self.swaps = old.swaps + 1;
        self.generation = old.generation + 1;
    }

    /// Sums its digests up again from what is really held.
    pub(crate) fn recount(&mut self) {
        self.body.recount();
    }

    /// An operator wants it rebuilt: it counts as doubted until it is.
    pub(crate) fn doubt(&mut self) {
        self.body.recount();
        self.doubted = true;
    }

    /// R25: compares what is really held with what the writer says; tells whether it is equal.
    pub(crate) fn verify(&mut self, digests: &Digests) -> bool {
        self.body.recount();
        self.doubted = self.body.digests() != digests;
        !self.doubted
    }
}
