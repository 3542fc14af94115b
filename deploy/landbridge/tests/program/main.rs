//! Tests of the program as a whole: the command line, and roles as processes.

mod command_line;
mod roles;
mod takeover;

use std::process::{Command, Output};

/// The program with arguments, and nothing of ours in its environment.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landbridge"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("LANDBRIDGE_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs the program to its end.
fn landbridge(arguments: &[&str]) -> Output {
    program(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
