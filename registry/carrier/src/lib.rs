//! Runs the streams between holders over tonic and mutual TLS, and keeps copies of feeds on disk.
//!
//! Invariant: a peer is who its certificate says, never who its address or its Hello says.
//! Invariant: nothing here decides about records; a holder does, and this room carries its words and its copies.

mod budget;
mod carrier;
mod limits;

mod gate;
mod roster;

mod dial;
mod exchange;
mod listen;
mod outbox;

mod shelf;

mod metrics;

pub use carrier::{Carrier, CarrierConfig, Event, StreamState, Target, TargetState};
pub use exchange::Parting;
pub use gate::Refusal;
pub use limits::Limits;
pub use shelf::{Loaded, Shelf};
