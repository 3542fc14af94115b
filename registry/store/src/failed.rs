//! The first reason why a store cannot go on, for whoever must end the process.

use tokio::sync::watch;

use crate::failure::StoreError;

/// Says once that the store has failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed(watch::Sender<Option<StoreError>>);

impl Failed {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The first reason stays.
    pub(crate) fn set(&self, error: StoreError) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                *reason = Some(error);
            }
            first
        });
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<StoreError>> {
        self.0.subscribe()
    }
}
