//! Which bridges of the region live and what they hear: the Raft leader lists those that hold a stream with it, so that all
//! holders agree on who imports which origin.
//!
//! ```text
//! absent ──a stream to the leader──▶ listed ──no stream for GONE_TICKS──▶ absent
//! an origin unheard ──the bridge says so──▶ heard ──it no longer says so for GONE_TICKS──▶ unheard
//! ```
//! Invariant: the list is a preference and never a permission: with none, or an outdated one, every bridge imports what it
//! hears, and no record is lost or wrong by it (R5).

use std::collections::{BTreeMap, BTreeSet};

use ecow::EcoString;
use landbridge_feed::StreamId;
use landbridge_model::Region;

use crate::{input::Leading, state::Command};

/// A bridge without a stream for so many ticks is gone; a short break is no change of importers. Likewise an origin that a
/// bridge does not hear.
pub const GONE_TICKS: u32 = 2;

/// A bridge that a new leader has not met gets so many ticks more to dial it.
pub const UNMET_TICKS: u32 = 6;

/// The most bridges listed; further ones import what they hear like unlisted ones.
pub const LISTED_MAX: usize = 64;

/// The bridges that are listed, each with the origins it hears.
pub(crate) type Listed = BTreeMap<EcoString, BTreeSet<Region>>;

/// The leader's watch over the region's bridges; at others only the streams are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bridges {
    streams: BTreeMap<StreamId, EcoString>,
    term: Option<u64>,
    met: BTreeSet<EcoString>,
    gone: BTreeMap<EcoString, u32>,
    unheard: BTreeMap<(EcoString, Region), u32>,
}

impl Bridges {
    pub fn opened(&mut self, stream: StreamId, id: EcoString) {
        self.streams.insert(stream, id);
    }

    pub fn closed(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// One tick, given what the peer of each stream says it hears; tells what to propose, again and again until it is applied.
    pub fn tick<'a>(
        &mut self,
        leading: Option<Leading>,
        listed: &Listed,
        hears: impl Fn(StreamId) -> &'a BTreeSet<Region>,
    ) -> Vec<Command> {
        let Some(Leading { term, quorum: true }) = leading else {
            self.term = None;
            return Vec::new();
        };
        if self.term != Some(term) {
            self.term = Some(term);
            self.met.clear();
            self.gone.clear();
            self.unheard.clear();
        }
        let mut here = Listed::new();
        for (stream, id) in &self.streams {
            here.entry(id.clone()).or_default().extend(hears(*stream).iter().cloned());
        }
        self.met.retain(|id| listed.contains_key(id));
        self.met.extend(here.keys().cloned());
        self.gone.retain(|id, _| listed.contains_key(id) && !here.contains_key(id));
        let mut commands = Vec::new();
        let mut room = LISTED_MAX.saturating_sub(listed.len());
        for (id, heard) in here {
            match listed.get(&id) {
                Some(known) => {
                    let hears = self.settled(&id, known, heard);
                    commands.extend((hears != *known).then_some((id, Some(hears))));
                }
                None if room > 0 => {
                    room -= 1;
                    commands.push((id, Some(heard)));
                }
                None => {}
            }
        }
        let absent = listed.keys().filter(|id| !self.streams.values().any(|here| here == *id));
        for id in absent {
            let patience = if self.met.contains(id) { GONE_TICKS } else { GONE_TICKS + UNMET_TICKS };
            let ticks = self.gone.entry(id.clone()).or_default();
            *ticks += 1;
            if *ticks >= patience {
                commands.push((id.clone(), None));
            }
        }
        commands.into_iter().map(|(id, hears)| Command::SetBridge { id, hears }).collect()
    }

    /// What a listed bridge is to be listed with: what it hears, and what it has not heard for a moment only.
    fn settled(
        &mut self,
        id: &EcoString,
        known: &BTreeSet<Region>,
        mut heard: BTreeSet<Region>,
    ) -> BTreeSet<Region> {
        self.unheard.retain(|(bridge, origin), _| bridge != id || !heard.contains(origin));
        for origin in known.difference(&heard.clone()) {
            let ticks = self.unheard.entry((id.clone(), origin.clone())).or_default();
            *ticks += 1;
            if *ticks < GONE_TICKS {
                heard.insert(origin.clone());
            } else {
                self.unheard.remove(&(id.clone(), origin.clone()));
            }
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADING: Option<Leading> = Some(Leading { term: 1, quorum: true });

    static NOTHING: BTreeSet<Region> = BTreeSet::new();

    fn set(id: &str, hears: Option<&[&str]>) -> Command {
        Command::SetBridge { id: id.into(), hears: hears.map(regions) }
    }

    fn regions(names: &[&str]) -> BTreeSet<Region> {
        names.iter().map(|name| Region::parse(name).unwrap()).collect()
    }

    fn listed(ids: &[&str]) -> Listed {
        ids.iter().map(|id| (EcoString::from(*id), BTreeSet::new())).collect()
    }

    fn tick(bridges: &mut Bridges, listed: &Listed) -> Vec<Command> {
        bridges.tick(LEADING, listed, |_| &NOTHING)
    }

    #[test]
    fn a_bridge_that_dials_is_listed_and_one_that_is_gone_is_struck_off_after_two_ticks() {
        let mut bridges = Bridges::default();
        bridges.opened(StreamId(1), "b1".into());
        assert_eq!(tick(&mut bridges, &listed(&[])), [set("b1", Some(&[]))]);
        assert_eq!(tick(&mut bridges, &listed(&["b1"])), []);

        bridges.closed(StreamId(1));

        assert_eq!(tick(&mut bridges, &listed(&["b1"])), []);
        assert_eq!(tick(&mut bridges, &listed(&["b1"])), [set("b1", None)]);
    }

    #[test]
    fn what_a_bridge_hears_is_listed_at_once_and_struck_off_after_two_ticks() {
        let mut bridges = Bridges::default();
        bridges.opened(StreamId(1), "b1".into());
        let (west, both) = (regions(&["west"]), regions(&["north", "west"]));
        let known = Listed::from([("b1".into(), west.clone())]);

        assert_eq!(bridges.tick(LEADING, &known, |_| &both), [set("b1", Some(&["north", "west"]))]);

        let known = Listed::from([("b1".into(), both.clone())]);
        assert_eq!(bridges.tick(LEADING, &known, |_| &west), []);
        assert_eq!(bridges.tick(LEADING, &known, |_| &both), []);
        assert_eq!(bridges.tick(LEADING, &known, |_| &west), []);
        assert_eq!(bridges.tick(LEADING, &known, |_| &west), [set("b1", Some(&["west"]))]);
    }

    #[test]
    fn a_bridge_that_comes_back_at_once_stays_listed() {
        let mut bridges = Bridges::default();
        bridges.opened(StreamId(1), "b1".into());
        tick(&mut bridges, &listed(&["b1"]));

        for stream in 2..9 {
            bridges.closed(StreamId(stream - 1));
            assert_eq!(tick(&mut bridges, &listed(&["b1"])), []);
            bridges.opened(StreamId(stream), "b1".into());
            assert_eq!(tick(&mut bridges, &listed(&["b1"])), []);
        }
    }

    #[test]
    fn a_new_leader_waits_for_bridges_that_it_has_not_met() {
        let mut bridges = Bridges::default();

        let struck: Vec<_> = (1..=GONE_TICKS + UNMET_TICKS)
            .filter(|_| !tick(&mut bridges, &listed(&["b1"])).is_empty())
            .collect();

        assert_eq!(struck, [GONE_TICKS + UNMET_TICKS]);
    }

    #[test]
    fn who_does_not_lead_or_hears_no_quorum_proposes_nothing() {
        let mut bridges = Bridges::default();
        bridges.opened(StreamId(1), "b1".into());

        for leading in [None, Some(Leading { term: 1, quorum: false })] {
            assert_eq!(bridges.tick(leading, &listed(&["gone"]), |_| &NOTHING), []);
        }
    }

    #[test]
    fn no_more_bridges_are_listed_than_the_bound() {
        let mut bridges = Bridges::default();
        for at in 0..2 * LISTED_MAX as u64 {
            bridges.opened(StreamId(at), format!("b{at}").into());
        }

        assert_eq!(tick(&mut bridges, &listed(&[])).len(), LISTED_MAX);
    }
}
