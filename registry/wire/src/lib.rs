//! Bytes of the federation's feeds and of Nacos, turned into nouns and back.
//!
//! Invariant: a value that leaves a decoder is valid; nothing behind this room parses text again.
//! Invariant: no input makes a decoder panic or allocate more than a fixed multiple of its size.

pub mod disk;
pub mod feeds;
pub mod nacos;
pub mod peers;

#[cfg(test)]
mod samples;
