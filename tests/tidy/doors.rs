//! Holds the doors: which crate of ours may import which other.

use crate::{
    complains, hold,
    house::{Crate, Dependency, crates},
};

/// Who may import whom, in reading order. `*` stands for every crate.
///
/// `store` may import `wire`: log, state machine and streams share one record codec, so that a record has one set of
/// bytes and one format version.
const DOORS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("feed", &["model"]),
    ("wire", &["model", "feed"]),
    ("carrier", &["model", "feed", "wire", "runtime"]),
    ("registry-core", &["model", "feed"]),
    ("store", &["model", "feed", "wire", "registry-core"]),
    ("client", &["model", "feed", "wire", "carrier", "runtime"]),
    ("runtime", &[]),
    ("registry", &["model", "feed", "wire", "carrier", "registry-core", "store", "runtime"]),
    ("bridge-core", &["model", "feed"]),
    ("bridge", &["model", "feed", "wire", "carrier", "client", "runtime", "bridge-core"]),
    ("gateway-core", &["model"]),
    ("gateway", &["model", "client", "runtime", "gateway-core"]),
    ("landbridge", &["*"]),
    ("tests", &["*"]),
];

/// The name by which we talk of a crate of ours, if it is one.
fn room(name: &str) -> Option<&str> {
    if name == "landbridge" { Some(name) } else { name.strip_prefix("landbridge-") }
}

/// Complains about every import that the table does not list. Imports of tests and build scripts count too.
fn check(crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for member in crates {
        let importer = room(&member.name).unwrap_or(&member.name);
        let Some((_, doors)) = DOORS.iter().find(|(room, _)| *room == importer) else {
            complaints.push(format!("{importer} is not in the table of doors"));
            continue;
        };
        for imported in member.dependencies.iter().filter_map(|dependency| room(&dependency.name)) {
            if !doors.contains(&"*") && !doors.contains(&imported) {
                complaints.push(format!("{importer} must not import {imported}"));
            }
        }
    }
    complaints
}

#[test]
fn rooms_import_only_through_the_listed_doors() {
    hold(&check(&crates()));
}

#[test]
fn every_door_leads_from_and_to_a_crate_of_the_workspace() {
    let crates = crates();
    let known = |name: &str| name == "*" || crates.iter().any(|member| room(&member.name) == Some(name));

    let missing: Vec<String> = DOORS
        .iter()
        .flat_map(|(room, doors)| doors.iter().chain([room]))
        .filter(|name| !known(name))
        .map(|name| format!("the table of doors names {name}, which is no crate"))
        .collect();

    hold(&missing);
}

#[test]
fn a_door_that_is_not_listed_is_named() {
    let crates = [
        made_up("landbridge-gateway-core", &["landbridge-model", "landbridge-wire"]),
        made_up("landbridge", &["landbridge-tests"]),
    ];

    complains(&check(&crates), "gateway-core must not import wire");
}

#[test]
fn a_crate_without_a_row_is_named() {
    complains(&check(&[made_up("landbridge-common", &[])]), "common is not in the table of doors");
}

fn made_up(name: &str, imports: &[&str]) -> Crate {
    let dependencies = imports.iter().map(|name| Dependency { name: (*name).to_owned() }).collect();
    Crate { name: name.to_owned(), dependencies, manifest_path: "made/up/Cargo.toml".into() }
}
