//! `cargo sim`: plays and replays simulated federations.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    landbridge_tests::sim::command(&words)
}
