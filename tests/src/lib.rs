//! What several test suites share: waiting for a condition until a deadline, certificates to try with, server
//! processes that are started, measured or spoken to, whole regions of them, an etcd to compare with, what clients of a register
//! asked and were answered, clients that write all the time, SDK connections, and the simulator.

pub mod authority;
pub mod etcd;
pub mod gate;
pub mod history;
pub mod http;
pub mod listed;
pub mod process;
pub mod region;
pub mod sdk;
pub mod serve;
#[path = "../sim/mod.rs"]
pub mod sim;
pub mod talker;
pub mod wait;
pub mod wire;
pub mod writing;
