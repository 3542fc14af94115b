//! Services whose persistent instances may have changed since they were last looked at.

use std::collections::BTreeSet;

use landbridge_model::ServiceKey;
use landbridge_registry_core::{Kind, ServiceView};
use parking_lot::Mutex;

/// What the driver leaves for the prober; bounded by the services that exist.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<BTreeSet<ServiceKey>>);

impl Touched {
    /// Whether a view is of persistent instances, or of a service that is gone and may have had some.
    pub(crate) fn concerns(view: Option<&ServiceView>) -> bool {
        view.is_none_or(|view| view.kind == Some(Kind::Persistent))
    }

    /// The view of such a service was published.
    pub(crate) fn note(&self, service: &ServiceKey) {
        self.0.lock().insert(service.clone());
    }

    /// What was left since the last time.
    pub(crate) fn take(&self) -> BTreeSet<ServiceKey> {
        std::mem::take(&mut self.0.lock())
    }
}
