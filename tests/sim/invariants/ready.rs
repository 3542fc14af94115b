//! READY is said when nothing is missing.

use std::collections::BTreeSet;

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I6 at READY",
    what: "a member that turns READY shows what closes promised, what it showed before and what its peers show",
    from: "feeds-spec I6, R14; house: never an empty list after a restart",
};

/// What must be shown at the first read, by why.
pub struct Ready<'a> {
    pub shown: &'a BTreeSet<usize>,
    pub promised: &'a BTreeSet<usize>,
    pub before: &'a BTreeSet<usize>,
    pub stable: &'a BTreeSet<usize>,
}

pub fn check(ready: &Ready<'_>) -> Held {
    let lists = [
        (ready.promised, "that a close promised"),
        (ready.before, "that it showed before"),
        (ready.stable, "that a peer shows"),
    ];
    for (keys, why) in lists {
        if let Some(key) = keys.difference(ready.shown).next() {
            return Err(format!("READY member lacks key {key} {why}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_lacks_anything_it_owes_is_refused() {
        let (shown, none, more) = ([1, 2].into(), BTreeSet::new(), [2, 3].into());
        let good = Ready { shown: &shown, promised: &shown, before: &none, stable: &shown };

        assert!(check(&good).is_ok());
        assert!(check(&Ready { promised: &more, ..good }).is_err());
        assert!(check(&Ready { before: &more, ..good }).is_err());
        assert!(check(&Ready { stable: &more, ..good }).is_err());
    }
}
