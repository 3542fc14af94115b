//! All metric names of this room.

use landbridge_feed::Standing;
use landbridge_model::{Hold, Region};
use metrics::{counter, gauge, histogram};

use landbridge_bridge_core::{Link, guest::State};

/// Tells how one link is doing.
pub(crate) fn link(region: &Region, link: &Link) {
    let origin = || region.to_string();
    let status = &link.status;
    gauge!("landbridge_bridge_region_age_seconds", "origin" => origin()).set(status.age_ms as f64 / 1_000.0);
    gauge!("landbridge_bridge_lag_seqs", "origin" => origin()).set(status.lag_seqs as f64);
    if let Some(lag_ms) = status.lag_ms {
        gauge!("landbridge_bridge_lag_seconds", "origin" => origin()).set(lag_ms as f64 / 1_000.0);
    }
    gauge!("landbridge_bridge_records", "origin" => origin()).set(status.records as f64);
    gauge!("landbridge_bridge_feeds", "origin" => origin()).set(status.feeds as f64);
    for standing in [Standing::Live, Standing::Suspect, Standing::Frozen] {
        let holds = f64::from(u8::from(status.standing == standing));
        gauge!("landbridge_bridge_region_standing", "origin" => origin(), "state" => standing_name(standing))
            .set(holds);
    }
    gauge!("landbridge_bridge_link_stalled", "origin" => origin()).set(f64::from(u8::from(link.stalled)));
}

/// Tells that nothing is held of an origin.
pub(crate) fn gone(region: &Region) {
    gauge!("landbridge_bridge_records", "origin" => region.to_string()).set(0.0);
    gauge!("landbridge_bridge_feeds", "origin" => region.to_string()).set(0.0);
    gauge!("landbridge_bridge_link_stalled", "origin" => region.to_string()).set(0.0);
    for standing in [Standing::Live, Standing::Suspect, Standing::Frozen] {
        let state = standing_name(standing);
        gauge!("landbridge_bridge_region_standing", "origin" => region.to_string(), "state" => state)
            .set(0.0);
    }
}

/// A standing as operators read it.
pub(crate) fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Live => "live",
        Standing::Suspect => "suspect",
        Standing::Frozen => "frozen",
    }
}

/// Counts a batch that was applied.
pub(crate) fn applied(region: &Region, changes: usize) {
    counter!("landbridge_bridge_batches_total", "origin" => region.to_string()).increment(1);
    counter!("landbridge_bridge_changes_total", "origin" => region.to_string()).increment(changes as u64);
}

/// Notes how long a registration took from its stamp to here, by two wall clocks.
pub(crate) fn propagated(region: &Region, ms: u64) {
    histogram!("landbridge_bridge_propagation_seconds", "origin" => region.to_string())
        .record(ms as f64 / 1_000.0);
}

/// Counts a copy that was rebuilt by a reconcile.
pub(crate) fn reconciled(region: &Region) {
    counter!("landbridge_bridge_reconciles_total", "origin" => region.to_string()).increment(1);
}

/// Counts a copy that a verification found to differ.
pub(crate) fn doubted(region: &Region) {
    counter!("landbridge_bridge_doubted_total", "origin" => region.to_string()).increment(1);
}

/// Counts a doubted copy that was replaced.
pub(crate) fn repaired(region: &Region) {
    counter!("landbridge_bridge_repaired_total", "origin" => region.to_string()).increment(1);
}

/// Tells what operators have ordered about a region.
pub(crate) fn ordered(region: &Region, order: Option<Hold>) {
    for hold in Hold::ALL {
        let holds = f64::from(u8::from(order == Some(hold)));
        gauge!("landbridge_bridge_link_order", "origin" => region.to_string(), "state" => hold.name())
            .set(holds);
    }
}

/// Tells whether this bridge imports an origin.
pub(crate) fn imports(region: &Region, imports: bool) {
    let value = f64::from(u8::from(imports));
    gauge!("landbridge_bridge_importer", "origin" => region.to_string()).set(value);
}

/// Counts an origin that this bridge took over from another one.
pub(crate) fn taken_over(region: &Region) {
    counter!("landbridge_bridge_takeovers_total", "origin" => region.to_string()).increment(1);
}

/// Counts what operators asked of a link here.
pub(crate) fn asked(region: &Region, verb: &'static str) {
    counter!("landbridge_bridge_asks_total", "origin" => region.to_string(), "type" => verb).increment(1);
}

/// Counts a live link that stopped moving.
pub(crate) fn stalled(region: &Region) {
    counter!("landbridge_bridge_stalls_total", "origin" => region.to_string()).increment(1);
}

/// Tells how the hosted guest is doing.
pub(crate) fn guest(state: State, instances: usize, held: usize, put: usize) {
    for each in [State::Silent, State::Gathering, State::Open] {
        let holds = f64::from(u8::from(each == state));
        gauge!("landbridge_bridge_guest_state", "state" => each.name()).set(holds);
    }
    gauge!("landbridge_bridge_guest_instances").set(instances as f64);
    gauge!("landbridge_bridge_guest_held").set(held as f64);
    gauge!("landbridge_bridge_guest_put").set(put as f64);
}

/// Counts a failure of the guest.
pub(crate) fn guest_failed(reason: &'static str) {
    counter!("landbridge_bridge_guest_failures_total", "reason" => reason).increment(1);
}

/// Counts instances that were registered in the guest.
pub(crate) fn guest_put(instances: usize) {
    counter!("landbridge_bridge_guest_puts_total").increment(instances as u64);
}

/// Counts instances that went because the guest has them no more.
pub(crate) fn guest_went(instances: usize) {
    counter!("landbridge_bridge_guest_gone_total").increment(instances as u64);
}

/// Counts instances that were not taken for want of room.
pub(crate) fn guest_full(instances: usize) {
    counter!("landbridge_bridge_guest_full_total").increment(instances as u64);
}
