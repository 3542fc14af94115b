//! Holds the house style that no compiler holds: doors, budgets, marks, purity and the map.
//!
//! Every check is a function from text to complaints, so that each can be tried on a house that breaks it.

mod doors;
mod house;
mod links;
mod map;
mod marks;
mod metrics;
mod planted;
mod purity;
mod sources;

/// Fails with every complaint, one a line.
#[track_caller]
fn hold(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// Fails unless exactly the expected complaint is made.
#[track_caller]
fn complains(complaints: &[String], expected: &str) {
    assert_eq!(complaints, [expected.to_owned()]);
}
