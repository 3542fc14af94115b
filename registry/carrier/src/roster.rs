//! Decides which streams stay: one per pair, and when both sides dial, both keep the same one.
//!
//! Invariant: a stream number is never used twice in one process.

use std::collections::BTreeMap;

use landbridge_feed::{Peer, StreamId};

/// Streams that are up, by number, with what their owner keeps for each.
#[derive(Debug)]
pub(crate) struct Roster<T> {
    own: Peer,
    next: u64,
    streams: BTreeMap<StreamId, Seat<T>>,
}

/// One stream that is up.
#[derive(Debug)]
pub(crate) struct Seat<T> {
    /// Who is there.
    pub peer: Peer,
    /// Whether this process dialled.
    pub dialled: bool,
    /// What the owner keeps.
    pub kept: T,
}

/// What became of a new stream.
#[derive(Debug)]
pub(crate) enum Entry<T> {
    /// It is up; an older one of the pair made way.
    Up(StreamId, Option<Seat<T>>),
    /// The pair's older stream stays.
    Duplicate,
}

impl<T> Roster<T> {
    pub fn new(own: Peer) -> Self {
        Self { own, next: 1, streams: BTreeMap::new() }
    }

    /// Takes a new stream in.
    ///
    /// Of two that the other side dialled the newer stays: that side has given the older one up. Of two that this side
    /// dialled the older stays. Of two dialled by different sides the one that the smaller peer dialled stays, on both
    /// sides.
    pub fn enter(&mut self, peer: &Peer, dialled: bool, kept: T) -> Entry<T> {
        let older = self.streams.iter().find(|(_, seat)| seat.peer == *peer).map(|(id, seat)| (*id, seat));
        let ours_stays = self.own < *peer;
        let stays = |seat: &Seat<T>| if seat.dialled == dialled { dialled } else { dialled != ours_stays };
        if older.is_some_and(|(_, seat)| stays(seat)) {
            return Entry::Duplicate;
        }
        let older = older.map(|(id, _)| id);
        let older = older.and_then(|id| self.streams.remove(&id));
        let id = StreamId(self.next);
        self.next += 1;
        self.streams.insert(id, Seat { peer: peer.clone(), dialled, kept });
        Entry::Up(id, older)
    }

    /// Forgets a stream.
    pub fn leave(&mut self, stream: StreamId) -> Option<Seat<T>> {
        self.streams.remove(&stream)
    }

    pub fn seat(&self, stream: StreamId) -> Option<&Seat<T>> {
        self.streams.get(&stream)
    }

    pub fn seats(&self) -> impl Iterator<Item = (StreamId, &Seat<T>)> {
        self.streams.iter().map(|(id, seat)| (*id, seat))
    }
}

#[cfg(test)]
mod tests {
    use landbridge_feed::Role;
    use landbridge_model::{MemberId, Region};

    use super::*;

    fn member(number: u16) -> Peer {
        let region = Region::parse("east").expect("a valid region");
        Peer { region, role: Role::Member(MemberId(number)), id: number.to_string().into() }
    }

    fn up(entry: &Entry<()>) -> bool {
        matches!(entry, Entry::Up(..))
    }

    #[test]
    fn both_sides_keep_the_stream_that_the_smaller_one_dialled() {
        for ours_first in [true, false] {
            let (mut one, mut two) = (Roster::new(member(1)), Roster::new(member(2)));

            let at_one = [ours_first, !ours_first].map(|dialled| up(&one.enter(&member(2), dialled, ())));
            let at_two = [ours_first, !ours_first].map(|dialled| up(&two.enter(&member(1), dialled, ())));

            assert_eq!(at_one, [true, !ours_first]);
            assert_eq!(at_two, [true, ours_first]);
            assert!(one.seats().all(|(_, seat)| seat.dialled) && two.seats().all(|(_, seat)| !seat.dialled));
        }
    }

    #[test]
    fn a_second_stream_of_our_own_to_a_peer_is_not_kept() {
        let mut one = Roster::new(member(1));

        let entries = [(); 2].map(|()| up(&one.enter(&member(2), true, ())));

        assert_eq!(entries, [true, false]);
    }

    #[test]
    fn a_side_that_dials_again_replaces_its_own_older_stream() {
        let mut one = Roster::new(member(1));
        one.enter(&member(2), false, ());

        let again = one.enter(&member(2), false, ());

        assert!(matches!(again, Entry::Up(StreamId(2), Some(_))), "{again:?}");
        assert_eq!(one.seats().count(), 1);
    }
}
