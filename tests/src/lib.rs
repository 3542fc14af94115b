//! What several test suites share: waiting for a condition until a deadline, certificates to try with, server
//! processes, SDK connections, and the simulator.

pub mod authority;
pub mod http;
pub mod process;
pub mod sdk;
#[path = "../sim/mod.rs"]
pub mod sim;
pub mod wait;
