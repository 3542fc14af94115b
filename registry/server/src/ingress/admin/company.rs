//! The members of the region as this one knows them: where, how, and what part each has.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use landbridge_model::MemberId;
use serde::Serialize;

use crate::{
    member::Shared,
    peers::{Hail, Health},
    state::OpenFeed,
};

/// A leader that no majority answered for so long does not count as one here.
const LEADER_HEARD: Duration = Duration::from_secs(2);

/// One member.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) member: u16,
    /// Of its HTTP port if the list has it, else of its feeds.
    pub(crate) address: String,
    /// UP, SUSPICIOUS or DOWN, Nacos's words.
    pub(crate) state: &'static str,
    /// What it last said of itself.
    pub(crate) phase: String,
    version: String,
    /// leader, voter or learner; empty if it is not in the Raft group. A leader that no majority hears, or that is DOWN, is a voter.
    raft: &'static str,
    /// How many Raft entries it has applied less than any member that is heard; none where it is not.
    lag: Option<u64>,
    /// How much room its disk has: ok, low or full; empty if it never said.
    disk: String,
    /// Its newest open feed.
    feed: String,
    /// Whether that feed's heartbeats have not been heard for ten seconds.
    silent: bool,
}

pub(super) async fn members(State(shared): State<Arc<Shared>>) -> Json<Vec<Row>> {
    Json(rows(&shared))
}

/// The last entry that any member has applied that is heard: what one said that has gone may be of a line that is gone too.
fn newest<'a>(own: u64, hails: impl Iterator<Item = &'a Hail>) -> u64 {
    hails.filter(|hail| hail.health != Health::Down).map(|hail| hail.applied).fold(own, u64::max)
}

/// Every member that is listed, votes, or writes an open feed.
pub(crate) fn rows(shared: &Shared) -> Vec<Row> {
    let sight = shared.state.sight();
    let (listed, hails) = (shared.company.addresses.all(), shared.company.hails.all());
    let group = shared.store.members();
    let leader = shared.store.standing().borrow().leader;
    let leads = shared.store.leading(LEADER_HEARD).is_some_and(|(_, heard)| heard);
    let up = |hail: Option<&Hail>| hail.is_some_and(|hail| hail.health != Health::Down);
    let own = shared.store.places().applied.unwrap_or_default();
    let newest = newest(own, hails.values());
    let known: BTreeSet<MemberId> = listed
        .keys()
        .copied()
        .chain(group.voters.iter().chain(&group.learners).copied())
        .chain(sight.feeds.iter().map(|open| open.member))
        .collect();
    let row = |member: MemberId| {
        let open: Option<&OpenFeed> = sight.feeds.iter().rfind(|open| open.member == member);
        let of_feed = open.map(|open| open.address.clone()).unwrap_or_default();
        let (me, hail) = (member == shared.member, hails.get(&member));
        let heard = if me { leads } else { up(hail) };
        let raft = match (heard && leader == Some(member), group.voters.contains(&member)) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) if group.learners.contains(&member) => "learner",
            (false, false) => "",
        };
        let said = |of_me: &str, of_peer: Option<&String>| {
            if me { of_me.to_owned() } else { of_peer.cloned().unwrap_or_default() }
        };
        Row {
            member: member.0,
            address: listed.get(&member).map_or(of_feed, |place| place.http()),
            state: if me { "UP" } else { hail.map_or("DOWN", |hail| hail.health.word()) },
            phase: said(shared.state.phase(), hail.map(|hail| &hail.phase)),
            version: said(env!("CARGO_PKG_VERSION"), hail.map(|hail| &hail.version)),
            raft,
            lag: if me {
                Some(newest - own)
            } else {
                hail.filter(|_| up(hail)).map(|hail| newest - hail.applied)
            },
            disk: said(shared.store.left().word(), hail.map(|hail| &hail.disk)),
            feed: open.map(|open| open.feed.to_string()).unwrap_or_default(),
            silent: open.is_some_and(|open| open.silent),
        }
    };
    known.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_lags_behind_what_a_member_said_that_is_heard_no_more() {
        let said = |health, applied| {
            let mut hail = Hail::unknown();
            (hail.health, hail.applied) = (health, applied);
            hail
        };

        assert_eq!(newest(5, [said(Health::Up, 7), said(Health::Down, 900)].iter()), 7);
        assert_eq!(newest(5, [].iter()), 5);
    }
}
