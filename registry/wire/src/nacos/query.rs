//! Questions that both protocols ask.

use landbridge_model::{Group, Namespace, ServiceKey};

use super::ClusterFilter;

/// The largest page of a service list; a larger one is cut to it.
pub const PAGE_SIZE_MAX: u64 = 10_000;

/// One look at a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceQuery {
    /// Which.
    pub service: ServiceKey,
    /// Which clusters of it.
    pub clusters: ClusterFilter,
    /// Whether the unhealthy are left out.
    pub healthy_only: bool,
}

/// One page of service names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceListQuery {
    /// Of which namespace.
    pub namespace: Namespace,
    /// Of which group.
    pub group: Group,
    /// Counted from 1.
    pub page_no: u64,
    /// At most so many.
    pub page_size: u64,
}

impl ServiceListQuery {
    /// A page within its bounds; page 0 is the first, as in Nacos.
    pub fn new(namespace: Namespace, group: Group, page_no: u64, page_size: u64) -> Self {
        Self { namespace, group, page_no: page_no.max(1), page_size: page_size.min(PAGE_SIZE_MAX) }
    }

    /// How many names come before the page.
    pub fn skip(&self) -> u64 {
        (self.page_no - 1).saturating_mul(self.page_size)
    }
}
