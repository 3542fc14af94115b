//! Records of silent writers are marked, and only those.

use crate::sim::{
    invariants::{Held, Row},
    times::{BEAT_LAG, UNVERIFIED},
};

pub const ROW: Row = Row {
    name: "I12",
    what: "records of a dead member turn unverified at every well-linked member, those of a connected member do not",
    from: "feeds-spec I12, R26; sync.md D.10 I12",
};

/// How one member sees the records of one writer.
pub struct Marked {
    pub now: i64,
    pub is_marked: bool,
    /// Since when both have been up and well linked in a calm region; none if the writer is gone.
    pub connected_since: Option<i64>,
    /// Since when the writer has been gone and nobody had news of it that this member lacked; none if it is there.
    pub gone_since: Option<i64>,
    /// Ticks since the last heartbeat that was news here.
    pub silent: i64,
}

pub fn check(marked: &Marked) -> Held {
    let long = UNVERIFIED + BEAT_LAG;
    let is_over = |since: Option<i64>| since.is_some_and(|since| marked.now - since > long);
    if marked.is_marked && is_over(marked.connected_since) && marked.silent > long {
        return Err("record of a connected member marked unverified".into());
    }
    if !marked.is_marked && is_over(marked.gone_since) {
        return Err("record of a dead member not marked unverified".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_on_the_living_and_none_on_the_dead_are_refused() {
        let living =
            Marked { now: 100, is_marked: false, connected_since: Some(10), gone_since: None, silent: 40 };
        let dead = Marked { is_marked: true, connected_since: None, gone_since: Some(10), ..living };

        assert!(check(&living).is_ok() && check(&dead).is_ok());
        assert!(check(&Marked { is_marked: true, ..living }).is_err());
        assert!(check(&Marked { is_marked: false, ..dead }).is_err());
    }
}
