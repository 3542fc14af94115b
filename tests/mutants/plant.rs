//! Plants bugs and asks what the table names, on several threads.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use landbridge_model::mutant::{Mutant, plant};
use landbridge_tests::sim::{Schedule, Shape, run};

use crate::{
    steps::Steps,
    table::{Catcher, Row, rows},
};

/// A change of the simulator throws its dice anew: so many further seeds of the row's shape may catch the bug instead.
const FURTHER_MAX: u64 = 24;

/// Plants these bugs and prints what catches each; what is wrong.
pub fn all(mutants: &[Mutant], jobs: usize) -> Vec<String> {
    let rows = match rows() {
        Ok(rows) => rows,
        Err(complaints) => return complaints,
    };
    let rows: Vec<Row> = rows.into_iter().filter(|row| mutants.contains(&row.mutant)).collect();
    let rooms: BTreeSet<&str> = rows.iter().filter_map(|row| room(&row.catcher)).collect();
    let steps = match Steps::build(&rooms.into_iter().collect::<Vec<_>>()) {
        Ok(steps) => steps,
        Err(why) => return vec![why],
    };
    let start = Instant::now();
    let catchers: BTreeSet<&Catcher> = rows.iter().map(|row| &row.catcher).collect();
    let catchers: Vec<_> = catchers.into_iter().collect();
    let mut complaints: Vec<String> =
        each(&catchers, jobs, |catcher| passes(&steps, catcher)).into_iter().flatten().collect();
    println!("without a bug: {} schedules and step tests, {} fail", catchers.len(), complaints.len());
    let caught = each(&rows, jobs, |row| {
        let told = caught(&steps, row);
        let by = told.as_ref().map_or("NOTHING", String::as_str);
        println!("{:24} {}\n{:24} caught by {by}", row.mutant.name(), row.mutant.line(), "");
        (row, told.is_some())
    });
    complaints.extend(missed(&caught));
    let wall_s = start.elapsed().as_secs_f64();
    println!(
        "{} planted bugs, {} complaints; {wall_s:.0} wall s on {jobs} threads",
        mutants.len(),
        complaints.len()
    );
    complaints
}

/// Bugs that no row caught, and step tests that did not catch theirs. A schedule may: when production code or the simulator
/// changes, its seed means another one.
fn missed(caught: &[(&Row, bool)]) -> Vec<String> {
    let escaped = caught.iter().filter(|(row, is_caught)| {
        let by_none = caught.iter().all(|(other, is_caught)| other.mutant != row.mutant || !is_caught);
        by_none || !is_caught && room(&row.catcher).is_some()
    });
    escaped.map(|(row, _)| format!("{} is not caught by {}", row.mutant.name(), row.catcher)).collect()
}

fn room(catcher: &Catcher) -> Option<&str> {
    match catcher {
        Catcher::Sim(..) => None,
        Catcher::Step(room, _) => Some(room),
    }
}

/// What is wrong with it though nothing is planted.
fn passes(steps: &Steps, catcher: &Catcher) -> Option<String> {
    plant(None);
    match catcher {
        Catcher::Sim(..) => {
            let violation = run(catcher.schedule()?).err()?;
            Some(format!("without a bug: {violation}"))
        }
        Catcher::Step(room, test) => match steps.passes(room, test, None) {
            Ok(true) => None,
            Ok(false) => Some(format!("without a bug: {test} of {room} fails")),
            Err(why) => Some(why),
        },
    }
}

/// How the row catches its bug, if it does.
fn caught(steps: &Steps, row: &Row) -> Option<String> {
    match &row.catcher {
        Catcher::Sim(..) => {
            let named = row.catcher.schedule()?;
            let further = (1..=FURTHER_MAX).map(|seed| Schedule { seed, ..named });
            first(row.mutant, std::iter::once(named).chain(further))
        }
        Catcher::Step(room, test) => {
            let is_caught = steps.passes(room, test, Some(row.mutant)) == Ok(false);
            is_caught.then(|| format!("{room}: {test}"))
        }
    }
}

/// The first of these schedules that shows the bug, and how.
fn first(mutant: Mutant, mut schedules: impl Iterator<Item = Schedule>) -> Option<String> {
    plant(Some(mutant));
    let found = schedules.find_map(|schedule| run(schedule).err());
    plant(None);
    found.map(|violation| violation.to_string())
}

/// Prints a row of the table for each of these bugs that one of the first `count` seeds of a shape catches.
pub fn search(mutants: &[Mutant], word: &str, count: u64, jobs: usize) {
    let Some(shape) = Shape::named(word) else { return };
    each(mutants, jobs, |mutant| {
        let start = Instant::now();
        plant(Some(*mutant));
        let found = (1..=count).find_map(|seed| Some((seed, run(Schedule { shape, seed }).err()?)));
        plant(None);
        let took_s = start.elapsed().as_secs_f64();
        match found {
            Some((seed, violation)) => {
                println!("{} sim {word} {seed}   # {took_s:.1} s: {}", mutant.name(), violation.what);
            }
            None => println!("# {}: none of {count} seeds of {word}, {took_s:.1} s", mutant.name()),
        }
    });
}

/// Does something for each, on so many threads; the results in the order of the list.
fn each<'a, T: Sync, R: Send>(list: &'a [T], jobs: usize, deed: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = list.get(at) else { return };
                    let result = deed(item);
                    done.lock().expect("no deed panics").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no deed panics");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
