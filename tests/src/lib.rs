//! What several test suites share: waiting for a condition until a deadline.

pub mod wait;
