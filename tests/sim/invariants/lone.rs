//! A lone member comes back from its own disk.

use crate::sim::invariants::{Held, Row};

pub const ROW: Row = Row {
    name: "I13",
    what: "a lone member restarted on its disk is READY soon after its feed is open, and shows its checkpoint",
    from: "feeds-spec I13, R14, R18",
};

/// A lone member with a checkpoint.
pub struct Lone {
    /// For how many ticks its feed has been open while it is not READY, its checkpoint covering every need.
    pub waits: Option<i64>,
    /// A key of its checkpoint that it does not show when READY, though nobody buried it.
    pub lacks: Option<usize>,
}

/// So soon.
const SOON: i64 = 3;

pub fn check(lone: &Lone) -> Held {
    if lone.waits.is_some_and(|ticks| ticks >= SOON) {
        return Err("lone member not READY from its checkpoint".into());
    }
    match lone.lacks {
        Some(key) => Err(format!("lone member shows less than its checkpoint: key {key}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_member_that_waits_or_lacks_is_refused() {
        assert!(check(&Lone { waits: Some(2), lacks: None }).is_ok());
        assert!(check(&Lone { waits: Some(3), lacks: None }).is_err());
        assert!(check(&Lone { waits: None, lacks: Some(1) }).is_err());
    }
}
