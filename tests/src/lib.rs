//! What several test suites share: waiting for a condition until a deadline, certificates to try with, server
//! processes and SDK connections.

pub mod authority;
pub mod http;
pub mod process;
pub mod sdk;
pub mod wait;
