//! Decides what share of calls the gateway's own zone keeps while it is slow and the rest of its region is not.
//!
//! ```text
//! all ──every endpoint slow──▶ exploring ──the region is far faster──▶ leaving ──▶ a trickle (1 in 64) keeps measuring
//!  ▲                              └── the region is as slow, or nothing is heard ──┐     │
//!  └──────────── grows by and by ◀── an endpoint is fast, or the region is slow too ◀────┘
//! ```
//! While the zone is slow and the rest of its region is as slow, which its new calls may have made it, they share: the
//! zone takes back what it can in small steps, and a trickle goes on measuring the others.
//!
//! Slow is what takes at least a floor and so many times what the rest of the region takes; what makes it well again is
//! half of that. Between the two the share grows very slowly, so that nothing flaps and nothing stays away for ever.
//!
//! Invariant: no call leaves the region for slowness; what the rest of the region cannot bear stays in the zone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use landbridge_model::Moment;

use crate::{
    endpoint::HealthRules,
    ladder::{Ladder, Rung, Step},
    service::{Endpoint, Service},
};

/// The share of calls that a slow zone keeps at least, to be measured.
pub(crate) const TRICKLE: f64 = 1.0 / 64.0;

/// The share that it keeps at first, until something is known of the rest of its region.
const EXPLORING: f64 = 0.75;

/// Exploring lasts so long at most,
const EXPLORE_MS: u64 = 500;

/// and begins again not before this.
const EXPLORE_EVERY_MS: u64 = 10_000;

/// Between two looks.
const LOOK_MS: u32 = 100;

/// What was learned longer ago is not known any more.
const KNOWN_MS: u32 = 20_000;

/// Another core may have written so much ahead of what this one reads as now.
const AHEAD_MS: u32 = 10_000;

/// A zone so many times slower than the rule asks is left in large steps, any other in small ones.
const FAR_FACTOR: f32 = 4.0;

/// What a large step and a small one leave of the share.
const LEAVES: (f64, f64) = (0.25, 0.875);

/// How the share grows from one look to the next, at most by [`GROWS_MAX`]: when well, and when neither well nor slow.
const GROWS: (f64, f64) = (1.5, 1.05);

/// See [`GROWS`].
const GROWS_MAX: f64 = 0.05;

/// Up to this share a zone takes calls back quickly while it is as slow as the others, then by so much at a look.
const SHARED: (f64, f64) = (0.875, 0.002);

/// Once the others were as slow, the zone is left in small steps for so long.
const CROWDED_MS: u64 = 10_000;

/// Answers of an endpoint that are remembered; most of them must be slow.
const SAMPLES: usize = 5;

/// What an endpoint's newest answers took: five of them, in eighths of powers of two, and when the last came.
#[derive(Debug, Default)]
pub(crate) struct Usual(AtomicU64);

/// The time in a word: 24 bits of 64 ms, which wrap after twelve days.
const BEAT_MS_LOG: u32 = 6;
const BEATS_MASK: u64 = (1 << 24) - 1;

fn beats(now: Moment) -> u64 {
    (now.0 >> BEAT_MS_LOG) & BEATS_MASK
}

/// One of 256 classes of latency, never 0.
fn class(latency_us: u32) -> u8 {
    let latency = u64::from(latency_us.max(2));
    let power = latency.ilog2();
    ((power << 3) as u8) | (((latency << 3) >> power) & 7) as u8
}

/// The least latency of a class, in microseconds; 0 of what was never heard.
fn floor_us(class: u8) -> u32 {
    if class == 0 { 0 } else { (u64::from(8 + (class & 7)) << (class >> 3) >> 3) as u32 }
}

impl Usual {
    /// Learns from an answer.
    pub(crate) fn learn(&self, now: Moment, latency_us: u32) {
        let word = self.0.load(Relaxed);
        let samples = ((word >> 24) << 8) | u64::from(class(latency_us));
        // Losing a race to another core loses one answer of many.
        let _ = self.0.compare_exchange(word, (samples << 24) | beats(now), Relaxed, Relaxed);
    }

    /// Learns that an answer would have taken longer than this.
    pub(crate) fn learn_at_least(&self, now: Moment, latency_us: u32) {
        if floor_us(class(latency_us)) > self.median_us() {
            self.learn(now, latency_us);
        }
    }

    fn sorted(&self) -> [u8; SAMPLES] {
        let word = self.0.load(Relaxed) >> 24;
        let mut classes = [0, 8, 16, 24, 32].map(|shift| (word >> shift) as u8);
        classes.sort_unstable();
        classes
    }

    /// The median of the newest answers, in microseconds; what was never heard counts as 0.
    pub(crate) fn median_us(&self) -> u32 {
        floor_us(self.sorted()[SAMPLES / 2])
    }

    /// The median of what was heard, if something was lately.
    fn known_us(&self, now: Moment) -> Option<u32> {
        let sorted = self.sorted();
        let heard = sorted.iter().position(|class| *class > 0).filter(|_| self.is_fresh(now))?;
        Some(floor_us(sorted[heard + (SAMPLES - heard) / 2]))
    }

    fn is_fresh(&self, now: Moment) -> bool {
        let word = self.0.load(Relaxed);
        let age = beats(now).wrapping_sub(word) & BEATS_MASK;
        word != 0 && (age << BEAT_MS_LOG < u64::from(KNOWN_MS) || age > BEATS_MASK / 2)
    }
}

/// What share of calls a service's own zone keeps, of all cores together; it survives snapshots.
#[derive(Debug, Default)]
pub(crate) struct Stay {
    /// The share as `f32` bits, then the low half of the millisecond of the last look; 0 for all.
    word: AtomicU64,
    /// When exploring began last.
    explored: AtomicU64,
    /// When the others were last found as slow; 0 for never.
    crowded: AtomicU64,
}

/// How a zone compares with the rest of its region.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Compared {
    /// It is not slow, or nothing better is there.
    Well,
    /// Neither slow nor well; `over` the floor or below it.
    Between { over: bool },
    /// All of it takes longer than the floor, and so do the others.
    Crowded,
    /// All of it takes longer than the floor, and nothing is known of the rest.
    Unknown,
    /// All of it is slow in comparison; `far` by much more than the rule asks.
    Slow { far: bool },
}

impl Stay {
    fn read(&self) -> (u64, f64, u32) {
        let word = self.word.load(Relaxed);
        let share = if word == 0 { 1.0 } else { f64::from(f32::from_bits((word >> 32) as u32)) };
        (word, share, word as u32)
    }

    /// The share of calls the zone keeps; all of them when nothing was reported for long.
    pub(crate) fn share(&self, rules: &HealthRules, now: Moment) -> f64 {
        let (_, share, looked) = self.read();
        let forgotten = || {
            let age_ms = (now.0 as u32).wrapping_sub(looked);
            (KNOWN_MS..u32::MAX - AHEAD_MS).contains(&age_ms)
        };
        if share >= 1.0 || rules.slow_factor <= 0.0 || forgotten() { 1.0 } else { share }
    }

    /// Looks at the zone after a report of one of the service's endpoints, if it is time to.
    pub(crate) fn look(&self, rules: &HealthRules, service: &Service, reported: &Endpoint, now: Moment) {
        let (word, _, looked) = self.read();
        let share = self.share(rules, now);
        let suspicious = share < 1.0 || reported.state.usual.median_us() >= rules.slow_floor_us;
        let age_ms = (now.0 as u32).wrapping_sub(looked);
        if rules.slow_factor <= 0.0 || !suspicious || !(LOOK_MS..u32::MAX - AHEAD_MS).contains(&age_ms) {
            return;
        }
        let grown = |by: f64| (share * by).min(share + GROWS_MAX).min(1.0);
        let next = match compared(rules, service, now) {
            Compared::Slow { .. } if share > EXPLORING && !self.was_crowded(now) => EXPLORING,
            Compared::Slow { far: true } if !self.was_crowded(now) => (share * LEAVES.0).max(TRICKLE),
            Compared::Slow { .. } => (share * LEAVES.1).max(TRICKLE),
            Compared::Crowded => {
                self.crowded.store(now.0, Relaxed);
                let quickly = grown(GROWS.0).min(SHARED.0);
                quickly.max(share + SHARED.1).min(1.0 - TRICKLE)
            }
            Compared::Unknown if self.explores(now) => share.min(EXPLORING),
            Compared::Between { over: true } => grown(GROWS.1).min(SHARED.0).max(share),
            Compared::Between { over: false } => grown(GROWS.1),
            Compared::Well | Compared::Unknown => grown(GROWS.0),
        };
        let next = (u64::from((next as f32).to_bits()) << 32) | (now.0 & 0xffff_ffff);
        // Of several cores that look at once, one moves the share.
        let _ = self.word.compare_exchange(word, next, Relaxed, Relaxed);
    }

    /// True if the others were as slow not long ago: they may bear a part only.
    fn was_crowded(&self, now: Moment) -> bool {
        let crowded = self.crowded.load(Relaxed);
        crowded > 0 && now.0 < crowded.saturating_add(CROWDED_MS)
    }

    /// True while so many calls leave that tries beside them, and after them, do as well.
    pub(crate) fn is_left(&self, rules: &HealthRules, now: Moment) -> bool {
        self.share(rules, now) <= EXPLORING
    }

    /// True while a few calls may find out how the rest of the region is; begins that if it is due.
    fn explores(&self, now: Moment) -> bool {
        let begun = self.explored.load(Relaxed);
        if begun == 0 || now.0 >= begun.saturating_add(EXPLORE_EVERY_MS) {
            self.explored.store(now.0, Relaxed);
            return true;
        }
        now.0 < begun.saturating_add(EXPLORE_MS)
    }
}

/// The endpoints of a rung that take calls, of steps that nobody evacuates.
fn usable(
    service: &Service,
    rung: Rung,
    now: Moment,
    fits: fn(&Step) -> bool,
) -> impl Iterator<Item = &Usual> {
    let steps = service.home().steps().iter();
    let stays = steps.filter(move |step| step.rung == rung && step.leaving.is_none() && fits(step));
    let healthy = stays.flat_map(|step| &step.stands[..step.healthy]);
    let endpoints = healthy.map(|stand| service.endpoint(stand.endpoint));
    endpoints.filter(move |endpoint| endpoint.state.admits(now)).map(|endpoint| &endpoint.state.usual)
}

fn compared(rules: &HealthRules, service: &Service, now: Moment) -> Compared {
    let (mut best, mut is_known) = (u32::MAX, false);
    for usual in usable(service, Rung::SameZone, now, |_| true) {
        best = best.min(usual.median_us());
        is_known |= usual.is_fresh(now);
        if best < rules.slow_floor_us / 2 {
            return Compared::Well;
        }
    }
    let (mut others, mut known, mut sum_us) = (0_u32, 0_u32, 0_u64);
    for usual in usable(service, Rung::SameRegion, now, |step| step.verified) {
        others += 1;
        if let Some(latency_us) = usual.known_us(now) {
            known += 1;
            sum_us += u64::from(latency_us);
        }
    }
    if !is_known || others == 0 {
        return Compared::Well;
    }
    let over = best >= rules.slow_floor_us;
    if known == 0 {
        return if over { Compared::Unknown } else { Compared::Between { over } };
    }
    let asked = rules.slow_factor * (sum_us as f32 / known as f32);
    let slow = asked.max(rules.slow_floor_us as f32);
    let best = best as f32;
    if best >= slow {
        Compared::Slow { far: best >= asked * FAR_FACTOR }
    } else if best * 2.0 < slow {
        if over { Compared::Crowded } else { Compared::Well }
    } else {
        Compared::Between { over }
    }
}

/// How many steps of a ladder stand in the own zone, and how many in the own region.
pub(crate) fn near_steps(ladder: &Ladder) -> (usize, usize) {
    let upto = |rung: Rung| ladder.steps.partition_point(|step| step.rung <= rung);
    (upto(Rung::SameZone), upto(Rung::SameRegion))
}

#[cfg(test)]
#[path = "slowness_tests.rs"]
mod tests;
