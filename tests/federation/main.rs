//! Holders over real connections on loopback: who is let in, what crosses, and what survives.

mod end;
mod keeper;

mod breaks;
mod crossing;
mod guest;
mod orders;
mod ports;
mod processes;
mod refusals;
mod relay;
mod shelf;
mod through;
