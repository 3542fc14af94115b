//! Beats on the way to the members that hold their records, and the answers on the way back (R11).
//!
//! Invariant: what cannot be sent is forgotten; the core takes a beat over when no answer comes.

use std::collections::BTreeMap;

use landbridge_carrier::Carrier;
use landbridge_feed::{Peer, Role, StreamId};
use landbridge_model::{FeedId, MemberId, Region};
use landbridge_registry_core::{InstanceRef, Outcome, Ticket};
use landbridge_wire::feeds::{BeatAnswer, BeatForward};
use rustc_hash::FxHashMap;

use crate::metrics;

/// The most beats in one message; more go in the next.
const KEYS_MAX: usize = 4_096;

/// The most beats that are gathered for one feed; more are forgotten, and taken over.
const GATHERED_MAX: usize = 64 * 1024;

/// The most messages that wait for an answer; the oldest is forgotten.
const ASKED_MAX: usize = 1_024;

/// Tickets for other members' questions begin here; those of clients never come so far.
const TICKETS_FROM: u64 = 1 << 63;

/// What goes to others and what came from them.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    streams: BTreeMap<MemberId, StreamId>,
    gathered: BTreeMap<(MemberId, FeedId), Vec<InstanceRef>>,
    asked: BTreeMap<u64, Vec<InstanceRef>>,
    next: u64,
    /// Whom to answer, and under which ticket of its own.
    answering: FxHashMap<Ticket, (StreamId, u64)>,
}

impl Beats {
    /// A stream is up; one with a member of the own region carries beats.
    pub(crate) fn opened(&mut self, stream: StreamId, peer: &Peer, own: &Region) {
        if let Role::Member(member) = peer.role
            && peer.region == *own
        {
            self.streams.insert(member, stream);
        }
    }

    /// A stream is gone, and with it the answers that were due on it.
    pub(crate) fn closed(&mut self, stream: StreamId) {
        self.streams.retain(|_, open| *open != stream);
        self.answering.retain(|_, (waiting, _)| *waiting != stream);
    }

    /// A beat belongs to another member.
    pub(crate) fn gather(&mut self, to: MemberId, feed: FeedId, target: InstanceRef) {
        let gathered = self.gathered.entry((to, feed)).or_default();
        if gathered.len() < GATHERED_MAX {
            gathered.push(target);
        }
    }

    /// Sends what was gathered.
    pub(crate) fn send(&mut self, carrier: &Carrier) {
        for ((member, feed), keys) in std::mem::take(&mut self.gathered) {
            for keys in keys.chunks(KEYS_MAX) {
                self.next += 1;
                let forward = BeatForward { ticket: self.next, feed: feed.clone(), keys: keys.to_vec() };
                let sent = self.streams.get(&member).is_some_and(|stream| carrier.forward(*stream, forward));
                if !sent {
                    metrics::forwarded("unsent", keys.len());
                    continue;
                }
                self.asked.insert(self.next, keys.to_vec());
                if self.asked.len() > ASKED_MAX {
                    self.asked.pop_first();
                }
            }
        }
    }

    /// Another member forwards beats: the ticket under which the core is asked.
    pub(crate) fn question(&mut self, stream: StreamId, forward: &BeatForward) -> Ticket {
        self.next += 1;
        let ticket = Ticket(TICKETS_FROM | self.next);
        self.answering.insert(ticket, (stream, forward.ticket));
        ticket
    }

    /// Sends the core's answer back, if the ticket is another member's; says whether it was.
    pub(crate) fn answer(&mut self, ticket: Ticket, outcome: Option<&Outcome>, carrier: &Carrier) -> bool {
        let Some((stream, theirs)) = self.answering.remove(&ticket) else { return false };
        if let Some(Outcome::Verdicts(verdicts)) = outcome {
            let refused = verdicts.iter().zip(0..).filter(|(mine, _)| !**mine).map(|(_, place)| place);
            // An answer that finds no room is a missing answer: the other side takes over.
            let _ = carrier.answer(stream, BeatAnswer { ticket: theirs, not_mine: refused.collect() });
        }
        true
    }

    /// Another member has answered: each beat with whether it was taken there.
    pub(crate) fn answered(&mut self, answer: &BeatAnswer) -> Vec<(InstanceRef, bool)> {
        let keys = self.asked.remove(&answer.ticket).unwrap_or_default();
        let verdicts: Vec<_> = keys
            .into_iter()
            .zip(0..)
            .map(|(target, place)| (target, !answer.not_mine.contains(&place)))
            .collect();
        let held = verdicts.iter().filter(|(_, held)| *held).count();
        metrics::forwarded("held", held);
        metrics::forwarded("not_mine", verdicts.len() - held);
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::{Address, Cluster, Era, InstanceKey, ServiceKey};

    use super::*;

    fn target(port: u16) -> InstanceRef {
        let ip = Address::parse("10.0.0.1").expect("an address");
        let cluster = Cluster::parse("").expect("the default cluster");
        (ServiceKey::parse("", "", "orders").expect("a service"), InstanceKey { ip, port, cluster })
    }

    fn feed() -> FeedId {
        FeedId::Member { region: Region::parse("east").expect("a region"), era: Era(1), index: 2 }
    }

    #[test]
    fn an_answer_names_the_beats_that_were_asked_for() {
        let mut beats = Beats::default();
        beats.asked.insert(7, vec![target(1), target(2), target(3)]);

        let verdicts = beats.answered(&BeatAnswer { ticket: 7, not_mine: vec![1] });

        assert_eq!(verdicts, [(target(1), true), (target(2), false), (target(3), true)]);
        assert!(beats.answered(&BeatAnswer { ticket: 7, not_mine: vec![] }).is_empty(), "once only");
    }

    #[test]
    fn what_was_due_on_a_stream_goes_with_it() {
        let mut beats = Beats::default();
        let forward = BeatForward { ticket: 1, feed: feed(), keys: vec![target(1)] };
        let ticket = beats.question(StreamId(4), &forward);

        beats.closed(StreamId(4));

        assert!(!beats.answering.contains_key(&ticket));
    }
}
