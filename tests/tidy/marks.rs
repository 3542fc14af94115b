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

/// Complains about tests that let time pass. A loop that asks a condition may rest between two questions, and a paused
/// clock costs nothing.
fn waiting(pages: &[Page]) -> Vec<String> {
    let sources = pages.iter().filter(|page| page.is(&[".rs"]) && page.path != WAITS);
    let tests: Vec<Page> = sources.map(|page| Page::new(&page.path, page.parts().1)).collect();
    let running: Vec<Page> = tests
        .iter()
        .filter(|page| !page.text.contains("start_paused = true"))
        .map(|page| Page::new(&page.path, &without_rests(&page.text)))
        .collect();
    let mut complaints = find(running.iter(), WAITING, "waits in a test with");
    complaints.extend(find(tests.iter(), &[IGNORED], "silences a test with"));
    complaints
}

/// The text without the lines that directly follow a `while`.
fn without_rests(text: &str) -> String {
    let mut after_while = false;
    let kept = text.lines().filter(|line| {
        let rests = std::mem::replace(&mut after_while, line.trim_start().starts_with("while "));
        !rests
    });
    kept.collect::<Vec<_>>().join("\n")
}

fn tied_to_a_machine(pages: &[Page]) -> Vec<String> {
    find(pages.iter().filter(|page| !page.is(&["Cargo.lock"])), ONE_MACHINE, "names a folder of one machine:")
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

    let asks = format!("mod tests {{\nwhile !done() {{\n{}rest)\n}}", WAITING[1]);
    let declared = format!("#[cfg(test)]\nmod tests;\n{works}");

    for text in [&paused, &works, &declared] {
        hold(&waiting(&[Page::new("a/src/lib.rs", text)]));
    }
    hold(&waiting(&[Page::new("a/src/tests.rs", &asks)]));
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
