//! All metric names of the gateway, and what they mean to a scraper.
//!
//! Labels are bounded: services up to a number in `tally`, everything else by its type.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Calls answered, by service, rung and class of the status.
pub(crate) const CALLS: &str = "landbridge_gateway_calls_total";
/// Time to the first byte of an answer, by rung.
pub(crate) const CALL_SECONDS: &str = "landbridge_gateway_call_duration_seconds";
/// Calls the gateway answered by itself, by reason.
pub(crate) const REFUSALS: &str = "landbridge_gateway_refusals_total";
/// Tries after the first, by service.
pub(crate) const RETRIES: &str = "landbridge_gateway_retries_total";
/// Repeats that were due and not made because the budget was spent, by service.
pub(crate) const RETRIES_DENIED: &str = "landbridge_gateway_retries_denied_total";
/// Tries made beside one that waited, by service.
pub(crate) const HEDGES: &str = "landbridge_gateway_hedges_total";
/// Calls answered by a try made beside another, by service.
pub(crate) const HEDGES_WON: &str = "landbridge_gateway_hedges_won_total";
/// Tries that were due beside another and not made because the budget was spent, by service.
pub(crate) const HEDGES_DENIED: &str = "landbridge_gateway_hedges_denied_total";
/// Tries that failed, by rung and kind of failure.
pub(crate) const TRIES_FAILED: &str = "landbridge_gateway_tries_failed_total";
/// Probes that ended, by service and outcome.
pub(crate) const PROBES: &str = "landbridge_gateway_probes_total";
/// Endpoints taken out of rotation, by service.
pub(crate) const EJECTIONS: &str = "landbridge_gateway_ejections_total";
/// Endpoints that answered on probation and are in rotation again, by service.
pub(crate) const RETURNS: &str = "landbridge_gateway_returns_total";
/// Evacuations that run.
pub(crate) const EVACUATIONS: &str = "landbridge_gateway_evacuations";
/// Connections to endpoints that were opened.
pub(crate) const UPSTREAM_OPENED: &str = "landbridge_gateway_upstream_connections_opened_total";
/// Client connections that are open.
pub(crate) const CONNECTIONS: &str = "landbridge_gateway_connections_open";
/// Client connections taken in.
pub(crate) const CONNECTIONS_ACCEPTED: &str = "landbridge_gateway_connections_accepted_total";
/// Client connections cut for exceeding a limit, by reason.
pub(crate) const CONNECTIONS_CUT: &str = "landbridge_gateway_connections_cut_total";
/// Tunnels that are open.
pub(crate) const TUNNELS_OPEN: &str = "landbridge_gateway_tunnels_open";
/// Tunnels begun, by what they are for.
pub(crate) const TUNNELS: &str = "landbridge_gateway_tunnels_total";
/// Lines handed to the access log.
pub(crate) const ACCESS_LINES: &str = "landbridge_gateway_access_log_lines_total";
/// Lines the access log had no room for.
pub(crate) const ACCESS_DROPPED: &str = "landbridge_gateway_access_log_dropped_total";
/// Spans of traced calls, by outcome.
#[cfg(feature = "otel")]
pub(crate) const SPANS: &str = "landbridge_gateway_spans_total";
/// Calls in flight.
pub(crate) const IN_FLIGHT: &str = "landbridge_gateway_in_flight_calls";
/// Services in the table.
pub(crate) const TABLE_SERVICES: &str = "landbridge_gateway_table_services";
/// Endpoints in the table.
pub(crate) const TABLE_ENDPOINTS: &str = "landbridge_gateway_table_endpoints";
/// Endpoints kept although the registry no longer lists them.
pub(crate) const TABLE_HELD: &str = "landbridge_gateway_table_held_endpoints";
/// Tables published to the cores.
pub(crate) const TABLE_CHANGES: &str = "landbridge_gateway_table_changes_total";

/// Ports that the registry gave to services and that are open.
pub(crate) const GIVEN_PORTS: &str = "landbridge_gateway_given_ports_open";
/// Such ports that could not be opened.
pub(crate) const GIVEN_PORTS_MISSING: &str = "landbridge_gateway_given_ports_missing";

/// Calls that waited because their service's endpoints were crowded.
pub(crate) const ADMISSION_WAITED: &str = "landbridge_gateway_admission_waited_total";
/// Calls sent away because their service's endpoints were crowded, by criticality.
pub(crate) const ADMISSION_SHED: &str = "landbridge_gateway_admission_shed_total";
/// Services whose calls at once are limited, each counted once for every core.
pub(crate) const ADMISSION_LIMITED: &str = "landbridge_gateway_admission_limited_services";

/// Other gateways of the region with which limits are shared, by whether they took note lately.
pub(crate) const NEIGHBOURS: &str = "landbridge_gateway_neighbours";
/// Rounds told to one of them, by outcome.
pub(crate) const LIMIT_EXCHANGES: &str = "landbridge_gateway_limit_exchanges_total";
/// Keys of limits that were told in the last round.
pub(crate) const LIMIT_KEYS: &str = "landbridge_gateway_limit_keys_told";
/// Keys of limits that had no room in the last round.
pub(crate) const LIMIT_KEYS_CUT: &str = "landbridge_gateway_limit_keys_cut";

/// Tries that left for another region, by peer and way.
pub(crate) const CROSSINGS: &str = "landbridge_gateway_crossings_total";
/// Tries that were kept from leaving by a quota, by peer.
pub(crate) const CROSSINGS_DENIED: &str = "landbridge_gateway_crossings_denied_total";
/// Bytes of bodies that went to another region or came from it, by peer.
pub(crate) const CROSSING_BYTES: &str = "landbridge_gateway_crossing_bytes_total";

/// Tells the recorder what each name means.
pub(crate) fn describe() {
    describe_counter!(CALLS, "Calls answered.");
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "Time to the first byte of an answer.");
    describe_counter!(REFUSALS, "Calls the gateway answered by itself.");
    describe_counter!(RETRIES, "Tries after the first.");
    describe_counter!(RETRIES_DENIED, "Repeats not made because the budget was spent.");
    describe_counter!(HEDGES, "Tries made beside one that waited.");
    describe_counter!(HEDGES_WON, "Calls answered by a try made beside another.");
    describe_counter!(HEDGES_DENIED, "Tries not made beside another because the budget was spent.");
    describe_counter!(TRIES_FAILED, "Tries that failed.");
    describe_counter!(PROBES, "Probes that ended.");
    describe_counter!(EJECTIONS, "Endpoints taken out of rotation.");
    describe_counter!(RETURNS, "Endpoints back in rotation after a probation.");
    describe_gauge!(EVACUATIONS, "Evacuations that run.");
    describe_counter!(UPSTREAM_OPENED, "Connections opened to endpoints.");
    describe_gauge!(CONNECTIONS, "Open client connections.");
    describe_counter!(CONNECTIONS_ACCEPTED, "Client connections taken in.");
    describe_counter!(CONNECTIONS_CUT, "Client connections cut for exceeding a limit.");
    describe_gauge!(TUNNELS_OPEN, "Open tunnels.");
    describe_counter!(TUNNELS, "Tunnels begun.");
    describe_counter!(ACCESS_LINES, "Lines handed to the access log.");
    describe_counter!(ACCESS_DROPPED, "Lines the access log had no room for.");
    #[cfg(feature = "otel")]
    describe_counter!(SPANS, "Spans of traced calls.");
    describe_gauge!(IN_FLIGHT, "Calls in flight.");
    describe_gauge!(TABLE_SERVICES, "Services in the table.");
    describe_gauge!(TABLE_ENDPOINTS, "Endpoints in the table.");
    describe_gauge!(TABLE_HELD, "Endpoints kept although the registry no longer lists them.");
    describe_counter!(TABLE_CHANGES, "Tables published to the cores.");
    describe_counter!(ADMISSION_WAITED, "Calls that waited because endpoints were crowded.");
    describe_counter!(ADMISSION_SHED, "Calls sent away because endpoints were crowded.");
    describe_gauge!(ADMISSION_LIMITED, "Services whose calls at once are limited, once for every core.");
    describe_gauge!(NEIGHBOURS, "Other gateways of the region with which limits are shared.");
    describe_counter!(LIMIT_EXCHANGES, "Rounds told to another gateway of the region.");
    describe_gauge!(LIMIT_KEYS, "Keys of limits told in the last round.");
    describe_gauge!(LIMIT_KEYS_CUT, "Keys of limits that had no room in the last round.");
    describe_counter!(CROSSINGS, "Tries that left for another region.");
    describe_counter!(CROSSINGS_DENIED, "Tries kept from leaving by a quota.");
    describe_counter!(CROSSING_BYTES, "Bytes of bodies to and from another region.");
    describe_gauge!(GIVEN_PORTS, "Open ports that the registry gave to services.");
    describe_gauge!(
        GIVEN_PORTS_MISSING,
        "Ports that the registry gave to services and that could not be opened."
    );
}
