//! Holds what must not be left lying in the house: unfinished work, waiting tests, and paths of one machine.

use crate::{
    complains, hold,
    house::{Page, pages},
};

/// Marks of unfinished work, written apart so that this file does not carry them.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
];

/// Ways of waiting that make a test slow or flaky.
const WAITING: &[&str] =
    &[concat!("thread::", "sleep"), concat!("time::", "sleep("), concat!("sleep_", "ms(")];

/// The attribute that turns a broken test into silence.
const IGNORED: &str = concat!("#[ig", "nore");

/// The one place that may wait: it asks a condition again until a deadline.
const WAITS: &str = "tests/src/wait.rs";

/// Folders that exist on one machine only.
const ONE_MACHINE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

fn unfinished(pages: &[Page]) -> Vec<String> {
    let ours = pages
        .iter()
        .filter(|page| page.is(&[".rs", ".toml", ".sh", ".py", ".mjs", ".yml", "/run", "/check"]));
    find(ours, UNFINISHED, "is unfinished: it says")
}

fn waiting(pages: &[Page]) -> Vec<String> {
    let tests: Vec<Page> = pages
        .iter()
        .filter(|page| page.is(&[".rs"]) && page.path != WAITS)
        .filter_map(|page| Some(Page::new(&page.path, test_part(page)?)))
        .collect();
    let paused = |page: &&Page| !page.text.contains("start_paused = true");
    let mut complaints = find(tests.iter().filter(paused), WAITING, "waits in a test with");
    complaints.extend(find(tests.iter(), &[IGNORED], "silences a test with"));
    complaints
}

fn tied_to_a_machine(pages: &[Page]) -> Vec<String> {
    find(pages.iter().filter(|page| !page.is(&["Cargo.lock"])), ONE_MACHINE, "names a folder of one machine:")
}

/// The part of a source file that is tests: all of it in the tests crate, else what follows the first `cfg(test)`.
fn test_part(page: &Page) -> Option<&str> {
    let is_all_tests =
        page.path.starts_with("tests/") || page.is(&["/tests.rs"]) || page.path.contains("/tests/");
    if is_all_tests { Some(&page.text) } else { page.text.find("#[cfg(test)]").map(|at| &page.text[at..]) }
}

fn find<'a>(pages: impl Iterator<Item = &'a Page>, marks: &[&str], complaint: &str) -> Vec<String> {
    let hits = pages.flat_map(|page| {
        marks
            .iter()
            .filter(|mark| page.text.contains(**mark))
            .map(move |mark| format!("{} {complaint} {mark}", page.path))
    });
    hits.collect()
}

#[test]
fn nothing_is_left_unfinished() {
    hold(&unfinished(&pages()));
}

#[test]
fn no_test_sleeps_and_none_is_silenced() {
    hold(&waiting(&pages()));
}

#[test]
fn nothing_names_a_folder_of_one_machine() {
    hold(&tied_to_a_machine(&pages()));
}

#[test]
fn a_mark_of_unfinished_work_is_named() {
    for mark in UNFINISHED {
        let page = Page::new("registry/core/src/lib.rs", &format!("fn later() {{ {mark} }}"));
        let complaints = unfinished(&[page]);

        assert!(complaints.iter().any(|complaint| complaint.ends_with(mark)), "{mark}: {complaints:?}");
    }
}

#[test]
fn a_sleeping_test_is_named_unless_its_clock_is_paused() {
    let sleeps = format!("fn run() {{}}\n#[cfg(test)]\nmod tests {{ {}second) }}", WAITING[1]);
    let paused = format!("{sleeps}\n#[tokio::test(start_paused = true)]");
    let works = format!("fn run() {{ {}second) }}\n#[cfg(test)]\nmod tests {{}}", WAITING[1]);

    assert_eq!(waiting(&[Page::new("a/src/lib.rs", &paused), Page::new("a/src/main.rs", &works)]), [""; 0]);
    complains(
        &waiting(&[Page::new("a/src/lib.rs", &sleeps)]),
        &format!("a/src/lib.rs waits in a test with {}", WAITING[1]),
    );
    assert_eq!(waiting(&[Page::new("tests/wire/main.rs", &works)]).len(), 1);
}

#[test]
fn a_silenced_test_is_named() {
    let page = Page::new("tests/sim/main.rs", &format!("{IGNORED}]\n#[test]"));

    complains(&waiting(&[page]), &format!("tests/sim/main.rs silences a test with {IGNORED}"));
}

#[test]
fn a_folder_of_one_machine_is_named() {
    let page = Page::new("README.md", &format!("cd {}landbridge", ONE_MACHINE[2]));

    complains(
        &tied_to_a_machine(&[page]),
        &format!("README.md names a folder of one machine: {}", ONE_MACHINE[2]),
    );
}
