//! The rows that are counts: the fault, smuggling and table suites at their full size, judged strictly.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::table::Verdict;

/// Runs tests of the suite `gateway` by these words, passes on what they say, and gives the verdicts among it.
pub fn play(words: &str) -> Result<Vec<Verdict>> {
    println!("suite gateway, {words}:");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut suite = Command::new(cargo)
        .args(["test", "--release", "-p", "landbridge-tests", "--test", "gateway", "--"])
        .args(words.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the suite cannot be started")?;
    let said = BufReader::new(suite.stdout.take().context("its output is piped")?);
    let mut verdicts = Vec::new();
    for line in said.lines() {
        let line = line?;
        match Verdict::read(&line) {
            Some(verdict) => verdicts.push(verdict),
            None => println!("  {line}"),
        }
    }
    let status = suite.wait()?;
    ensure!(!verdicts.is_empty(), "the suite ended with {status} and judged nothing");
    // A must that is not held fails the suite, and is told with the others.
    let fails = verdicts.iter().any(|verdict| verdict.held == Some(false));
    ensure!(status.success() || fails, "the suite ended with {status} though every must held");
    Ok(verdicts)
}
