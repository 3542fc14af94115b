//! Every metric of a member, by name; `deploy/prometheus/METRICS.md` says what they mean.

use metrics::{counter, gauge, histogram};

use std::time::Duration;

use landbridge_registry_core::probing::{Finding, Method};

use crate::window::Census;

/// Instances shown by this member, by origin.
pub const INSTANCES: &str = "landbridge_registry_instances";
/// Services with at least one shown instance, by origin.
pub const SERVICES: &str = "landbridge_registry_services";
/// Open SDK connections.
pub const CONNECTIONS: &str = "landbridge_registry_connections";
/// SDK connections closed, by reason.
pub const CONNECTIONS_CLOSED: &str = "landbridge_registry_connections_closed_total";
/// Standing gRPC subscriptions.
pub const SUBSCRIPTIONS: &str = "landbridge_registry_subscriptions";
/// Config calls passed to the upstream, by protocol and outcome.
pub const CONFIG_PASSED: &str = "landbridge_registry_config_passed_total";
/// Services with a label selector.
pub const SELECTORS: &str = "landbridge_registry_selectors";
/// Standing fuzzy watches.
pub const FUZZY_WATCHES: &str = "landbridge_registry_fuzzy_watches";
/// gRPC requests, by type and outcome.
pub const GRPC_REQUESTS: &str = "landbridge_registry_grpc_requests_total";
/// HTTP requests, by operation and status.
pub const HTTP_REQUESTS: &str = "landbridge_registry_http_requests_total";
/// Pushes handed to subscribers.
pub const PUSHES: &str = "landbridge_registry_pushes_total";
/// Pushes said again because no ack came.
pub const PUSHES_RETRIED: &str = "landbridge_registry_pushes_retried_total";
/// Lists that no datagram holds, each time one was due.
pub const UDP_TOO_LONG: &str = "landbridge_registry_udp_too_long_total";
/// Seconds from writing a push to its ack.
pub const PUSH_ACK_SECONDS: &str = "landbridge_registry_push_ack_seconds";
/// Messages that could not be read, by protocol.
pub const MALFORMED: &str = "landbridge_registry_malformed_total";
/// Inputs that wait for the core.
pub const CORE_QUEUE: &str = "landbridge_registry_core_queue";
/// Writes refused, by reason.
pub const REFUSED: &str = "landbridge_registry_refused_total";
/// 1 while queries are answered.
pub const READY: &str = "landbridge_registry_ready";
/// 1 while this member leads its Raft group.
pub const RAFT_LEADER: &str = "landbridge_registry_raft_leader";
/// The Raft position this member has applied.
pub const RAFT_APPLIED: &str = "landbridge_registry_raft_applied_seq";
/// Other members of the region, by how they answer.
pub const PEERS: &str = "landbridge_registry_peers";
/// Beats handed to other members, by what came of them.
pub const BEATS_FORWARDED: &str = "landbridge_registry_beats_forwarded_total";
/// Seconds since a heartbeat of the origin last advanced here.
pub const ORIGIN_AGE_SECONDS: &str = "landbridge_registry_origin_age_seconds";
/// 0 live, 1 suspect, 2 frozen, by origin.
pub const ORIGIN_STANDING: &str = "landbridge_registry_origin_standing";
/// 1 while nothing of an origin shows because it has been silent for longer than its import policy lets it.
pub const ORIGIN_EXPIRED: &str = "landbridge_registry_origin_expired";
/// 1 while an import policy stands for an origin.
pub const ORIGIN_POLICY: &str = "landbridge_registry_origin_policy";
/// Records held of an origin, all its copies together.
pub const ORIGIN_RECORDS: &str = "landbridge_registry_origin_records";
/// Seqs the copies of an origin lack against its newest heartbeats.
pub const ORIGIN_LAG_SEQS: &str = "landbridge_registry_origin_lag_seqs";
/// Age of the newest heartbeat of the origin that the copies have reached, by the writers' clocks.
pub const ORIGIN_LAG_SECONDS: &str = "landbridge_registry_origin_lag_seconds";
/// Seconds from a registration in its origin until it is published here, by origin.
pub const PROPAGATION_SECONDS: &str = "landbridge_registry_propagation_seconds";
/// Beat leases that ended because their client fell silent.
pub const LAPSES: &str = "landbridge_registry_lapses_total";
/// What is held back of a mass lapse, by origin.
pub const PROTECTION_HELD: &str = "landbridge_registry_protection_held";
/// Mass lapses that were held back, by origin.
pub const PROTECTION_HOLDS: &str = "landbridge_registry_protection_holds_total";
/// Probes of persistent instances that ended, by method and what they found.
pub const PROBES: &str = "landbridge_registry_probes_total";
/// Seconds that a probe took, by method.
pub const PROBE_SECONDS: &str = "landbridge_registry_probe_seconds";
/// Persistent instances that are this member's to probe.
pub const PROBE_TARGETS: &str = "landbridge_registry_probe_targets";
/// Probes that run.
pub const PROBES_RUNNING: &str = "landbridge_registry_probes_running";
/// Health changes told to the region, by what they say.
pub const PROBE_FLIPS: &str = "landbridge_registry_probe_flips_total";
/// Health changes that the region has not decided yet.
pub const PROBE_FLIPS_WAITING: &str = "landbridge_registry_probe_flips_waiting";

/// 1 while callers must say who they are.
pub const AUTH_ENABLED: &str = "landbridge_registry_auth_enabled";
/// Callers turned away for who they are, by protocol and reason.
pub const DENIED: &str = "landbridge_registry_denied_total";
/// Logins, by outcome.
pub const LOGINS: &str = "landbridge_registry_logins_total";

/// A caller was turned away.
pub(crate) fn denied(protocol: &'static str, reason: &'static str) {
    counter!(DENIED, "protocol" => protocol, "reason" => reason).increment(1);
}

/// Somebody tried to log in.
pub(crate) fn login(outcome: &'static str) {
    counter!(LOGINS, "outcome" => outcome).increment(1);
}

/// A gRPC request was answered.
pub(crate) fn grpc(kind: &'static str, outcome: &'static str) {
    counter!(GRPC_REQUESTS, "type" => kind, "outcome" => outcome).increment(1);
}

/// An HTTP request was answered.
pub(crate) fn http(operation: &'static str, status: u16) {
    let status = match status {
        200..=299 => "2xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    counter!(HTTP_REQUESTS, "operation" => operation, "status" => status).increment(1);
}

/// A change was handed to so many subscribers.
pub(crate) fn fan_out(subscribers: usize) {
    counter!(PUSHES).increment(subscribers as u64);
}

/// So many pushes are said again.
pub(crate) fn retried(pushes: usize) {
    counter!(PUSHES_RETRIED).increment(pushes as u64);
}

/// A push by UDP did not go out because the list fits no datagram.
pub(crate) fn udp_too_long() {
    counter!(UDP_TOO_LONG).increment(1);
}

/// A push was acked after so long.
pub(crate) fn acked(waited_ms: u64) {
    histogram!(PUSH_ACK_SECONDS).record(waited_ms as f64 / 1000.0);
}

/// A message could not be read.
pub(crate) fn malformed(protocol: &'static str) {
    counter!(MALFORMED, "protocol" => protocol).increment(1);
}

/// A write was refused.
pub(crate) fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// So many services and instances of an origin are shown.
pub(crate) fn shown(origin: &landbridge_model::Region, census: Census) {
    gauge!(SERVICES, "origin" => origin.to_string()).set(census.services as f64);
    gauge!(INSTANCES, "origin" => origin.to_string()).set(census.instances as f64);
}

/// How many SDK connections are open.
pub(crate) fn connections(open: usize) {
    gauge!(CONNECTIONS).set(open as f64);
}

/// So many services choose by labels what a consumer is shown.
pub(crate) fn selecting(services: usize) {
    gauge!(SELECTORS).set(services as f64);
}

/// A config call was passed to the upstream, and this came of it.
pub(crate) fn passed(protocol: &'static str, outcome: &'static str) {
    counter!(CONFIG_PASSED, "protocol" => protocol, "outcome" => outcome).increment(1);
}

/// An SDK connection is gone.
pub(crate) fn connection_closed(reason: &'static str) {
    counter!(CONNECTIONS_CLOSED, "reason" => reason).increment(1);
}

/// So many beats were handed to another member, or came to nothing.
pub(crate) fn forwarded(outcome: &'static str, beats: usize) {
    counter!(BEATS_FORWARDED, "outcome" => outcome).increment(beats as u64);
}

/// A registration of another region came here after so long.
pub(crate) fn propagated(origin: &landbridge_model::Region, took_ms: u64) {
    histogram!(PROPAGATION_SECONDS, "origin" => origin.to_string()).record(took_ms as f64 / 1000.0);
}

/// So much is held back of a region's mass lapse.
pub(crate) fn held(origin: &landbridge_model::Region, count: usize, began: bool) {
    gauge!(PROTECTION_HELD, "origin" => origin.to_string()).set(count as f64);
    counter!(PROTECTION_HOLDS, "origin" => origin.to_string()).increment(u64::from(began));
}

/// A probe ended.
pub(crate) fn probed(method: Method, finding: Finding, took: Duration) {
    let method = match method {
        Method::Tcp => "tcp",
        Method::Http => "http",
        Method::MySql => "mysql",
    };
    let outcome = match finding {
        Finding::Well => "well",
        Finding::Soft => "soft",
        Finding::Hard => "hard",
        Finding::Unable => "unable",
    };
    counter!(PROBES, "method" => method, "outcome" => outcome).increment(1);
    histogram!(PROBE_SECONDS, "method" => method).record(took.as_secs_f64());
}

/// So much is to be probed, runs, and waits for the region.
pub(crate) fn probing(targets: usize, running: usize, waiting: usize) {
    gauge!(PROBE_TARGETS).set(targets as f64);
    gauge!(PROBES_RUNNING).set(running as f64);
    gauge!(PROBE_FLIPS_WAITING).set(waiting as f64);
}

/// Flips were told, so many of them to healthy.
pub(crate) fn probe_flips(healthy: usize, all: usize) {
    counter!(PROBE_FLIPS, "to" => "healthy").increment(healthy as u64);
    counter!(PROBE_FLIPS, "to" => "unhealthy").increment((all - healthy) as u64);
}
