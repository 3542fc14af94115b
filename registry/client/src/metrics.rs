//! All metric names of this room.

use metrics::{counter, gauge};

use crate::table::Table;

/// Tells how large the table is; it has so many endpoints.
pub(crate) fn table(table: &Table, endpoints: usize) {
    gauge!("landbridge_client_table_services").set(table.services.len() as f64);
    gauge!("landbridge_client_table_endpoints").set(endpoints as f64);
    for (region, view) in &table.regions {
        let origin = region.to_string();
        gauge!("landbridge_client_region_age_seconds", "origin" => origin).set(view.age_ms as f64 / 1_000.0);
    }
}

/// Counts a keepsake that could not be read or written.
pub(crate) fn keepsake_failed() {
    counter!("landbridge_client_keepsake_failures_total").increment(1);
}
