//! Holds that bugs which tests plant never reach what runs: the compiler refuses them in a release build.

use std::process::{Command, Output};

use crate::{
    complains, hold,
    house::{Page, pages, root},
};

/// The file that holds the switch. It needs no other, so that the compiler can be asked about it alone.
const SWITCH: &str = "registry/model/src/mutant.rs";

/// The feature, as a manifest names it.
const FEATURE: &str = "mutants";

/// The manifests that may name it: of the crate that has it, and of the one that asks for it.
const NAME_IT: &[&str] = &["registry/model/Cargo.toml", "tests/Cargo.toml"];

/// Compiles the switch alone, with or without bugs, as a debug or a release build.
fn compiled(bugs: bool, debug: bool) -> Output {
    let folder = tempfile::tempdir().expect("a folder to build in");
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(root()).args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"]);
    command.arg("--out-dir").arg(folder.path());
    command.arg("-C").arg(format!("debug-assertions={}", if debug { "on" } else { "off" }));
    if bugs {
        command.arg("--cfg").arg(format!("feature=\"{FEATURE}\""));
    }
    command.arg(SWITCH).output().expect("the compiler runs")
}

/// Complains about manifests that could turn planted bugs on, and about a release profile with debug assertions.
fn reachable(pages: &[Page]) -> Vec<String> {
    let manifests = pages.iter().filter(|page| page.is(&["Cargo.toml"]));
    let complaints = manifests.flat_map(|page| {
        let naming = page.text.contains(FEATURE) && !NAME_IT.contains(&page.path.as_str());
        let asserting = page.text.contains("debug-assertions");
        [
            naming.then(|| format!("{} names the feature {FEATURE}", page.path)),
            asserting.then(|| format!("{} sets debug-assertions, which release builds must lack", page.path)),
        ]
    });
    complaints.flatten().collect()
}

#[test]
fn no_release_build_can_hold_a_planted_bug() {
    let refused = compiled(true, false);

    assert!(!refused.status.success(), "a release build takes planted bugs");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("debug builds of tests only"), "{why}");
    for (bugs, debug) in [(false, false), (false, true), (true, true)] {
        let built = compiled(bugs, debug);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
}

#[test]
fn nothing_but_the_tests_asks_for_planted_bugs() {
    hold(&reachable(&pages()));
}

#[test]
fn a_manifest_that_lets_planted_bugs_in_is_named() {
    let asks = Page::new("gateway/core/Cargo.toml", "features = [\"mutants\"]");
    let asserts = Page::new("Cargo.toml", "[profile.release]\ndebug-assertions = true");

    complains(&reachable(&[asks]), "gateway/core/Cargo.toml names the feature mutants");
    complains(&reachable(&[asserts]), "Cargo.toml sets debug-assertions, which release builds must lack");
}
