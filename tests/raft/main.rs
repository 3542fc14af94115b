//! The Raft path in turmoil: openraft, the store and the members' calls as they run in production, over a simulated network
//! with a simulated clock, under faults that a seed chooses.
//!
//! `RAFT_SEEDS=200 cargo test -p landbridge-tests --test raft -- --nocapture` plays more seeds, `RAFT_SEED=N` plays one.
//! A seed fixes faults, delays and what clients ask; openraft and tokio throw dice of their own, so that a run with the same
//! seed is alike, and not the same step for step.

mod faults;
mod member;
mod witness;

use std::{
    cell::Cell,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use landbridge_tests::sim::dice::Dice;
use member::{Reads, Seat};
use witness::Witness;

/// Members of the region.
const MEMBERS: u16 = 3;

/// Seeds that are played unless `RAFT_SEEDS` says otherwise.
const SEEDS: u64 = 8;

/// For so long there is trouble, on the simulated clock.
const TROUBLE: Duration = Duration::from_secs(20);

/// After that everything comes together within this.
const TOGETHER_WITHIN: Duration = Duration::from_secs(15);

/// What one seed has shown.
struct Played {
    wrong: Vec<String>,
    terms: usize,
    asked: usize,
    answered: usize,
}

fn play(seed: u64, reads: Reads) -> Played {
    // Where there is a disk of memory it is used: real time spent on syncs would show nothing here.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a folder");
    let witness = Arc::new(Witness::default());
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH)
        .tick_duration(Duration::from_millis(2))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(12))
        .simulation_duration(TROUBLE + TOGETHER_WITHIN + Duration::from_secs(60))
        .enable_random_order()
        .build();
    for member in 1..=MEMBERS {
        let (witness, dir) = (Arc::clone(&witness), folder.path().to_owned());
        let lives = Cell::new(Dice::new(seed ^ u64::from(member)).roll());
        sim.host(Seat::host(member), move || {
            lives.set(lives.get().wrapping_add(1));
            let (witness, dir, seed) = (Arc::clone(&witness), dir.clone(), lives.get());
            Seat { member, members: MEMBERS, dir, reads, seed, witness }.live()
        });
    }
    let mut faults = faults::Faults::plan(&mut Dice::new(seed), MEMBERS, TROUBLE);
    while sim.elapsed() < TROUBLE {
        faults.due(&mut sim);
        sim.step().expect("a member died by itself");
    }
    faults.end(&mut sim);
    witness.seen().end();
    let over = sim.elapsed();
    while !witness.seen().agree(usize::from(MEMBERS)) && sim.elapsed() < over + TOGETHER_WITHIN {
        sim.step().expect("a member died by itself");
    }
    let mut seen = witness.seen();
    let (terms, asked, answered) = seen.told();
    Played { wrong: seen.wrongs(usize::from(MEMBERS)), terms, asked, answered }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_fault_breaks_what_a_majority_has_answered() {
    let seeds = match number("RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("RAFT_SEEDS").unwrap_or(SEEDS),
    };
    let (begun, mut failed) = (Instant::now(), Vec::new());
    let (mut answered, mut terms) = (0, 0);
    for seed in seeds.clone() {
        let played = play(seed, Reads::Linearizable);
        answered += played.answered;
        terms += played.terms;
        println!(
            "seed {seed}: {} terms, {} of {} questions answered, {} wrong",
            played.terms,
            played.answered,
            played.asked,
            played.wrong.len()
        );
        failed.extend(played.wrong.into_iter().map(|wrong| format!("seed {seed}: {wrong}")));
    }
    let (count, took) = (seeds.end - seeds.start, begun.elapsed().as_secs_f64());
    println!("raft: {count} seeds, {terms} terms, {answered} answers, {} wrong, {took:.1} s", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(answered as u64 > 50 * count, "hardly anything was answered: the faults leave nothing to check");
    assert!(terms as u64 > count, "no leader ever changed: the faults do nothing");
}

#[test]
fn a_planted_stale_read_is_caught() {
    let caught = (1..=5).find(|seed| {
        let wrong = play(*seed, Reads::Stale).wrong;
        wrong.iter().any(|wrong| wrong.contains("no register answers so"))
    });

    assert!(caught.is_some(), "five runs with stale reads looked right");
}
