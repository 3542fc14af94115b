//! `cargo planted`: plants each bug in production code, one at a time, and sees that what its row in `table.txt` names
//! catches it: a schedule of the simulator, or a step test of its room. Without a bug all of these pass.
//!
//! Invariant: every bug there is has a row, and a bug that nothing catches fails the run.

mod plant;
mod steps;
mod table;

use std::process::ExitCode;

use landbridge_model::mutant::Mutant;
use landbridge_tests::sim::Shape;

const USAGE: &str = "cargo planted                          plants every bug and sees that its rows in tests/mutants/table.txt catch it
cargo planted BUG                      plants one
cargo planted --search SHAPE N [BUG]   plays N seeds of a shape per bug and prints a row for the first that catches it";

/// Bugs that are tried at the same time.
const JOBS: usize = 2;

fn main() -> ExitCode {
    // A panic of the code under test is a catch like any other, and told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let named = |name: &str| Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name);
    match words.as_slice() {
        [] => verdict(plant::all(Mutant::ALL, JOBS)),
        ["--search", shape, count] => search(shape, count, Mutant::ALL),
        ["--search", shape, count, name] => {
            named(name).map_or_else(usage, |mutant| search(shape, count, &[mutant]))
        }
        [name] => named(name).map_or_else(usage, |mutant| verdict(plant::all(&[mutant], JOBS))),
        _ => usage(),
    }
}

fn search(shape: &str, count: &str, mutants: &[Mutant]) -> ExitCode {
    let (Some(_), Ok(count)) = (Shape::named(shape), count.parse()) else { return usage() };
    plant::search(mutants, shape, count, JOBS);
    ExitCode::SUCCESS
}

fn verdict(complaints: Vec<String>) -> ExitCode {
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    println!("{USAGE}");
    ExitCode::from(64)
}
