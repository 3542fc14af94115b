//! Calls through a whole gateway on loopback, to real endpoints on free ports.

#![allow(clippy::unwrap_used, reason = "a test may stop at its first surprise, helpers included")]

mod harness;

mod access;
mod admission;
mod callers;
mod given;
mod grpc;
mod passing;
mod ports;
mod reloading;
mod repeating;
mod speech;
#[cfg(feature = "otel")]
mod traces;
mod trying;
mod upgrades;

mod places;
mod probing;
mod rates;
mod shrinking;

mod hostile;
mod lasting;
