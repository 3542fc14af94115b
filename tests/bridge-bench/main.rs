//! Measures what crosses between two regions that are 25 ms apart each way: how late, how much, how soon again after a break.
//!
//! `cargo bench -p landbridge-tests --bench bridge [-- ROW ... [KEY=N ...]]`, rows: `pace`, `catchup`, `restart`, `takeover`,
//! `dead`, `apart`; all unless named. Keys: `rate` (changes a second, 1,000), `seconds` (10), `count` (of `catchup`; 10,000 and
//! 100,000), `delay_ms` (25, each way). Members and bridges are processes of their own (this program again); the wire between
//! the regions is a proxy in this process. Figures are printed beside the musts; a busy machine moves them.

mod servers;

mod load;
mod place;
mod watcher;

mod catchup;
mod faults;
mod pace;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::{Context, Result};

/// As the deployed program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: [&str; 6] = ["pace", "catchup", "restart", "takeover", "dead", "apart"];

/// What may be chosen.
struct Choice {
    rate: u32,
    lasts: Duration,
    counts: Vec<u32>,
    delay: Duration,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let Some(role) = arguments.first().and_then(|word| word.strip_prefix("serve-")) {
        return servers::serve(role, &arguments[1..]);
    }
    let (keys, rows): (Vec<String>, Vec<String>) = arguments.into_iter().partition(|word| word.contains('='));
    let chosen = match choice(&keys) {
        Ok(chosen) => chosen,
        Err(why) => {
            println!("{why:#}");
            return ExitCode::from(64);
        }
    };
    let rows = if rows.is_empty() { ROWS.map(str::to_owned).to_vec() } else { rows };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let mut failed = false;
    for row in &rows {
        if let Err(error) = runtime.block_on(measure(row, &chosen)) {
            println!("{row}: FAILED: {error:#}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn choice(keys: &[String]) -> Result<Choice> {
    let mut given = BTreeMap::new();
    for pair in keys {
        let (key, value) = pair.split_once('=').context("a key is written KEY=N")?;
        let value: u32 = value.parse().with_context(|| format!("{pair}: no number"))?;
        let known = ["rate", "seconds", "count", "delay_ms"].contains(&key);
        anyhow::ensure!(known, "{key} is no key: rate, seconds, count, delay_ms");
        given.insert(key, value);
    }
    let or = |key: &str, else_this: u32| given.get(key).copied().unwrap_or(else_this);
    Ok(Choice {
        rate: or("rate", 1_000),
        lasts: Duration::from_secs(or("seconds", 10).into()),
        counts: given.get("count").map_or_else(|| vec![10_000, 100_000], |count| vec![*count]),
        delay: Duration::from_millis(or("delay_ms", 25).into()),
    })
}

async fn measure(row: &str, chosen: &Choice) -> Result<()> {
    match row {
        "pace" => pace::measure(chosen).await,
        "catchup" => catchup::measure(chosen).await,
        "restart" => pace::restart(chosen).await,
        "takeover" => faults::takeover(chosen).await,
        "dead" => faults::dead(chosen).await,
        "apart" => faults::apart(chosen).await,
        other => Err(anyhow::anyhow!("no such row: {other} ({})", ROWS.join(", "))),
    }
}
