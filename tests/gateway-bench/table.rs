//! Turns rounds into rows with ratios, and says of each must whether it holds.

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

/// Prints rows with their ratios to ours, and the musts.
pub fn print(figure: &str, rows: &[Row], musts: &[Must]) {
    let Some(ours) = rows.iter().find(|row| row.name == OURS) else { return };
    println!("  {:<12}{figure:>12}{:>16}{:>12}{:>10}{:>10}", "", "ours is", "calls/s", "p50 us", "p99 us");
    for row in rows {
        let ratio = format!("{:.2} x", ours.figure / row.figure);
        println!(
            "  {:<12}{:>12.2}{ratio:>16}{:>12.0}{:>10}{:>10}",
            row.name, row.figure, row.per_second, row.p50_us, row.p99_us
        );
    }
    for Must(name, most) in musts {
        let verdict = match rows.iter().find(|row| row.name == *name) {
            Some(row) if ours.figure <= most * row.figure => "holds",
            Some(_) => "DOES NOT HOLD",
            None => "unavailable",
        };
        println!("  must: at most {most} x {name}: {verdict}");
    }
}

/// Prints rows, and whether ours is within a bound.
pub fn print_absolute(figure: &str, rows: &[Row], most: f64) {
    for row in rows {
        println!("  {:<12}{:>12.2} {figure}", row.name, row.figure);
        if row.name == OURS {
            let verdict = if row.figure <= most { "holds" } else { "DOES NOT HOLD" };
            println!("  must: at most {most} {figure}: {verdict}");
        }
    }
}
