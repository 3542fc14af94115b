//! Leaving in order: wait until the clients have moved, then close the own feed (R3b, R13).
//!
//! ```text
//! draining ──every live record has a greater one elsewhere, or drain_ticks──▶ closing ──closed──▶ departed
//!     └── nobody else is ready, or no feed was ever open ──▶ departed           └──drain_ticks──▶ departed
//! ```

use std::collections::BTreeSet;

use super::Member;
use crate::{
    input::{Effect, Phase},
    state::Command,
};

/// How often the close is proposed again.
const CLOSE_TICKS: u32 = 3;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    since: u32,
    departed: bool,
}

impl Member {
    pub(super) fn start_drain(&mut self, effects: &mut Vec<Effect>) {
        if self.drain.is_some() {
            return;
        }
        self.drain = Some(Drain { since: self.tick, departed: false });
        self.rephase(effects);
        let me = self.settings.member;
        let directory = self.holder.directory(&self.settings.region);
        let company =
            directory.iter().any(|(feed, entry)| entry.member != me && !self.holder.unverified(feed));
        // Alone there is nobody to hand over to, and what is saved is served again after the restart.
        if !company || self.own.feed().is_none() {
            return self.depart(effects);
        }
        let services: BTreeSet<_> = self.claims.entries().map(|(service, _, _)| service.clone()).collect();
        // Their views name no slots from here on.
        for service in services {
            self.touch(&service, effects);
        }
    }

    /// What is saved is served again after the restart; waiting would only make the outage longer.
    pub(super) fn stop_draining(&mut self, effects: &mut Vec<Effect>) {
        if self.drain.is_some() {
            self.depart(effects);
        }
    }

    pub(super) fn go_on_draining(&mut self, effects: &mut Vec<Effect>) {
        let Some(drain) = self.drain else { return };
        if drain.departed {
            return;
        }
        let Some(own) = self.own.feed().cloned() else { return self.depart(effects) };
        let waited = self.tick.saturating_sub(drain.since);
        let late = waited > self.settings.limits.drain_ticks;
        if late && waited > 2 * self.settings.limits.drain_ticks {
            return self.depart(effects);
        }
        if (late || self.moved()) && waited.is_multiple_of(CLOSE_TICKS) {
            let mut cursor = self.holder.cursor(&self.settings.region);
            cursor.remove(&own);
            effects.push(Effect::Propose { ticket: None, command: Command::Close { feed: own, cursor } });
        }
    }

    /// Whether every live record has a greater one in another feed.
    fn moved(&self) -> bool {
        let own = self.holder.own();
        let live = self.claims.entries().filter(|(_, _, record)| record.instance().is_some());
        live.into_iter().all(|(service, key, _)| {
            let winner = self.holder.winner(&self.settings.region, service, key);
            winner.is_some_and(|(feed, _)| Some(feed) != own)
        })
    }

    pub(super) fn depart(&mut self, effects: &mut Vec<Effect>) {
        if let Some(drain) = self.drain.as_mut().filter(|drain| !drain.departed) {
            drain.departed = true;
            effects.push(Effect::Departed);
        }
        debug_assert!(self.phase == Phase::Draining, "only a draining member departs");
    }
}
