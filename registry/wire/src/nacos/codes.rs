//! Nacos's code numbers and the texts that clients and people know (`NacosException`, `NamingResponseCode`, `ErrorCode`).

use landbridge_model::ServiceKey;

/// `resultCode` of a success.
pub const OK: u16 = 200;
/// `resultCode` of a failure.
pub const FAILED: u16 = 500;
/// The server is starting: Go and Python clients wait and ask again.
pub const STARTING: u16 = 300;
/// In a config answer: there is no such config.
pub const CONFIG_NOT_FOUND: u16 = 300;
/// The connection was not set up: every client connects to another server.
pub const UNREGISTERED: u16 = 301;
/// Nobody handles this type.
pub const NO_HANDLER: u16 = 302;
/// A parameter is wrong, or the service is of the other kind.
pub const INVALID: u16 = 400;
/// The caller has no right.
pub const NO_RIGHT: u16 = 403;
/// There is no such thing.
pub const NOT_FOUND: u16 = 404;
/// The server failed.
pub const SERVER_ERROR: u16 = 500;
/// The server does not do this.
pub const NOT_IMPLEMENTED: u16 = 501;
/// The payload cannot be read, or came from the wrong source.
pub const BAD_PAYLOAD: u16 = 502;
/// Over a limit, or not ready.
pub const OVER_THRESHOLD: u16 = 503;

/// Over how many patterns may be watched.
pub const PATTERNS_FULL: u16 = 50310;
/// Over how many services a pattern may match.
pub const MATCHES_FULL: u16 = 50311;

/// In a beat's answer: renewed.
pub const BEAT_OK: u16 = 10200;
/// In a beat's answer: unknown, register again.
pub const BEAT_UNKNOWN: u16 = 20404;

/// `code` of a v2 or v3 success.
pub const RESULT_OK: u32 = 0;
/// A parameter is missing.
pub const RESULT_PARAMETER_MISSING: u32 = 10000;
/// The caller has no right.
pub const RESULT_ACCESS_DENIED: u32 = 10001;
/// A parameter is wrong.
pub const RESULT_PARAMETER_INVALID: u32 = 20002;
/// There is no such thing.
pub const RESULT_NOT_FOUND: u32 = 20004;
/// It collides with something.
pub const RESULT_CONFLICT: u32 = 20005;
/// A weight is out of range.
pub const RESULT_WEIGHT: u32 = 21001;
/// An instance's metadata break their rule.
pub const RESULT_METADATA: u32 = 21002;
/// There is no such instance.
pub const RESULT_INSTANCE_NOT_FOUND: u32 = 21003;
/// An instance cannot be registered as it is.
pub const RESULT_INSTANCE: u32 = 21004;
/// A service's metadata break their rule.
pub const RESULT_SERVICE_METADATA: u32 = 21005;
/// A selector breaks its rule.
pub const RESULT_SELECTOR: u32 = 21006;
/// The service exists.
pub const RESULT_SERVICE_EXISTS: u32 = 21007;
/// There is no such service.
pub const RESULT_SERVICE_NOT_FOUND: u32 = 21008;
/// The service cannot be deleted.
pub const RESULT_SERVICE_NOT_EMPTY: u32 = 21009;
/// It was not said how the instance is.
pub const RESULT_HEALTHY_MISSING: u32 = 21010;
/// A checker says how the instance is, nobody else may.
pub const RESULT_CHECK_RUNNING: u32 = 21011;
/// A namespace's id, name or description breaks its rule.
pub const RESULT_NAMESPACE: u32 = 22000;
/// There is no such namespace.
pub const RESULT_NAMESPACE_MISSING: u32 = 22001;
/// The namespace exists.
pub const RESULT_NAMESPACE_EXISTS: u32 = 22002;
/// It cannot be done as things stand.
pub const RESULT_ILLEGAL_STATE: u32 = 23000;
/// The server failed.
pub const RESULT_SERVER_ERROR: u32 = 30000;
/// Nobody serves this here.
pub const RESULT_API_DISABLED: u32 = 40001;

/// The short text that goes with a `code`.
pub fn headline(code: u32) -> &'static str {
    match code {
        RESULT_OK => "success",
        RESULT_PARAMETER_MISSING => "parameter missing",
        RESULT_ACCESS_DENIED => "access denied",
        RESULT_PARAMETER_INVALID => "parameter validate error",
        RESULT_NOT_FOUND => "resource not found",
        RESULT_CONFLICT => "resource conflict",
        RESULT_WEIGHT => "weight error",
        RESULT_METADATA => "instance metadata error",
        RESULT_INSTANCE_NOT_FOUND => "instance not found",
        RESULT_INSTANCE => "instance error",
        RESULT_SERVICE_METADATA => "service metadata error",
        RESULT_SELECTOR => "selector error",
        RESULT_SERVICE_EXISTS => "service already exist",
        RESULT_SERVICE_NOT_FOUND => "service not exist",
        RESULT_SERVICE_NOT_EMPTY => "service delete failure",
        RESULT_HEALTHY_MISSING => "healthy param miss",
        RESULT_CHECK_RUNNING => "health check still running",
        RESULT_NAMESPACE => "illegal namespace",
        RESULT_NAMESPACE_MISSING => "namespace not exist",
        RESULT_NAMESPACE_EXISTS => "namespace already exist",
        RESULT_ILLEGAL_STATE => "illegal state",
        RESULT_API_DISABLED => "API disabled",
        _ => "server error",
    }
}

/// Said while the server is starting.
pub const STARTING_TEXT: &str = "Server is starting,please try later.";
/// Said to a connection that was not set up.
pub const UNREGISTERED_TEXT: &str = "Connection is unregistered.";
/// Said of an unknown type.
pub const NO_HANDLER_TEXT: &str = "RequestHandler Not Found";
/// To who would write a config.
pub const CONFIG_NOT_KEPT_TEXT: &str = "no configs are kept here; config.upstream names a Nacos that does";
/// Said of an unknown config.
pub const CONFIG_NOT_FOUND_TEXT: &str = "config data not exist";
/// Said when the heartbeat numbers of a registration contradict each other.
pub const LEASE_TEXT: &str =
    "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'.";

/// Said of a weight out of range.
pub const WEIGHT_TEXT: &str = "instance format invalid: The weights range from 0.0 to 10000.0";

/// Types that only Nacos servers send, to each other's own port.
pub const BETWEEN_SERVERS: [&str; 5] = [
    "ConfigChangeClusterSyncRequest",
    "DistroDataRequest",
    "MemberReportRequest",
    "ServerLoaderInfoRequest",
    "ServerReloadRequest",
];

/// Said to a client that sends one of them; the blank in front is Nacos's.
pub fn forbidden_from_sdk(type_name: &str) -> String {
    format!(" invoke {type_name} from sdk is forbidden")
}

/// Said when an ephemeral instance comes to a persistent service.
pub fn service_is_persistent(service: &ServiceKey) -> String {
    format!("Current service {} is persistent service, can't register ephemeral instance.", service.grouped())
}

/// Said when a batch of ephemeral instances comes to a persistent service.
pub fn service_is_persistent_batch(service: &ServiceKey) -> String {
    let service = service.grouped();
    format!("Current service {service} is persistent service, can't batch register ephemeral instance.")
}

/// Said when a persistent instance comes to an ephemeral service.
pub fn service_is_ephemeral(service: &ServiceKey) -> String {
    format!("Current service {} is ephemeral service, can't register persistent instance.", service.grouped())
}

/// How Nacos wraps the text of an exception that a gRPC handler threw.
pub fn thrown(code: u16, text: &str) -> String {
    format!("errCode: {code}, errMsg: {text} ")
}

/// Said to naming calls while an operator has the server say that it is in this state.
pub fn overridden(status: &str) -> String {
    format!("server is {status} now, detailed error message: the switch overriddenServerStatus says so")
}

/// Said when an HTTP parameter is missing.
pub fn parameter_required(name: &str) -> String {
    format!("Param '{name}' is required.")
}

/// Said of a path nobody serves; the login of newer clients falls back on it.
pub fn no_such_api(method: &str, path: &str) -> String {
    format!("no such api:{method}:{path}")
}
