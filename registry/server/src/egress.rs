//! What leaves without being asked for: pushes to subscribers by gRPC and by UDP.

pub(crate) mod farewell;
pub(crate) mod outbox;
pub(crate) mod push;
pub(crate) mod udp;
