//! Why a request failed, as gRPC and HTTP clients of Nacos are told; nowhere else are codes chosen.

use axum::http::StatusCode;
use landbridge_registry_core::Refusal;
use landbridge_wire::nacos::{
    self, codes,
    grpc::{self, Kind, Payload},
};

use crate::{orders::Failed, upstream::Missed};

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
        Failed::Full(why) => grpc::answer::refused(kind, codes::OVER_THRESHOLD, why),
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

/// The Nacos that keeps configs gave no answer, as gRPC clients are told.
pub(crate) fn grpc_missed(missed: &Missed) -> Payload {
    grpc::answer::error(codes::SERVER_ERROR, &missed.to_string())
}

/// The same over HTTP.
pub(crate) fn missed(missed: &Missed) -> Refused {
    let status = match missed {
        Missed::Slow => StatusCode::GATEWAY_TIMEOUT,
        Missed::Unreachable(_) | Missed::TooLong => StatusCode::BAD_GATEWAY,
    };
    Refused::new(status, codes::RESULT_SERVER_ERROR, missed.to_string())
}

/// Why an HTTP call failed: v1 is told the status and the text, v2 and v3 the code too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) code: u32,
    pub(crate) text: String,
}

impl Refused {
    /// With a code of its own.
    pub(crate) fn new(status: StatusCode, code: u32, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into() }
    }

    /// A parameter breaks its rule.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::RESULT_PARAMETER_INVALID, text)
    }

    /// A parameter is not there.
    pub(crate) fn unread_missing(name: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::RESULT_PARAMETER_MISSING, codes::parameter_required(name))
    }

    /// There is no such thing.
    pub(crate) fn missing(code: u32, text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, text)
    }

    /// It cannot be done as things are.
    pub(crate) fn conflict(code: u32, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }

    /// The caller has no right.
    pub(crate) fn denied(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, codes::RESULT_ACCESS_DENIED, text)
    }

    /// Nobody does this here.
    pub(crate) fn unserved(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, codes::RESULT_API_DISABLED, text)
    }

    /// A request could not be read.
    pub(crate) fn unread(refusal: &nacos::Refusal) -> Self {
        let text = refusal.to_string();
        let code = match text.as_str() {
            required if required.ends_with("is required.") => codes::RESULT_PARAMETER_MISSING,
            codes::WEIGHT_TEXT => codes::RESULT_WEIGHT,
            codes::LEASE_TEXT => codes::RESULT_INSTANCE,
            _ => codes::RESULT_PARAMETER_INVALID,
        };
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }

    /// The short text that belongs to the code.
    pub(crate) fn headline(&self) -> &'static str {
        codes::headline(self.code)
    }
}

/// A failure as HTTP clients are told.
pub(crate) fn http(failed: &Failed) -> Refused {
    match failed {
        Failed::Refused(Refusal::Starting | Refusal::Draining) => unavailable(codes::STARTING_TEXT),
        Failed::Refused(refusal @ Refusal::TypeConflict { .. }) => {
            Refused::conflict(codes::RESULT_INSTANCE, codes::thrown(codes::INVALID, &refusal.to_string()))
        }
        Failed::Refused(
            refusal @ (Refusal::Malformed(_) | Refusal::Reserved | Refusal::UnknownConnection),
        ) => Refused::invalid(refusal.to_string()),
        Failed::Refused(refusal @ Refusal::Full { .. }) => unavailable(&refusal.to_string()),
        Failed::Overloaded => unavailable(OVERLOADED),
        Failed::Full(why) => {
            Refused::new(StatusCode::INSUFFICIENT_STORAGE, codes::RESULT_SERVER_ERROR, why.clone())
        }
        Failed::Undecided(why) => {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, codes::RESULT_SERVER_ERROR, why.clone())
        }
        Failed::Stopping => unavailable(STOPPING),
    }
}

/// Too many passwords are looked at.
pub(crate) fn busy() -> Refused {
    unavailable("too many passwords are being checked: try again")
}

/// Said to who would change what another user registered.
pub(crate) const OWNED: &str = "the instance was registered by another user";

/// The member does not answer yet, in Nacos's words.
pub(crate) fn starting() -> Refused {
    unavailable("server is STARTING now, please try again later!")
}

pub(crate) fn unavailable(why: &str) -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, codes::RESULT_SERVER_ERROR, why)
}

const OVERLOADED: &str = "too many writes wait for this member: try again";
const STOPPING: &str = "this member is ending: try another";
