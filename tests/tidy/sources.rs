//! Holds the size of every source file and the sentence it opens with.

use crate::{
    complains, hold,
    house::{Page, pages},
};

/// The most lines of a source file.
const LINES_MAX: usize = 500;

/// Complains about files that are too long to be read in one sitting.
fn too_long(pages: &[Page]) -> Vec<String> {
    let rust = pages.iter().filter(|page| page.is(&[".rs"]));
    rust.map(|page| (page, page.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(page, lines)| format!("{} has {lines} lines, {LINES_MAX} is the most", page.path))
        .collect()
}

/// Complains about files that do not open with a sentence that says what they are for.
fn no_opening(pages: &[Page]) -> Vec<String> {
    let rust = pages.iter().filter(|page| page.is(&[".rs"]));
    rust.filter(|page| !opens_with_a_sentence(&page.text))
        .map(|page| format!("{} does not open with a `//!` sentence", page.path))
        .collect()
}

/// A sentence has several words and ends in a full stop or a colon before the first empty line.
fn opens_with_a_sentence(text: &str) -> bool {
    let opening: Vec<&str> =
        text.lines().map_while(|line| line.strip_prefix("//! ")).flat_map(str::split_whitespace).collect();
    let ends = opening.iter().any(|word| word.ends_with(['.', ':']));
    opening.len() >= 3 && ends
}

#[test]
fn no_source_file_is_longer_than_its_budget() {
    hold(&too_long(&pages()));
}

#[test]
fn every_source_file_opens_with_a_sentence() {
    hold(&no_opening(&pages()));
}

#[test]
fn a_file_one_line_too_long_is_named() {
    let just_right = Page::new("a.rs", &"\n".repeat(LINES_MAX));
    let too_much = Page::new("b.rs", &"\n".repeat(LINES_MAX + 1));

    complains(&too_long(&[just_right, too_much]), "b.rs has 501 lines, 500 is the most");
}

#[test]
fn an_opening_without_a_sentence_is_named() {
    let good = Page::new("a.rs", "//! Decides who may\n//! speak first.\n");

    for bad in
        ["use std::fmt;\n", "//! landbridge-tests.\n", "// A plain comment is no opening.\n", "//! No end\n"]
    {
        let pages = [Page::new("a.rs", &good.text), Page::new("b.rs", bad)];
        complains(&no_opening(&pages), "b.rs does not open with a `//!` sentence");
    }
}
