//! Holds back a mass lapse: many leases silent at once more likely means that this member hears nothing (protection).
//!
//! ```text
//! calm ──more than the share and the floor within the window──▶ held
//! held ──two looks alike, an operator, or too long──▶ calm (all are let go)     held ──all beat again──▶ calm
//! ```
//!
//! A look is alike if the same leases are silent at its end as at its start while others were heard meanwhile.
//! Invariant: an explicit deregistration is never held; this sees only lapses.

use std::collections::{BTreeSet, VecDeque};

use crate::{board::BeatSlot, settings::Limits};

#[derive(Clone, Debug)]
struct Holding {
    since: u32,
    look_from: u32,
    at_look: BTreeSet<BeatSlot>,
    heard: bool,
    alike: u32,
}

/// What is held back, and why not yet let go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hold {
    lately: VecDeque<(u32, usize)>,
    held: BTreeSet<BeatSlot>,
    holding: Option<Holding>,
}

impl Hold {
    /// Takes the leases that are lapsed at this tick and tells which of them to end.
    pub fn admit(
        &mut self,
        tick: u32,
        lapsed: Vec<BeatSlot>,
        leases: usize,
        beating: usize,
        limits: &Limits,
    ) -> Vec<BeatSlot> {
        while self.lately.front().is_some_and(|(at, _)| tick.saturating_sub(*at) >= limits.lapse_window_ticks)
        {
            self.lately.pop_front();
        }
        let gone: usize = self.lately.iter().map(|(_, count)| count).sum();
        if self.holding.is_none() {
            let event = gone + lapsed.len();
            let share = event * 100 > (leases + gone) * limits.lapse_percent;
            if !share || event <= limits.lapse_floor || lapsed.is_empty() {
                self.lately.push_back((tick, lapsed.len()));
                return lapsed;
            }
            self.held = lapsed.into_iter().collect();
            let at_look = self.held.clone();
            self.holding = Some(Holding { since: tick, look_from: tick, at_look, heard: false, alike: 0 });
            return Vec::new();
        }
        self.held = lapsed.into_iter().collect();
        self.look(tick, beating, limits)
    }

    fn look(&mut self, tick: u32, beating: usize, limits: &Limits) -> Vec<BeatSlot> {
        let Some(holding) = &mut self.holding else { return Vec::new() };
        holding.heard |= beating > 0;
        if tick.saturating_sub(holding.look_from) >= limits.hold_look_ticks {
            let same = holding.at_look == self.held;
            holding.alike = if same && holding.heard { holding.alike + 1 } else { 0 };
            holding.look_from = tick;
            holding.at_look = self.held.clone();
            holding.heard = false;
        }
        let over = tick.saturating_sub(holding.since) >= limits.hold_max_ticks;
        if holding.alike >= 2 || over || self.held.is_empty() { self.release() } else { Vec::new() }
    }

    /// Ends the hold and tells what was held.
    pub fn release(&mut self) -> Vec<BeatSlot> {
        self.holding = None;
        std::mem::take(&mut self.held).into_iter().collect()
    }

    /// A held lease ended otherwise.
    pub fn forget(&mut self, slot: BeatSlot) {
        self.held.remove(&slot);
    }

    pub fn holds(&self, slot: BeatSlot) -> bool {
        self.held.contains(&slot)
    }

    pub fn held(&self) -> &BTreeSet<BeatSlot> {
        &self.held
    }
}
