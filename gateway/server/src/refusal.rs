//! Every answer the gateway gives by itself: its status, its sentence, and the same as a gRPC status.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::answer::Outgoing;

/// Why a call was not passed on, or not answered by an endpoint; named by who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The caller sent what two readers could read differently.
    Malformed(&'static str),
    /// The caller asked for a tunnel or a trace.
    Method,
    /// The caller sent too many headers.
    Headers,
    /// The caller asked for what no route leads to.
    NoRoute,
    /// The caller exceeded a rate; it may come back after so long.
    Limited(Duration),
    /// The caller's body broke off.
    Caller,
    /// The operator let the gateway call itself.
    Loop,
    /// The service is not in the table.
    NoSuchService,
    /// The service has no endpoint.
    NoEndpoint,
    /// The gateway has as many calls as it may have.
    Overloaded,
    /// The service has more calls than its endpoints can work on.
    Crowded,
    /// No endpoint could be reached, or those reached broke off.
    Unreachable,
    /// A far gateway said no: to ask another one of its region would not help.
    Declined,
    /// No endpoint answered in time.
    Late,
}

/// gRPC's codes, for calls that speak it.
const GRPC_INVALID_ARGUMENT: u8 = 3;
const GRPC_DEADLINE_EXCEEDED: u8 = 4;
const GRPC_RESOURCE_EXHAUSTED: u8 = 8;
const GRPC_FAILED_PRECONDITION: u8 = 9;
const GRPC_UNIMPLEMENTED: u8 = 12;
const GRPC_UNAVAILABLE: u8 = 14;

impl Refusal {
    /// The reason as a metric label.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Method => "method",
            Self::Headers => "headers",
            Self::NoRoute => "no_route",
            Self::Limited(_) => "limited",
            Self::Caller => "caller_broke_off",
            Self::Loop => "loop",
            Self::NoSuchService => "no_such_service",
            Self::NoEndpoint => "no_endpoint",
            Self::Overloaded => "overloaded",
            Self::Crowded => "crowded",
            Self::Unreachable => "unreachable",
            Self::Declined => "declined_there",
            Self::Late => "late",
        }
    }

    fn status(self) -> (StatusCode, u8) {
        match self {
            Self::Malformed(_) | Self::Caller => (StatusCode::BAD_REQUEST, GRPC_INVALID_ARGUMENT),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, GRPC_UNIMPLEMENTED),
            Self::Headers => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, GRPC_INVALID_ARGUMENT),
            Self::NoRoute => (StatusCode::NOT_FOUND, GRPC_UNIMPLEMENTED),
            Self::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, GRPC_RESOURCE_EXHAUSTED),
            // Not UNAVAILABLE, which says: try again.
            Self::Loop => (StatusCode::LOOP_DETECTED, GRPC_FAILED_PRECONDITION),
            Self::NoSuchService | Self::NoEndpoint | Self::Overloaded | Self::Crowded => {
                (StatusCode::SERVICE_UNAVAILABLE, GRPC_UNAVAILABLE)
            }
            Self::Unreachable | Self::Declined => (StatusCode::BAD_GATEWAY, GRPC_UNAVAILABLE),
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, GRPC_DEADLINE_EXCEEDED),
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Malformed(what) => what,
            Self::Method => "this method is not served here",
            Self::Headers => "too many headers",
            Self::NoRoute => "no route leads there",
            Self::Limited(_) => "too many calls: come back later",
            Self::Caller => "the body broke off",
            Self::Loop => "this call went through this gateway before",
            Self::NoSuchService => "no such service is known",
            Self::NoEndpoint => "the service has no endpoint",
            Self::Overloaded => "too many calls in flight",
            Self::Crowded => "too many calls wait for this service",
            Self::Unreachable => "no endpoint could be reached",
            Self::Declined => "the gateway of the other region refused",
            Self::Late => "no endpoint answered in time",
        }
    }

    /// The answer, as plain text or as a gRPC status.
    pub(crate) fn answer(self, grpc: bool) -> Response<Outgoing> {
        let (status, code) = self.status();
        let sentence = self.sentence();
        let mut response = if grpc {
            let mut response = Response::new(Outgoing::text(Bytes::new()));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
            headers.insert("grpc-message", HeaderValue::from_static(sentence));
            response
        } else {
            let mut response = Response::new(Outgoing::text(Bytes::from(format!("{sentence}\n"))));
            *response.status_mut() = status;
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            response
        };
        let retry_after_s = match self {
            Self::Limited(wait) => Some(wait.as_millis().div_ceil(1_000).clamp(1, 3_600) as u32),
            Self::Overloaded | Self::Crowded => Some(1),
            Self::Malformed(_) | Self::Method | Self::Headers | Self::NoRoute | Self::Caller | Self::Loop => {
                None
            }
            Self::NoSuchService | Self::NoEndpoint | Self::Unreachable | Self::Declined | Self::Late => None,
        };
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
