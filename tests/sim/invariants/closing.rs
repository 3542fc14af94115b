//! A close takes nobody who is there, comes not too early, and knows who has moved.

use std::collections::BTreeSet;

use crate::sim::{
    invariants::{Held, Row},
    times::{BEAT_LAG, CLOSE},
};

pub const ROW: Row = Row {
    name: "I6 at closes",
    what: "no connected member is closed, no feed is closed early, and who moved in time is known to the closer",
    from: "feeds-spec I6, G2, R3, R4; sync.md D.10 I6",
};

/// One committed close of a feed.
pub struct Closing<'a> {
    /// The tick of the commit, and that of the proposal.
    pub now: i64,
    pub proposed: i64,
    /// Since when the writer has been up, open, not draining and two-way linked in a calm region; none if it is not.
    pub connected_since: Option<i64>,
    /// When the writer crashed, if it had been well until then and left live records.
    pub crashed: Option<i64>,
    /// Keys of which the closer must know a record elsewhere, each with the reason.
    pub owed: &'a [(usize, &'static str)],
    /// Keys that it saw elsewhere.
    pub known: &'a BTreeSet<usize>,
}

/// How much earlier than T_close after a crash a close may come: the heartbeat was under way.
const EARLY: i64 = 4;

pub fn check(closing: &Closing<'_>) -> Held {
    let since = closing.proposed - CLOSE - BEAT_LAG;
    if closing.connected_since.is_some_and(|connected| connected <= since) {
        return Err("false close of a connected member".into());
    }
    if closing.crashed.is_some_and(|crashed| closing.now < crashed + CLOSE - EARLY) {
        return Err("closed early after a crash".into());
    }
    match closing.owed.iter().find(|(key, _)| !closing.known.contains(key)) {
        Some((key, why)) => Err(format!("key {key} lost by a close: {why}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_of_somebody_there_or_too_early_or_blind_is_refused() {
        let known = [1].into();
        let good = Closing {
            now: 100,
            proposed: 99,
            connected_since: None,
            crashed: Some(100 - CLOSE),
            owed: &[(1, "it beat on")],
            known: &known,
        };

        assert!(check(&good).is_ok());
        assert!(check(&Closing { connected_since: Some(10), ..good }).is_err());
        assert!(check(&Closing { crashed: Some(95), ..good }).is_err());
        assert!(check(&Closing { owed: &[(2, "it came back in time")], ..good }).is_err());
    }
}
