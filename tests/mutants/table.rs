//! The table of what catches which bug.

use landbridge_model::mutant::Mutant;
use landbridge_tests::sim::{Schedule, Shape};

const TABLE: &str = include_str!("table.txt");

/// What catches a bug.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Catcher {
    /// A schedule of the simulator, by the name of its shape and its seed.
    Sim(String, u64),
    /// A step test, by its crate and its path there.
    Step(String, String),
}

impl Catcher {
    /// The schedule, if it is one.
    pub fn schedule(&self) -> Option<Schedule> {
        match self {
            Self::Sim(shape, seed) => Some(Schedule { shape: Shape::named(shape)?, seed: *seed }),
            Self::Step(..) => None,
        }
    }
}

impl std::fmt::Display for Catcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sim(shape, seed) => write!(f, "sim {shape} {seed}"),
            Self::Step(room, test) => write!(f, "step {room} {test}"),
        }
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    pub mutant: Mutant,
    pub catcher: Catcher,
}

/// The rows, or what is wrong with them: a word that means nothing, or a bug without a row.
pub fn rows() -> Result<Vec<Row>, Vec<String>> {
    let lines = TABLE.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let read: Vec<Result<Row, String>> = lines
        .map(|line| row(line).ok_or_else(|| format!("table.txt has a row that means nothing: {line}")))
        .collect();
    let rows: Vec<Row> = read.iter().filter_map(|row| row.clone().ok()).collect();
    let missing = Mutant::ALL.iter().filter(|mutant| rows.iter().all(|row| row.mutant != **mutant));
    let missing =
        missing.map(|mutant| format!("nothing catches {}: it has no row in table.txt", mutant.name()));
    let complaints: Vec<String> = read.into_iter().filter_map(Result::err).chain(missing).collect();
    if complaints.is_empty() { Ok(rows) } else { Err(complaints) }
}

fn row(line: &str) -> Option<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, how, first, second] = words.as_slice() else { return None };
    let mutant = *Mutant::ALL.iter().find(|mutant| mutant.name() == *name)?;
    let catcher = match *how {
        "sim" => Catcher::Sim(Shape::named(first).map(|_| (*first).to_owned())?, second.parse().ok()?),
        "step" => Catcher::Step((*first).to_owned(), (*second).to_owned()),
        _ => return None,
    };
    Some(Row { mutant, catcher })
}
