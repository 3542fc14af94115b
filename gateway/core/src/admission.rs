//! Whether one more call of a service goes to its endpoints at once, waits here, or is sent away.
//!
//! ```text
//! open ──answers take twice as long as before──▶ trying: fewer calls at once, for a moment
//! trying ──answers come as fast all the same: they queued──▶ held        ──not so, or not surely──▶ open
//! held ──calls wait here──▶ fewer at once while answers come as fast, more while they come faster ──▶ held
//!   └── nobody had to wait for IDLE_WINDOWS ──▶ open
//! ```
//! That answers take longer says nothing by itself: endpoints may have become slow. They queue if fewer calls at once
//! bring as many answers, and this is tried before anybody is sent away.
//!
//! Invariant: nobody is sent away while open; while trying, only past a bound that calls which do not queue and come as
//! often as before cannot reach.
//! Invariant: at most `queue_max` calls wait here; while trying, `TRIAL_WAITING` times what was in flight and a window more.

use std::{cmp::Reverse, collections::BTreeSet};

use landbridge_model::Moment;

/// How much a call matters; the less it does, the sooner it is sent away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// May be lost.
    Sheddable,
    /// Like most.
    #[default]
    Normal,
    /// Goes first.
    Critical,
}

impl Criticality {
    /// All, least first.
    pub const ALL: [Self; 3] = [Self::Sheddable, Self::Normal, Self::Critical];

    /// The name in headers, settings and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Normal => "normal",
            Self::Critical => "critical",
        }
    }

    /// The criticality of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// A call that waits here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(Reverse<Criticality>, u64);

impl Ticket {
    /// How much the call matters.
    pub fn criticality(self) -> Criticality {
        self.0.0
    }
}

/// What becomes of a call that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It goes on at once; tell when it has its answer.
    Go,
    /// It waits until [`Gate::admit_next`] names its ticket.
    Wait(Ticket),
    /// It waits in the place of another, which is sent away.
    Instead(Ticket, Ticket),
    /// It is sent away.
    Shed,
}

/// Answers after which a window is looked at: noise must be smaller than what is looked for.
const WINDOW_ANSWERS: u32 = 100;

/// No window is shorter.
const WINDOW_MS_MIN: u64 = 20;

/// A changed limit shows after so many times what answers took.
const SETTLE_FACTOR: u64 = 2;

/// A trial that took so long tells nothing.
const TRIAL_MS_MAX: u64 = 20_000;

/// While trying so many times more may wait: also calls that suddenly come three times as often.
const TRIAL_WAITING: usize = 6;

/// Answers that take so many times what they took are looked into.
const SUSPECT_FACTOR: f64 = 2.0;

/// What answers took is remembered for so long.
const BASE_MS: u64 = 30_000;

/// Fewer calls at once are never a crowd.
const CROWD_MIN: f64 = 16.0;

/// The share of calls at once that a trial leaves at most,
const TRIAL_SHARE: f64 = 0.5;

/// and at least,
const TRIAL_SHARE_MIN: f64 = 0.25;

/// or so many times what endpoints can work on if they answer as quickly as ever.
const TRIAL_ROOM: f64 = 2.0;

/// With queues a trial brings all answers, without any its share of them: above the first they may queue, below the
/// second they surely do not.
const TRIAL_DOWN: (f64, f64) = (0.7, 0.6);

/// When calls come back, with queues answers take twice as long, without any there are twice as many: by how much more
/// longer than many they are if they queue, and if they surely do not.
const TRIAL_UP: (f64, f64) = (1.0, 0.7);

/// How often a trial that tells nothing is made in a row.
const TRIAL_ROUNDS_MAX: u32 = 4;

/// After trials that found no queue none is made for so long.
const CALM_MS: u64 = 500;

/// Calls at once for each that endpoints can work on: a little queue keeps them busy.
const ROOM: f64 = 1.5;

/// A step down from a limit, and the share of answers that must be left for it to stay.
const LOWER: (f64, f64) = (0.8, 0.9);

/// A step up, and the share of answers there must be for it to stay.
const HIGHER: (f64, f64) = (1.25, 1.12);

/// Windows between two steps.
const REST_WINDOWS: u32 = 3;

/// Windows without anybody waiting after which nothing is limited any more.
const IDLE_WINDOWS: u32 = 5;

/// What was seen until a number of answers was full.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Answers before this tell of the limit before.
    begun: Moment,
    /// The limit changed, and more calls than it allows are in flight.
    drains: bool,
    answers: u32,
    latency_us: u64,
    in_flight: u64,
    waited: u32,
}

impl Window {
    fn at(begun: Moment) -> Self {
        Self { begun, ..Self::default() }
    }
}

/// What a window came to.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Answers a millisecond.
    rate: f64,
    latency_us: f64,
    /// Calls at once.
    crowd: f64,
    /// Somebody had to wait here.
    bound: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Rest(u32),
    /// From this limit and this rate.
    Lower(f64, f64),
    /// Likewise.
    Higher(f64, f64),
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Open,
    /// `down` is the rate and the latency with fewer calls, once they are known.
    Trying {
        limit: f64,
        before: Seen,
        since: Moment,
        down: Option<(f64, f64)>,
        rounds: u32,
    },
    Held {
        limit: f64,
        step: Step,
        idle: u32,
    },
}

/// The gate of one service on one core.
#[derive(Debug)]
pub struct Gate {
    mode: Mode,
    in_flight: u32,
    waiting: BTreeSet<Ticket>,
    tickets: u64,
    window: Window,
    /// What answers took at their quickest, and when that was.
    base: Option<(f64, Moment)>,
    /// What answers took on average in the last window.
    mean_ms: u64,
    calm_until: Moment,
}

impl Gate {
    /// An open gate.
    pub fn new(now: Moment) -> Self {
        Self {
            mode: Mode::Open,
            in_flight: 0,
            waiting: BTreeSet::new(),
            tickets: 0,
            window: Window::at(now),
            base: None,
            mean_ms: 0,
            calm_until: now,
        }
    }

    /// How many calls may be in flight at once; `None`: as many as come.
    pub fn limit(&self) -> Option<u32> {
        match self.mode {
            Mode::Open => None,
            Mode::Trying { limit, down: None, .. } => Some(limit as u32),
            Mode::Trying { limit, down: Some(_), .. } => Some((limit / TRIAL_SHARE) as u32),
            Mode::Held { limit, .. } => Some(limit.max(1.0) as u32),
        }
    }

    /// True while calls that wait too long are to be sent away; else they wait for the end of a trial.
    pub fn sheds(&self) -> bool {
        match self.mode {
            Mode::Open | Mode::Trying { .. } => false,
            Mode::Held { .. } => true,
        }
    }

    /// True while nobody waits or is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty()
    }

    /// A call comes; `queue_max` may wait.
    pub fn arrive(&mut self, queue_max: u32, criticality: Criticality) -> Entry {
        let room = self.limit().is_none_or(|limit| self.in_flight < limit);
        if room && self.waiting.is_empty() {
            self.in_flight += 1;
            return Entry::Go;
        }
        self.window.waited += 1;
        self.tickets += 1;
        let ticket = Ticket(Reverse(criticality), self.tickets);
        let more = match self.mode {
            Mode::Open | Mode::Held { .. } => 0,
            Mode::Trying { before, .. } => TRIAL_WAITING * (before.crowd as usize + WINDOW_ANSWERS as usize),
        };
        if self.waiting.len() < queue_max as usize + more {
            self.waiting.insert(ticket);
            return Entry::Wait(ticket);
        }
        match self.waiting.last().copied() {
            Some(least) if least.0.0 < criticality => {
                self.waiting.remove(&least);
                self.waiting.insert(ticket);
                Entry::Instead(ticket, least)
            }
            Some(_) | None => Entry::Shed,
        }
    }

    /// The next call that waits and may go: the most critical, of those the first.
    pub fn admit_next(&mut self) -> Option<Ticket> {
        if self.limit().is_some_and(|limit| self.in_flight >= limit) {
            return None;
        }
        let next = self.waiting.pop_first()?;
        self.in_flight += 1;
        Some(next)
    }

    /// A call waits no longer. False if it may go already.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket)
    }

    /// A call that went has its answer, or never will. Others may go now.
    pub fn ended(&mut self, now: Moment, latency_us: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Mode::Trying { since, .. } = self.mode
            && now.since(since) > TRIAL_MS_MAX
        {
            self.open(now);
        }
        let limit = self.limit();
        let window = &mut self.window;
        if window.drains {
            if limit.is_none_or(|limit| self.in_flight <= limit) {
                // Answers to come are still of calls that came under the limit before. Where they queue they take up to
                // twice as long as those before them.
                *window = Window::at(now.after(self.mean_ms * SETTLE_FACTOR));
            }
            return;
        }
        if now < window.begun {
            return;
        }
        window.in_flight += u64::from(self.in_flight) + 1;
        window.answers += 1;
        window.latency_us += u64::from(latency_us);
        let took_ms = now.since(window.begun);
        // A trial in which answers came as fast as before would be over: nobody waits for the rest of it.
        let tells = match self.mode {
            Mode::Trying { before, down: None, .. } => {
                took_ms as f64 * before.rate * TRIAL_DOWN.1 > f64::from(WINDOW_ANSWERS)
            }
            Mode::Trying { .. } | Mode::Open | Mode::Held { .. } => false,
        };
        if (window.answers >= WINDOW_ANSWERS || tells) && took_ms >= WINDOW_MS_MIN {
            let window = std::mem::replace(window, Window::at(now));
            let answers = f64::from(window.answers);
            let seen = Seen {
                rate: answers / took_ms as f64,
                latency_us: window.latency_us as f64 / answers,
                crowd: window.in_flight as f64 / answers,
                bound: window.waited > 0,
            };
            self.mean_ms = (seen.latency_us / 1_000.0) as u64;
            self.look(now, seen);
            self.window.drains = self.limit() != limit;
        }
    }

    fn open(&mut self, now: Moment) {
        self.mode = Mode::Open;
        self.window = Window::at(now);
    }

    fn look(&mut self, now: Moment, seen: Seen) {
        match self.mode {
            Mode::Open => {
                let suspect = self.is_slow(now, seen) && seen.crowd >= CROWD_MIN;
                if suspect && now >= self.calm_until {
                    let quick_us = self.base.map_or(seen.latency_us, |(base_us, _)| base_us);
                    let limit = (seen.rate * quick_us / 1_000.0 * TRIAL_ROOM).min(seen.crowd * TRIAL_SHARE);
                    let limit = limit.max(seen.crowd * TRIAL_SHARE_MIN);
                    self.mode = Mode::Trying { limit, before: seen, since: now, down: None, rounds: 1 };
                }
            }
            Mode::Trying { limit, before, since, down: None, rounds } => {
                let left = seen.rate / before.rate;
                if seen.bound && left >= TRIAL_DOWN.0 {
                    let down = Some((seen.rate, seen.latency_us));
                    self.mode = Mode::Trying { limit, before, since, down, rounds };
                } else {
                    self.try_again(now, left <= TRIAL_DOWN.1);
                }
            }
            Mode::Trying { down: Some((rate, latency_us)), .. } => {
                let slower = (seen.latency_us / latency_us) / (seen.rate / rate);
                if seen.bound && slower >= TRIAL_UP.0 {
                    let quick_us = self.base.map_or(seen.latency_us, |(base_us, _)| base_us);
                    let limit = rate.max(seen.rate) * quick_us / 1_000.0 * ROOM + 1.0;
                    self.mode = Mode::Held { limit, step: Step::Rest(0), idle: 0 };
                } else {
                    self.try_again(now, slower <= TRIAL_UP.1);
                }
            }
            Mode::Held { limit, step, idle } => {
                let idle = if seen.bound { 0 } else { idle + 1 };
                if idle >= IDLE_WINDOWS {
                    self.base = Some((seen.latency_us, now));
                    self.open(now);
                    return;
                }
                let (limit, step) =
                    if seen.bound { self.climb(now, limit, step, seen) } else { (limit, step) };
                self.mode = Mode::Held { limit: limit.max(1.0), step, idle };
            }
        }
    }

    /// Begins a trial anew that told nothing, or opens: if it told `surely` that nobody queues, or nothing again and again.
    fn try_again(&mut self, now: Moment, surely: bool) {
        let Mode::Trying { limit, before, since, rounds, .. } = self.mode else { return };
        if !surely && rounds < TRIAL_ROUNDS_MAX {
            // Opening would let all at once who came meanwhile.
            self.mode = Mode::Trying { limit, before, since, down: None, rounds: rounds + 1 };
            return;
        }
        if surely {
            // That is what answers take by now; only if it doubles once more is there reason to look again.
            self.base = Some((before.latency_us, now));
        }
        self.calm_until = now.after(CALM_MS);
        self.open(now);
    }

    /// The limit for the next window: lower as long as that costs no answers, higher as long as it brings some.
    fn climb(&mut self, now: Moment, limit: f64, step: Step, seen: Seen) -> (f64, Step) {
        let higher = (limit * HIGHER.0 + 1.0, Step::Higher(limit, seen.rate));
        match step {
            Step::Rest(rested) if rested < REST_WINDOWS => (limit, Step::Rest(rested + 1)),
            Step::Rest(_) if self.is_slow(now, seen) => (limit * LOWER.0, Step::Lower(limit, seen.rate)),
            Step::Rest(_) => higher,
            // That was too low, and perhaps what was before, too.
            Step::Lower(from, rate) if seen.rate < rate * LOWER.1 => {
                (from * HIGHER.0 + 1.0, Step::Higher(from, rate))
            }
            Step::Lower(..) => (limit, Step::Rest(REST_WINDOWS)),
            Step::Higher(from, rate) if seen.rate < rate * HIGHER.1 => (from, Step::Rest(0)),
            Step::Higher(..) => higher,
        }
    }

    /// True if answers take much longer than at their quickest.
    fn is_slow(&mut self, now: Moment, seen: Seen) -> bool {
        let held = match self.mode {
            Mode::Open => false,
            Mode::Trying { .. } | Mode::Held { .. } => true,
        };
        match self.base {
            Some((base_us, at)) if base_us <= seen.latency_us && (held || now.since(at) < BASE_MS) => {
                seen.latency_us > base_us * SUSPECT_FACTOR
            }
            Some(_) | None => {
                self.base = Some((seen.latency_us, now));
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
