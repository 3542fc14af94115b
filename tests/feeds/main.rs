//! The feeds simulator: production members and bridges of two regions in one thread, with faults and chance from a seed.
//!
//! `cargo test -p landbridge-tests --test feeds` plays the first thousand seeds and those that once found something.
//! `… --test feeds -- run 20000 [FIRST] [--jobs 2]` plays any number, `… -- replay SEED` shows one schedule.

mod checks;
mod clients;
mod copies;
mod dice;
mod faults;
mod group;
mod names;
mod node;
mod setup;
mod streams;
mod times;
mod world;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use world::World;

/// Seeds that a plain test run plays.
const SEEDS: u64 = 1000;

/// Seeds that once found something, each with a word on what.
const FOUND: &str = include_str!("seeds.txt");

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(default);
    let jobs = words.iter().position(|word| word == "--jobs").map_or(2, |at| number(at + 1, 2));
    match words.first().map(String::as_str) {
        Some("replay") => replay(number(1, 1)),
        Some("run") => run((number(2, 1)..).take(number(1, SEEDS) as usize).collect(), jobs),
        _ => {
            let found = FOUND.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
            run(found.chain(1..=SEEDS).collect(), jobs)
        }
    }
}

fn replay(seed: u64) -> ExitCode {
    match World::play_seed(seed, true) {
        Ok(()) => {
            println!("seed {seed}: clean");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("seed {seed}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Plays all seeds on so many threads; each seed's schedule is its own.
fn run(seeds: Vec<u64>, jobs: u64) -> ExitCode {
    let start = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(why) = play(*seed) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("seed {seed}: {why}   (… --test feeds -- replay {seed})");
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    let seconds = start.elapsed().as_secs();
    println!("feeds: {} seeds, {failed} violations, {seconds} s", seeds.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one seed; a panic of the code under test is a violation like any other.
fn play(seed: u64) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(|| World::play_seed(seed, false))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}
