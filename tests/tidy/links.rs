//! Holds that what a document points at is there.

use crate::{
    complains, hold,
    house::{Page, pages, root},
};

/// The targets of a document's links that lie in the house, from the root, without anchors.
fn targets(document: &Page) -> Vec<String> {
    let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let links = document.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    links
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .map(|link| if folder.is_empty() { link.to_owned() } else { format!("{folder}/{link}") })
        .collect()
}

/// Complains about links that lead nowhere.
fn dead(documents: &[Page], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let written = documents.iter().filter(|page| page.is(&[".md"]));
    written
        .flat_map(|page| targets(page).into_iter().map(move |target| (page, target)))
        .filter(|(_, target)| !exists(target))
        .map(|(page, target)| format!("{} points at {target}, which is not there", page.path))
        .collect()
}

#[test]
fn no_document_points_at_nothing() {
    hold(&dead(&pages(), |target| root().join(target).exists()));
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let text = "See [this](wait.rs#top), [that](lost.rs), [them](https://example.org) and [here](#below).";
    let page = Page::new("tests/README.md", text);

    complains(
        &dead(&[page], |target| target == "tests/wait.rs"),
        "tests/README.md points at tests/lost.rs, which is not there",
    );
}
