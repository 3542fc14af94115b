//! Small verbs that need no running process.

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use serde_json::json;

use crate::arguments::{Arguments, Output};
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// Prints a completion script.
pub(crate) fn completion(shell: Shell) -> Result<(), Trouble> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "landbridge", &mut script);
    output::write_out(&String::from_utf8_lossy(&script))
}

/// Prints the version.
pub(crate) fn version(output: Output) -> Result<(), Trouble> {
    let version = json!({ "version": env!("CARGO_PKG_VERSION") });
    output::print(&version, Shape { columns: &["version"], name: "version" }, output)
}
