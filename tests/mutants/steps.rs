//! The step tests of the rooms, built so that bugs can be planted in them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use landbridge_model::mutant::Mutant;

/// By crate, the program of its step tests.
pub struct Steps(BTreeMap<String, PathBuf>);

impl Steps {
    /// Builds the step tests of these crates.
    ///
    /// # Errors
    /// Cargo could not be asked, or could not build them.
    pub fn build(rooms: &[&str]) -> Result<Self, String> {
        if rooms.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--lib", "--no-run", "--message-format=json"]);
        command.args(["--features", "landbridge-model/mutants", "-p", "landbridge-model"]);
        command.args(rooms.iter().flat_map(|room| ["-p", room]));
        let built = command.stderr(Stdio::inherit()).output().map_err(|why| format!("cargo: {why}"))?;
        if !built.status.success() {
            return Err("the step tests do not build".into());
        }
        let lines = String::from_utf8_lossy(&built.stdout);
        let messages = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let programs = messages.filter_map(|message| {
            let program = message["executable"].as_str()?;
            let library = message["target"]["name"].as_str()?.replace('_', "-");
            Some((library, PathBuf::from(program)))
        });
        Ok(Self(programs.collect()))
    }

    /// Whether this step test passes with this bug.
    ///
    /// # Errors
    /// There is no such test, or it could not be run.
    pub fn passes(&self, room: &str, test: &str, mutant: Option<Mutant>) -> Result<bool, String> {
        let program = self.0.get(room).ok_or_else(|| format!("{room} has no step tests"))?;
        let mut command = Command::new(program);
        command.args(["--exact", test]);
        // A planted bug is no regression to remember, and its smallest case is nobody's concern.
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
        match mutant {
            Some(mutant) => command.env("LANDBRIDGE_MUTANT", mutant.name()),
            None => command.env_remove("LANDBRIDGE_MUTANT"),
        };
        let ran = command.output().map_err(|why| format!("{room}: {why}"))?;
        let text = String::from_utf8_lossy(&ran.stdout);
        if !text.contains("running 1 test") {
            return Err(format!("{room} has no step test {test}"));
        }
        Ok(ran.status.success())
    }
}
