//! Why a request failed, as gRPC and HTTP clients of Nacos are told; nowhere else are codes chosen.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use landbridge_registry_core::Refusal;
use landbridge_wire::nacos::{
    self, codes,
    grpc::{self, Kind, Payload},
};

use crate::orders::Failed;

/// A failure as gRPC clients are told: what a Nacos handler throws, or what its filters refuse.
pub(crate) fn grpc(kind: Kind, failed: &Failed) -> Payload {
    match failed {
        Failed::Refused(Refusal::Starting | Refusal::Draining) => {
            grpc::answer::error(codes::STARTING, codes::STARTING_TEXT)
        }
        Failed::Refused(Refusal::UnknownConnection) => {
            grpc::answer::error(codes::UNREGISTERED, codes::UNREGISTERED_TEXT)
        }
        Failed::Refused(refusal @ Refusal::TypeConflict { .. }) => {
            grpc::answer::thrown(codes::INVALID, &refusal.to_string())
        }
        Failed::Refused(refusal @ (Refusal::Malformed(_) | Refusal::Reserved)) => {
            grpc::answer::refused(kind, codes::INVALID, &refusal.to_string())
        }
        Failed::Refused(refusal @ Refusal::Full { .. }) => {
            grpc::answer::refused(kind, codes::OVER_THRESHOLD, &refusal.to_string())
        }
        Failed::Overloaded => grpc::answer::refused(kind, codes::OVER_THRESHOLD, OVERLOADED),
        Failed::Undecided(why) => grpc::answer::refused(kind, codes::SERVER_ERROR, why),
        Failed::Stopping => grpc::answer::error(codes::STARTING, STOPPING),
    }
}

/// A message that could not be read, as gRPC clients are told.
pub(crate) fn grpc_unread(kind: Kind, refusal: &nacos::Refusal) -> Payload {
    match refusal {
        nacos::Refusal::Unreadable(why) => grpc::answer::error(codes::BAD_PAYLOAD, why),
        nacos::Refusal::Invalid(why) => grpc::answer::refused(kind, codes::INVALID, why),
    }
}

/// A failure as HTTP v1 clients are told: the text, under the code as status.
pub(crate) fn http(failed: &Failed) -> Response {
    match failed {
        Failed::Refused(Refusal::Starting | Refusal::Draining) => unavailable(codes::STARTING_TEXT),
        Failed::Refused(refusal @ Refusal::TypeConflict { .. }) => {
            (StatusCode::BAD_REQUEST, codes::thrown(codes::INVALID, &refusal.to_string())).into_response()
        }
        Failed::Refused(
            refusal @ (Refusal::Malformed(_) | Refusal::Reserved | Refusal::UnknownConnection),
        ) => (StatusCode::BAD_REQUEST, refusal.to_string()).into_response(),
        Failed::Refused(refusal @ Refusal::Full { .. }) => unavailable(&refusal.to_string()),
        Failed::Overloaded => unavailable(OVERLOADED),
        Failed::Undecided(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.clone()).into_response(),
        Failed::Stopping => unavailable(STOPPING),
    }
}

/// A request that could not be read, as HTTP v1 clients are told.
pub(crate) fn http_unread(refusal: &nacos::Refusal) -> Response {
    (StatusCode::BAD_REQUEST, refusal.to_string()).into_response()
}

/// The member does not answer yet, in Nacos's words.
pub(crate) fn starting() -> Response {
    unavailable("server is STARTING now, please try again later!")
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_owned()).into_response()
}

const OVERLOADED: &str = "too many writes wait for this member: try again";
const STOPPING: &str = "this member is ending: try another";
