//! What the demo says: lines for people, checks that hold or do not, and the closing table.

use std::io::{self, Write};
use std::time::Instant;

/// Where lines go and since when time is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    begun: Instant,
    /// Somebody watches: everything goes to stdout. Otherwise stdout is for the checks only.
    watched: bool,
}

impl Talk {
    /// Time counts from here.
    pub(super) fn new(watched: bool) -> Self {
        Self { begun: Instant::now(), watched }
    }

    /// One line that is no check.
    pub(super) fn line(self, line: &str) {
        if self.watched { out(line) } else { eprintln!("{line}") }
    }

    /// A part of the drill begins.
    pub(super) fn part(self, what: &str) {
        self.line(&format!("{:>7}  -- {what}", self.seconds(Instant::now())));
    }

    /// Something happened in a region.
    pub(super) fn event(self, at: Instant, region: &str, what: &str) {
        self.line(&format!("{:>7}  {region:<8} {what}", self.seconds(at)));
    }

    fn seconds(self, at: Instant) -> String {
        format!("{:.1} s", at.duration_since(self.begun).as_secs_f64())
    }
}

/// Writes a line to stdout; a reader that has gone is no trouble.
fn out(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Checks, counted, and the rows of the closing table.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) talk: Talk,
    passed: u32,
    failed: u32,
    rows: Vec<(String, String)>,
}

impl Report {
    /// Nothing checked yet.
    pub(super) fn new(talk: Talk) -> Self {
        Self { talk, passed: 0, failed: 0, rows: Vec::new() }
    }

    /// One check: the sentence that should be true, whether it is, and what was seen.
    pub(super) fn check(&mut self, sentence: &str, holds: bool, seen: &str) {
        let (word, seen) = (if holds { "ok    " } else { "FAILED" }, seen.trim());
        let seen = if seen.is_empty() { String::new() } else { format!(" ({seen})") };
        out(&format!("{word} {sentence}{seen}"));
        if holds { self.passed += 1 } else { self.failed += 1 }
    }

    /// One row of the closing table.
    pub(super) fn row(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.rows.push((what.into(), value.into()));
    }

    /// The closing table.
    pub(super) fn table(&self) {
        let width = self.rows.iter().map(|(what, _)| what.chars().count()).max().unwrap_or_default();
        self.talk.line("");
        for (what, value) in &self.rows {
            self.talk.line(&format!("  {what:width$}  {value}"));
        }
        self.talk.line("");
    }

    /// Whether nothing failed.
    pub(super) fn holds(&self) -> bool {
        self.failed == 0
    }

    /// The line that programs read.
    pub(super) fn close(&self) {
        out(&format!("{} passed, {} failed", self.passed, self.failed));
    }
}
