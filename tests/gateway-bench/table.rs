//! Turns rounds into rows with ratios, and says of each must whether it holds.

use std::fmt;

use crate::load::Done;

/// The gateway costs at most so many times what the named proxy costs.
pub struct Must(pub &'static str, pub f64);

/// The medians of one proxy.
pub struct Row {
    name: &'static str,
    figure: f64,
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
}

/// The name of what is measured against the others.
const OURS: &str = "landbridge";

fn median<T: Copy>(values: impl Iterator<Item = T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(order);
    values[values.len() / 2]
}

impl Row {
    /// The medians over all rounds; there is at least one.
    pub fn of(name: &'static str, rounds: &[(f64, Done)]) -> Self {
        Self {
            name,
            figure: median(rounds.iter().map(|round| round.0), f64::total_cmp),
            per_second: median(
                rounds.iter().map(|round| round.1.calls as f64 / round.1.seconds),
                f64::total_cmp,
            ),
            p50_us: median(rounds.iter().map(|round| round.1.p50_us), u64::cmp),
            p99_us: median(rounds.iter().map(|round| round.1.p99_us), u64::cmp),
        }
    }

    /// A figure that was taken once.
    pub fn single(name: &'static str, figure: f64) -> Self {
        Self { name, figure, per_second: 0.0, p50_us: 0, p99_us: 0 }
    }
}

/// Prints rows with their ratios to ours, and tells which musts hold.
pub fn print(what: &str, figure: &str, rows: &[Row], musts: &[Must]) -> Vec<Verdict> {
    let Some(ours) = rows.iter().find(|row| row.name == OURS) else { return Vec::new() };
    println!("  {:<12}{figure:>12}{:>16}{:>12}{:>10}{:>10}", "", "ours is", "calls/s", "p50 us", "p99 us");
    for row in rows {
        let ratio = format!("{:.2} x", ours.figure / row.figure);
        println!(
            "  {:<12}{:>12.2}{ratio:>16}{:>12.0}{:>10}{:>10}",
            row.name, row.figure, row.per_second, row.p50_us, row.p99_us
        );
    }
    musts.iter().map(|must| Verdict::of(what, must, ours.figure, rows)).collect()
}

/// Whether a must holds.
pub struct Verdict {
    must: String,
    found: String,
    /// None where the other one is not to be had.
    pub held: Option<bool>,
}

impl Verdict {
    fn of(what: &str, Must(name, most): &Must, ours: f64, rows: &[Row]) -> Self {
        let peer = rows.iter().find(|row| row.name == *name).map(|row| ours / row.figure);
        let found = peer.map_or("unavailable".to_owned(), |ratio| format!("{ratio:.2} x"));
        let held = peer.map(|ratio| ratio <= *most);
        Self { must: format!("{what}: at most {most} x {name}"), found, held }
    }
}

impl Verdict {
    /// A verdict of the suite `gateway`: `must | what | found | held`.
    pub fn read(line: &str) -> Option<Self> {
        let mut parts = line.split('|').map(str::trim);
        let (begin, must, found, held) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (begin == "must").then(|| Self {
            must: must.to_owned(),
            found: found.to_owned(),
            held: Some(held == "held"),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = match self.held {
            Some(true) => "held",
            Some(false) => "NOT HELD",
            None => "",
        };
        write!(f, "  {:<64}{:>14}  {held}", self.must, self.found)
    }
}

/// Prints rows, and tells whether ours is within a bound.
pub fn print_absolute(what: &str, figure: &str, rows: &[Row], most: f64) -> Vec<Verdict> {
    for row in rows {
        println!("  {:<12}{:>12.2} {figure}", row.name, row.figure);
    }
    let ours = rows.iter().filter(|row| row.name == OURS);
    let verdict = |row: &Row| Verdict {
        must: format!("{what}: at most {most} {figure}"),
        found: format!("{:.2} {figure}", row.figure),
        held: Some(row.figure <= most),
    };
    ours.map(verdict).collect()
}
