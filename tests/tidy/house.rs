//! Reads the house: its root, its text files and what cargo says about its crates.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

/// One text file, by its path from the root.
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    /// Makes up a file for a check to complain about.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The parts of a source file that run in production and in tests. Tests come last, in a module of their own; a file
    /// of the tests crate and a test module in its own file are all tests.
    pub(crate) fn parts(&self) -> (&str, &str) {
        let is_all_tests =
            self.path.starts_with("tests/") || self.is(&["/tests.rs"]) || self.path.contains("/tests/");
        if is_all_tests {
            return ("", &self.text);
        }
        const MARK: &str = "#[cfg(test)]\n";
        let module = self.text.match_indices(MARK).find(|(at, _)| {
            let next = self.text[at + MARK.len()..].lines().next().unwrap_or_default().trim_start();
            next.starts_with("mod ") && next.contains('{')
        });
        self.text.split_at(module.map_or(self.text.len(), |(at, _)| at))
    }

    /// Whether the name ends in one of these.
    pub(crate) fn is(&self, endings: &[&str]) -> bool {
        endings.iter().any(|ending| self.path.ends_with(ending))
    }
}

/// A crate of ours as cargo sees it.
#[derive(Deserialize)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) manifest_path: PathBuf,
}

/// Something a crate may import.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
}

/// The folder that holds the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lives in the workspace").to_owned()
}

/// Every text file we wrote, sorted by path.
pub(crate) fn pages() -> Vec<Page> {
    let root = root();
    let mut pages = Vec::new();
    walk(&root, &root, &mut pages);
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    pages
}

/// One file by its path from the root.
pub(crate) fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn walk(root: &Path, folder: &Path, pages: &mut Vec<Page>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let not_ours = (name.starts_with('.') && name != ".ci") || matches!(name, "target" | "node_modules");
        if not_ours {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, pages);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("a path under the root").to_string_lossy().into_owned();
            pages.push(Page { path, text });
        }
    }
}

/// The workspace's crates.
pub(crate) fn crates() -> Vec<Crate> {
    let answer = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(answer.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice::<Metadata>(&answer.stdout).expect("cargo's metadata").packages
}

impl Crate {
    /// The crate's folder from the root, with forward slashes.
    pub(crate) fn folder(&self) -> String {
        let folder = self.manifest_path.parent().expect("a manifest lies in a folder");
        folder.strip_prefix(root()).expect("a crate of this workspace").to_string_lossy().into_owned()
    }
}
