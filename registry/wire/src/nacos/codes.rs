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
/// There is no such instance.
pub const RESULT_INSTANCE_NOT_FOUND: u32 = 21003;
/// The service exists.
pub const RESULT_SERVICE_EXISTS: u32 = 21007;
/// There is no such service.
pub const RESULT_SERVICE_NOT_FOUND: u32 = 21008;
/// The service cannot be deleted.
pub const RESULT_SERVICE_NOT_EMPTY: u32 = 21009;
/// The server failed.
pub const RESULT_SERVER_ERROR: u32 = 30000;

/// Said while the server is starting.
pub const STARTING_TEXT: &str = "Server is starting,please try later.";
/// Said to a connection that was not set up.
pub const UNREGISTERED_TEXT: &str = "Connection is unregistered.";
/// Said of an unknown type.
pub const NO_HANDLER_TEXT: &str = "RequestHandler Not Found";
/// Said of an unknown config.
pub const CONFIG_NOT_FOUND_TEXT: &str = "config data not exist";
/// Said when the heartbeat numbers of a registration contradict each other.
pub const LEASE_TEXT: &str =
    "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'.";

/// Said of a weight out of range.
pub const WEIGHT_TEXT: &str = "instance format invalid: The weights range from 0.0 to 10000.0";

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

/// Said when an HTTP parameter is missing.
pub fn parameter_required(name: &str) -> String {
    format!("Param '{name}' is required.")
}

/// Said of a path nobody serves; the login of newer clients falls back on it.
pub fn no_such_api(method: &str, path: &str) -> String {
    format!("no such api:{method}:{path}")
}
