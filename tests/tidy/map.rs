//! Holds the map: the documents name every folder of the house and no other, and give the commands that CI runs.

use std::collections::BTreeSet;

use crate::{
    complains, hold,
    house::{crates, page, root},
};

/// The documents that carry a map, a table whose first column is a folder in backticks.
const MAPS: &[&str] = &["README.md", "ARCHITECTURE.md"];

/// The folders of a document's table rows.
fn folders(document: &str) -> BTreeSet<String> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once("` |"))
        .map(|(folder, _)| folder.trim_end_matches('/').to_owned())
        .filter(|folder| folder.chars().all(|c| c.is_ascii_lowercase() || "-/.".contains(c)))
        .collect()
}

/// Complains about folders that the map names and the house lacks.
fn not_there(document: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = folders(document).into_iter().filter(|folder| !exists(folder));
    missing.map(|folder| format!("the map names {folder}, which is not there")).collect()
}

/// Complains about folders that the house has and the map does not name.
fn not_named<'a>(document: &str, house: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let named = folders(document);
    let missing = house.into_iter().filter(|folder| !named.contains(*folder));
    missing.map(|folder| format!("the map does not name {folder}")).collect()
}

/// The lines of a document's code blocks that start with this word.
fn commands<'a>(document: &'a str, start: &str) -> Vec<&'a str> {
    let mut inside = false;
    let code = document.lines().filter(|line| {
        inside ^= line.trim_start().starts_with("```");
        inside
    });
    code.map(str::trim).filter(|line| line.starts_with(start)).collect()
}

/// Complains unless the script runs the command, whole and by itself.
fn not_run(script: &str, command: &str) -> Vec<String> {
    let runs = script
        .lines()
        .any(|line| !line.trim_start().starts_with('#') && line.ends_with(&format!(" -- {command}")));
    if runs { Vec::new() } else { vec![format!("CI does not run `{command}`")] }
}

#[test]
fn every_folder_that_a_map_names_is_there() {
    for document in MAPS {
        hold(&not_there(&page(document), |folder| root().join(folder).is_dir()));
    }
}

#[test]
fn every_crate_stands_on_the_map() {
    let folders: Vec<String> = crates().iter().map(|member| member.folder()).collect();

    hold(&not_named(&page("ARCHITECTURE.md"), folders.iter().map(String::as_str)));
}

#[test]
fn ci_runs_the_commands_that_the_readme_gives() {
    let (readme, script) = (page("README.md"), page(".ci/run"));

    assert_eq!(commands(&readme, "cargo test"), ["cargo test --workspace"]);
    assert_eq!(commands(&readme, "cargo run"), ["cargo run --release -- demo"]);
    hold(&not_run(&script, "cargo test --workspace"));
    hold(&not_run(&script, "cargo run --release -- demo --check"));
}

#[test]
fn a_folder_missing_on_either_side_is_named() {
    let document =
        "| `registry/feed` | the machine |\n| `Region` | a word, no folder |\n| `deploy/` | machines |";

    complains(
        &not_there(document, |folder| folder == "deploy"),
        "the map names registry/feed, which is not there",
    );
    complains(&not_named(document, ["deploy", "gateway/core"]), "the map does not name gateway/core");
}

#[test]
fn a_command_that_ci_leaves_out_or_changes_is_named() {
    let document = "Text says cargo test.\n```sh\ncargo test --workspace\n```\ncargo test of nothing";

    assert_eq!(commands(document, "cargo test"), ["cargo test --workspace"]);
    hold(&not_run("step tests -- cargo test --workspace", "cargo test --workspace"));
    for script in ["# step tests -- cargo test --workspace", "step tests -- cargo test --workspace --no-run"]
    {
        complains(&not_run(script, "cargo test --workspace"), "CI does not run `cargo test --workspace`");
    }
}
