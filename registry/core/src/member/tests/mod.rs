//! A member's rules, in regions of one to three members whose streams and Raft deliver at once.

mod beats;
mod clients;
mod imports;
mod leaving;
mod overlays;
mod policies;
mod reading;
mod region;
mod rig;
mod short_lives;
mod views;
