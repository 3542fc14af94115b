//! The simulator: whole federations in one thread, production code inside, with faults and chance from a seed.
//!
//! `cargo sim SEED` replays one schedule and prints its trace; `cargo sim --seeds N [--from K] [--jobs J]` plays many.
//!
//! Invariant: the same seed and shape play the same schedule, step for step, on every machine.

mod callers;
mod checks;
mod clients;
mod command;
mod copies;
mod core;
pub mod dice;
mod faults;
mod gateway;
mod group;
mod invariants;
mod model;
mod names;
mod node;
mod run;
mod script;
mod setup;
mod shape;
mod stage;
mod story;
mod streams;
mod tables;
mod tally;
mod times;
mod trouble;
mod world;

pub use command::{command, found};
pub use run::{Schedule, Stats, Violation, run, run_all, told};
pub use shape::Shape;
pub use stage::scenario;
pub use tally::Tally;
