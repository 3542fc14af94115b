//! A drill: calls leave a region or a zone step by step, and come back by themselves.
//!
//! ```text
//! all calls ── ramp_ms ──▶ none, while any other place can answer ── until ──▶ all calls
//! ```
//! Invariant: an evacuated place is the last resort, and never no resort.

use std::collections::BTreeSet;

use landbridge_model::{Moment, Region, Zone};

use crate::service::{EndpointSpec, Name};

/// A place that calls are to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evacuation {
    /// The region.
    pub region: Region,
    /// Only this zone of it; `None` for all.
    pub zone: Option<Zone>,
    /// Only these services; `None` for all.
    pub services: Option<BTreeSet<Name>>,
    /// When it began.
    pub begun: Moment,
    /// The time in which calls leave; 0 for at once.
    pub ramp_ms: u64,
    /// When it is over.
    pub until: Moment,
}

impl Evacuation {
    /// The share of its calls the place still keeps, 0 to 1.
    pub fn keeps(&self, now: Moment) -> f64 {
        let passed_ms = now.since(self.begun);
        if now >= self.until {
            1.0
        } else if passed_ms >= self.ramp_ms {
            0.0
        } else {
            1.0 - passed_ms as f64 / self.ramp_ms as f64
        }
    }

    /// True if it is about this service at all.
    pub fn concerns(&self, service: &Name) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }

    /// True if an endpoint lies in the place.
    pub fn covers(&self, endpoint: &EndpointSpec) -> bool {
        endpoint.region == self.region && self.zone.as_ref().is_none_or(|zone| *zone == endpoint.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{region, spec};

    #[test]
    fn calls_leave_along_the_ramp_and_come_back_at_the_end() {
        let leaving = Evacuation {
            region: region("home"),
            zone: None,
            services: None,
            begun: Moment(1_000),
            ramp_ms: 1_000,
            until: Moment(5_000),
        };

        let kept = [1_000, 1_250, 2_000, 4_999, 5_000].map(|ms| leaving.keeps(Moment(ms)));

        assert_eq!(kept, [1.0, 0.75, 0.0, 0.0, 1.0]);
        assert!(leaving.covers(&spec("home", "b")) && !leaving.covers(&spec("far", "b")));
    }
}
