//! What several test suites share: waiting for a condition until a deadline, and certificates to try with.

pub mod authority;
pub mod wait;
