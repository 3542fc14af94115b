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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits::STANDARD;

    fn slots(count: u32) -> Vec<BeatSlot> {
        (0..count).map(BeatSlot).collect()
    }

    /// Looks at the same lapse from tick to tick; tells when it was let go.
    fn until_let_go(hold: &mut Hold, count: u32, beating: usize) -> Option<u32> {
        (2..1_000).find(|tick| !hold.admit(*tick, slots(count), 100, beating, &LIMITS).is_empty())
    }

    #[test]
    fn a_few_lapses_are_let_go_at_once() {
        let mut hold = Hold::default();

        assert_eq!(hold.admit(1, slots(50), 100, 50, &LIMITS).len(), 50, "not above the floor");
        assert_eq!(Hold::default().admit(1, slots(60), 1_000, 900, &LIMITS).len(), 60, "not above the share");
    }

    #[test]
    fn a_mass_lapse_is_held() {
        let mut hold = Hold::default();

        assert!(hold.admit(1, slots(51), 100, 49, &LIMITS).is_empty());
        assert_eq!(hold.held().len(), 51);
    }

    #[test]
    fn a_mass_lapse_in_drops_is_one_event() {
        let mut hold = Hold::default();
        assert_eq!(hold.admit(1, slots(30), 100, 70, &LIMITS).len(), 30);

        assert!(hold.admit(5, slots(30), 70, 40, &LIMITS).is_empty());
    }

    #[test]
    fn two_looks_that_find_the_same_release_a_hold() {
        let mut hold = Hold::default();
        hold.admit(1, slots(60), 100, 40, &LIMITS);

        assert_eq!(until_let_go(&mut hold, 60, 40), Some(1 + 2 * LIMITS.hold_look_ticks));
    }

    #[test]
    fn a_member_that_hears_no_beat_at_all_holds_until_the_maximum() {
        let mut hold = Hold::default();
        hold.admit(1, slots(60), 100, 0, &LIMITS);

        assert_eq!(until_let_go(&mut hold, 60, 0), Some(1 + LIMITS.hold_max_ticks));
    }

    #[test]
    fn a_look_that_finds_somebody_back_does_not_count() {
        let mut hold = Hold::default();
        hold.admit(1, slots(60), 100, 40, &LIMITS);
        let back = |tick: u32| if tick < 20 { 60 } else { 59 };

        let released =
            (2..1_000).find(|tick| !hold.admit(*tick, slots(back(*tick)), 100, 40, &LIMITS).is_empty());

        assert_eq!(released, Some(1 + 4 * LIMITS.hold_look_ticks));
    }
}
