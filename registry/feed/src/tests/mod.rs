//! Step tests: each rule of the specification that this room keeps, named in a test that fails without it.

mod closing;
mod copying;
mod hostile;
mod importing;
mod imports;
mod join;
mod orders;
mod region;
mod verifying;
mod world;
