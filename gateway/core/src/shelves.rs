//! The services of a snapshot in their order, on shelves: a change makes its shelf anew and shares all others.

use std::{collections::BTreeMap, sync::Arc};

use crate::service::Service;

/// Services on one shelf: with thousands of them, about as many as there are shelves.
const SHELF: usize = 64;

type Shelf = Arc<[Arc<Service>]>;

/// Services by their positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelves(Box<[Shelf]>);

fn place(position: u32) -> (usize, usize) {
    let position = position as usize;
    (position / SHELF, position % SHELF)
}

impl Shelves {
    /// All services anew.
    pub(crate) fn filled(services: impl Iterator<Item = Arc<Service>>) -> Self {
        let services: Vec<_> = services.collect();
        Self(services.chunks(SHELF).map(Shelf::from).collect())
    }

    /// The same with other services in some places.
    pub(crate) fn with(&self, changed: BTreeMap<u32, Arc<Service>>) -> Self {
        let mut shelves = self.0.clone();
        for (position, service) in changed {
            let (shelf, at) = place(position);
            // One that was made just now is changed where it is; one that is shared is copied first.
            Arc::make_mut(&mut shelves[shelf])[at] = service;
        }
        Self(shelves)
    }

    /// The service at a position that was told.
    pub(crate) fn get(&self, position: u32) -> &Service {
        let (shelf, at) = place(position);
        &self.0[shelf][at]
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.0.iter().flat_map(|shelf| shelf.iter())
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|shelf| shelf.len()).sum()
    }

    /// How many shelves are others than before.
    #[cfg(test)]
    pub(crate) fn made_since(&self, before: &Self) -> usize {
        let same = self.0.iter().zip(&before.0).filter(|(now, before)| Arc::ptr_eq(now, before)).count();
        self.0.len() - same
    }
}
