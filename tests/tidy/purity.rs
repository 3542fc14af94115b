//! Holds that every core carries the list of things it must not touch, where clippy reads it, and imports no I/O.

use std::fs;

use crate::{
    hold,
    house::{Crate, crates, root},
};

/// The crates that decide: the same inputs give the same effects.
const CORES: &[&str] =
    &["landbridge-feed", "landbridge-registry-core", "landbridge-bridge-core", "landbridge-gateway-core"];

/// What every core's `clippy.toml` must refuse: clocks, chance in iteration order, disks, sockets and threads.
const REFUSED: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::fs::File",
    "std::net::TcpStream",
    "std::thread::spawn",
];

/// Crates of others that do I/O, look at clocks or bring their own chance.
const IMPURE: &[&str] =
    &["tokio", "tonic", "hyper", "axum", "fjall", "openraft", "metrics", "tracing", "rand"];

/// Complains about a core's list that lacks something, or whose function budget is not the house's.
fn lacking(core: &str, list: &str) -> Vec<String> {
    let lacks = REFUSED.iter().filter(|path| !list.contains(&format!("\"{path}\"")));
    let mut complaints: Vec<String> =
        lacks.map(|path| format!("the clippy.toml of {core} does not refuse {path}")).collect();
    if !list.lines().any(|line| line == "too-many-lines-threshold = 70") {
        complaints.push(format!("the clippy.toml of {core} does not hold functions to 70 lines"));
    }
    complaints
}

/// Complains about imports through which a core could do deeds.
fn impure(core: &Crate) -> Vec<String> {
    let imports = core.dependencies.iter().filter(|dependency| IMPURE.contains(&dependency.name.as_str()));
    imports.map(|dependency| format!("{} must not import {}", core.name, dependency.name)).collect()
}

#[test]
fn every_core_refuses_clocks_chance_disks_and_sockets() {
    let crates = crates();
    for name in CORES {
        let core = crates.iter().find(|member| member.name == *name).expect("the core is a crate");
        let list = fs::read_to_string(root().join(core.folder()).join("clippy.toml")).unwrap_or_default();

        hold(&lacking(name, &list));
        hold(&impure(core));
    }
}

#[test]
fn a_list_that_lacks_something_is_named() {
    let whole: String = REFUSED.iter().map(|path| format!("path = \"{path}\"\n")).collect();
    let whole = format!("too-many-lines-threshold = 70\n{whole}");

    hold(&lacking("a core", &whole));
    assert_eq!(lacking("a core", "").len(), REFUSED.len() + 1);
    assert_eq!(
        lacking("a core", &whole.replace("std::fs::File", "std::fs::Fil")),
        ["the clippy.toml of a core does not refuse std::fs::File"],
    );
}
