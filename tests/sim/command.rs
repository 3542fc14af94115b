//! The command line of the simulator.

use std::{process::ExitCode, time::Instant};

use crate::sim::{
    run::{Schedule, run_all, told},
    shape::Shape,
    stage::scenario,
};

/// Schedules that once found something, each with a word on what.
const FOUND: &str = include_str!("seeds.txt");

const USAGE: &str =
    "cargo sim [--pair] SEED                              replays one schedule and prints its trace
cargo sim [--pair] --seeds N [--from K] [--jobs J]   plays N schedules from seed K (1) on J threads (2)
cargo sim --found                                    plays the schedules of seeds.txt
cargo sim FILE.txt                                   plays a scenario and prints it with its answers";

/// How many schedules `--seeds` plays at once unless told.
const JOBS: u64 = 2;

/// So many schedules of whole federations must meet every kind of trouble and judge every invariant.
const COVERS: usize = 200;

/// The schedules of `seeds.txt`: what once found something stays.
pub fn found() -> Vec<Schedule> {
    let rows = FOUND.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let shape = Shape::named(words.next()?)?;
        Some(Schedule { shape, seed: words.next()?.parse().ok()? })
    });
    rows.collect()
}

/// Does what the words of a command line say.
pub fn command(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let after = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let shape =
        Shape::ALL.into_iter().find(|shape| words.contains(&shape.word().trim())).unwrap_or(Shape::ALL[0]);
    if let Some(count) = after("--seeds") {
        let from = after("--from").unwrap_or(1);
        let schedules: Vec<_> = (from..from + count).map(|seed| Schedule { shape, seed }).collect();
        return many(&schedules, after("--jobs").unwrap_or(JOBS));
    }
    if words.contains(&"--found") {
        return many(&found(), after("--jobs").unwrap_or(JOBS));
    }
    if let Some(path) = words.last().filter(|word| word.ends_with(".txt")) {
        return story(path);
    }
    match words.last().and_then(|word| word.parse().ok()) {
        Some(seed) => replay(Schedule { shape, seed }),
        None => {
            println!("{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn story(path: &str) -> ExitCode {
    let text = std::fs::read_to_string(path).map_err(|why| why.to_string());
    match text.and_then(|text| scenario(&text)) {
        Ok(told) => {
            print!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{path}, {why}");
            ExitCode::FAILURE
        }
    }
}

fn replay(schedule: Schedule) -> ExitCode {
    let (result, lines, fingerprint) = told(schedule);
    lines.iter().for_each(|line| println!("{line}"));
    println!("fingerprint {fingerprint:016x}");
    match result {
        Ok(stats) => {
            println!(
                "seed {}: clean, {} simulated s, {} steps",
                schedule.seed, stats.simulated_s, stats.steps
            );
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn many(schedules: &[Schedule], jobs: u64) -> ExitCode {
    let start = Instant::now();
    // A panic of the code under test is told as a violation, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let (stats, violations) = run_all(schedules, jobs as usize, |violation| println!("{violation}"));
    let wall_s = start.elapsed().as_secs_f64();
    println!(
        "{} schedules, {} violations; {:.0} wall s on {jobs} threads, {} simulated s, {} steps: {:.2} wall ms per simulated s",
        schedules.len(),
        violations.len(),
        wall_s,
        stats.simulated_s,
        stats.steps,
        wall_s * 1e3 / stats.simulated_s.max(1) as f64
    );
    stats.tally.lines().iter().for_each(|line| println!("{line}"));
    let is_whole = schedules.iter().all(|schedule| schedule.shape == Shape::Whole);
    let missing = if is_whole && schedules.len() >= COVERS { stats.tally.missing() } else { Vec::new() };
    missing.iter().for_each(|what| println!("never in {} schedules: {what}", schedules.len()));
    if violations.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
