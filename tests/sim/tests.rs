//! The simulator in a plain test run: the schedules that once found something, new ones, and the promise of replay.

#[path = "scenarios/tests.rs"]
mod scenarios;

use landbridge_tests::sim::{Schedule, Shape, Stats, found, run_all, told};

/// Schedules of a shape in a plain test run.
fn seeds(shape: Shape) -> u64 {
    match shape {
        Shape::Whole => 200,
        Shape::Pair | Shape::Stage => 40,
    }
}

/// Threads of each test here.
const JOBS: usize = 2;

#[track_caller]
fn hold(schedules: &[Schedule]) -> Stats {
    let (stats, violations) = run_all(schedules, JOBS, |_| {});
    let shown: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{} violations:\n{}", shown.len(), shown.join("\n"));
    stats
}

#[test]
fn what_was_once_found_stays_mended() {
    let schedules = found();

    assert!(!schedules.is_empty(), "seeds.txt names schedules");
    hold(&schedules);
}

#[test]
fn federations_keep_their_promises_under_faults_and_come_together_after_them() {
    for shape in Shape::ALL {
        let schedules: Vec<_> = (1..=seeds(shape)).map(|seed| Schedule { shape, seed }).collect();
        let stats = hold(&schedules);
        if shape == Shape::Whole {
            assert_eq!(stats.tally.missing(), Vec::<String>::new(), "never met in these schedules");
        }
    }
}

#[test]
fn a_seed_plays_the_same_schedule_every_time() {
    for shape in Shape::ALL {
        let schedule = Schedule { shape, seed: 7 };
        let (first, second) = (told(schedule), told(schedule));

        assert!(first.1.len() > 20, "the trace tells what happens");
        assert_eq!(first, second);
        assert_ne!(first.2, told(Schedule { shape, seed: 8 }).2);
    }
}
