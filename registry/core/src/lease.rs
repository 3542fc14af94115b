//! Beat leases: which keys live by beats here, and who of them has fallen silent.
//!
//! ```text
//! fresh ──unhealthy_after──▶ sick ──remove_after──▶ lapsed (reported at every sweep until closed)
//!   ▲───────── beat ───────────┘
//! ```
//!
//! Invariant: a lease counts own ticks (R22); a beat in the tick of its registration does not make it healthy.

use std::{collections::VecDeque, sync::Arc};

use landbridge_model::Metadata;

use crate::{
    board::{BeatBoard, BeatSlot, QUARANTINE_TICKS},
    input::InstanceRef,
    settings::Limits,
};

/// When a beating instance counts as what, from Nacos's defaults and its `preserved.*` metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub interval_ms: u32,
    pub unhealthy_ms: u32,
    pub remove_ms: u32,
}

impl Times {
    /// Reads the metadata; what is missing or no number is the default.
    pub fn of(metadata: &Metadata, limits: &Limits) -> Self {
        let read = |key, default| metadata.value(key).and_then(|text| text.parse().ok()).unwrap_or(default);
        Self {
            interval_ms: read("preserved.heart.beat.interval", limits.beat_interval_ms),
            unhealthy_ms: read("preserved.heart.beat.timeout", limits.beat_unhealthy_ms),
            remove_ms: read("preserved.ip.delete.timeout", limits.beat_remove_ms),
        }
    }

    /// Whether Nacos takes them (`NamingUtils.checkInstanceIsLegal`).
    pub fn legal(self) -> bool {
        self.unhealthy_ms >= self.interval_ms && self.remove_ms >= self.interval_ms
    }
}

/// Nacos's words for times that are not legal.
pub(crate) const ILLEGAL_TIMES: &str =
    "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'.";

/// What a sweep looks at, kept dense.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    unhealthy_ticks: u32,
    remove_ticks: u32,
    sick_since: Option<u32>,
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub sick: Vec<BeatSlot>,
    pub well: Vec<BeatSlot>,
    pub lapsed: Vec<BeatSlot>,
    /// How many leases had a beat since the sweep before.
    pub beating: usize,
}

/// All beat leases of a member.
#[derive(Debug)]
pub(crate) struct Leases {
    board: Arc<BeatBoard>,
    watches: Vec<Watch>,
    targets: Vec<Option<InstanceRef>>,
    freed: VecDeque<(u32, BeatSlot)>,
    open: usize,
}

impl Leases {
    pub fn new() -> Self {
        let board = Arc::new(BeatBoard::new());
        Self { board, watches: Vec::new(), targets: Vec::new(), freed: VecDeque::new(), open: 0 }
    }

    pub fn board(&self) -> &Arc<BeatBoard> {
        &self.board
    }

    pub fn len(&self) -> usize {
        self.open
    }

    /// Opens a lease; none if the board is full.
    pub fn open(&mut self, target: InstanceRef, times: Times, healthy: bool, tick: u32) -> Option<BeatSlot> {
        let rested = |(at, _): &(u32, BeatSlot)| tick.saturating_sub(*at) >= QUARANTINE_TICKS;
        let slot = match self.freed.front() {
            Some(freed) if rested(freed) => self.freed.pop_front()?.1,
            Some(_) | None => {
                if self.watches.len() >= BeatBoard::slots_max() {
                    return None;
                }
                self.watches.push(Watch::default());
                self.targets.push(None);
                BeatSlot(u32::try_from(self.watches.len() - 1).ok()?)
            }
        };
        self.targets[slot.0 as usize] = Some(target);
        self.open += 1;
        self.reset(slot, times, healthy, tick);
        Some(slot)
    }

    /// Starts an open lease anew, after another registration of its key.
    pub fn reset(&mut self, slot: BeatSlot, times: Times, healthy: bool, tick: u32) {
        self.watches[slot.0 as usize] = Watch {
            unhealthy_ticks: times.unhealthy_ms.div_ceil(1000),
            remove_ticks: times.remove_ms.div_ceil(1000),
            sick_since: (!healthy).then_some(tick),
        };
        self.board.store(slot, tick);
    }

    pub fn close(&mut self, slot: BeatSlot, tick: u32) {
        if self.targets[slot.0 as usize].take().is_some() {
            self.open -= 1;
            self.freed.push_back((tick, slot));
        }
    }

    /// Whose lease this is.
    pub fn target(&self, slot: BeatSlot) -> Option<&InstanceRef> {
        self.targets[slot.0 as usize].as_ref()
    }

    /// Moves on to this tick and looks at all leases.
    pub fn sweep(&mut self, tick: u32) -> Found {
        self.board.advance(tick);
        let mut found = Found::default();
        for (at, watch) in self.watches.iter_mut().enumerate() {
            if self.targets[at].is_none() {
                continue;
            }
            let slot = BeatSlot(at as u32);
            let beaten = self.board.read(slot);
            let silent = tick.saturating_sub(beaten);
            found.beating += usize::from(silent <= 1);
            if watch.sick_since.is_some_and(|since| beaten > since) {
                watch.sick_since = None;
                found.well.push(slot);
            } else if silent > watch.unhealthy_ticks && watch.sick_since.is_none() {
                // A beat noted with this very tick comes after this sweep, so it must count.
                watch.sick_since = Some(tick - 1);
                found.sick.push(slot);
            }
            if silent > watch.remove_ticks {
                found.lapsed.push(slot);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> InstanceRef {
        use landbridge_model::{Address, Cluster, InstanceKey, ServiceKey};
        let (ip, cluster) = (Address::parse("10.0.0.1").unwrap(), Cluster::parse("").unwrap());
        (ServiceKey::parse("", "", "orders").unwrap(), InstanceKey { ip, port, cluster })
    }

    fn times() -> Times {
        Times::of(&Metadata::default(), &Limits::STANDARD)
    }

    #[test]
    fn silence_first_makes_sick_after_15_s_then_lapses_after_30_s() {
        let mut leases = Leases::new();
        let slot = leases.open(target(1), times(), true, 0).unwrap();

        let found: Vec<_> = (1..=31).map(|tick| leases.sweep(tick)).collect();

        let sick: Vec<_> = found.iter().map(|found| found.sick.len()).collect();
        assert_eq!((sick.iter().sum::<usize>(), sick[15]), (1, 1), "in the tick after 15 s");
        assert!(found[29].lapsed.is_empty());
        assert_eq!(found[30].lapsed, vec![slot]);
    }

    #[test]
    fn a_beat_right_after_the_sweep_makes_a_sick_one_well() {
        let mut leases = Leases::new();
        let slot = leases.open(target(1), times(), true, 0).unwrap();
        (1..=16).for_each(|tick| drop(leases.sweep(tick)));

        leases.board().renew(slot);

        assert_eq!(leases.sweep(17).well, vec![slot]);
    }

    #[test]
    fn an_instance_registered_unhealthy_is_not_made_well_by_its_registration() {
        let mut leases = Leases::new();
        leases.sweep(1);
        let slot = leases.open(target(1), times(), false, 1).unwrap();

        assert!(leases.sweep(2).well.is_empty());
        leases.board().renew(slot);
        assert_eq!(leases.sweep(3).well, vec![slot]);
    }

    #[test]
    fn metadata_overrides_the_times_and_broken_numbers_do_not() {
        let pairs = [("preserved.heart.beat.timeout", "3000"), ("preserved.ip.delete.timeout", "soon")];
        let metadata = Metadata::new(pairs.map(|(key, value)| (key.into(), value.into()))).unwrap();

        let times = Times::of(&metadata, &Limits::STANDARD);

        assert_eq!((times.interval_ms, times.unhealthy_ms, times.remove_ms), (5_000, 3_000, 30_000));
        assert!(!times.legal());
    }

    #[test]
    fn a_freed_slot_rests_before_it_is_somebody_elses() {
        let mut leases = Leases::new();
        let slot = leases.open(target(1), times(), true, 0).unwrap();
        leases.close(slot, 5);

        let soon = leases.open(target(2), times(), true, 5 + QUARANTINE_TICKS - 1).unwrap();
        let later = leases.open(target(3), times(), true, 5 + QUARANTINE_TICKS).unwrap();

        assert_ne!(soon, slot);
        assert_eq!(later, slot);
    }
}
