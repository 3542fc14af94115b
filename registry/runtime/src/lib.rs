//! A process among operators: what every role needs to run on a machine, and nothing about services.
//!
//! Invariant: this room names no other room of ours, and it decides nothing about records.

pub mod config;

pub mod clock;
pub mod dice;
pub mod shutdown;

pub mod audit;
pub mod log;
pub mod pages;
pub mod telemetry;

pub mod http;
pub mod listen;
pub mod tls;
