//! Nacos's two protocols, 1.x over HTTP and 2.x/3.x over gRPC, as nouns and encoded answers.
//!
//! Invariant: unknown JSON members are ignored; absent, `null` and `""` mean the same.
//! Invariant: an answer never holds a `null` member, and a failure never has error code 0 (SDKs rely on both).

pub mod codes;
pub mod grpc;
pub mod http;
mod instance;
mod json;
mod pattern;
mod query;
mod service;

use std::fmt;

use ecow::EcoString;

pub use instance::{ClusterFilter, Enrolment, Lease, encode_host};
pub use pattern::WatchPattern;
pub use query::{PAGE_SIZE_MAX, ServiceListQuery, ServiceQuery};
pub use service::{EncodedService, Naming};

/// Why a request was not turned into nouns, named by who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not the message it says it is: whoever wrote the client can mend it.
    Unreadable(EcoString),
    /// A value breaks its rule: whoever set it can mend it.
    Invalid(EcoString),
}

impl Refusal {
    pub(crate) fn unreadable(why: impl fmt::Display) -> Self {
        Self::Unreadable(ecow::eco_format!("{why}"))
    }

    pub(crate) fn invalid(why: impl fmt::Display) -> Self {
        Self::Invalid(ecow::eco_format!("{why}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) | Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod golden;
