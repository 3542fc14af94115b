//! Plays schedules: one, or many on several threads.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::sim::{shape::Shape, story::Story, tally::Tally, times, world::World};

/// Which schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The kind of federation.
    pub shape: Shape,
    /// The seed of its dice.
    pub seed: u64,
}

/// What a schedule without a violation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Simulated seconds, from the first tick to the last.
    pub simulated_s: u64,
    /// Inputs that production cores took.
    pub steps: u64,
    /// Calls that callers made at gateways.
    pub calls: u64,
    /// How often what happened, and which invariant was judged.
    pub tally: Tally,
}

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The schedule that shows it.
    pub schedule: Schedule,
    /// When, in simulated seconds.
    pub at_s: u64,
    /// Which invariant, and how it was broken.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Schedule { shape, seed } = self.schedule;
        write!(f, "seed {seed} at {} s: {}   (cargo sim {}{seed})", self.at_s, self.what, shape.word())
    }
}

/// Plays one schedule from its first tick to its last. A panic of the code under test is a violation like any other.
///
/// # Errors
/// The first promise that did not hold.
pub fn run(schedule: Schedule) -> Result<Stats, Violation> {
    play(schedule, Story::default()).0
}

/// Plays one schedule and gives its trace, and a fingerprint of all that every process was told, in order.
pub fn told(schedule: Schedule) -> (Result<Stats, Violation>, Vec<String>, u64) {
    let (result, story) = play(schedule, Story::told());
    let fingerprint = story.fingerprint();
    (result, story.lines, fingerprint)
}

fn play(schedule: Schedule, story: Story) -> (Result<Stats, Violation>, Story) {
    let mut world = World::build(schedule.seed, schedule.shape, story);
    let played = panic::catch_unwind(AssertUnwindSafe(|| {
        world.begin()?;
        world.run()
    }));
    let played = played.unwrap_or_else(|panic| Err(format!("panic: {}", text_of(&*panic))));
    let at_s = (world.t * times::TICK_S) as u64;
    let result = match played {
        Ok(()) => Ok(Stats {
            simulated_s: at_s,
            steps: world.steps,
            calls: world.calls.0,
            tally: *world.tally.borrow(),
        }),
        Err(what) => Err(Violation { schedule, at_s, what }),
    };
    (result, world.story.into_inner())
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let owned = panic.downcast_ref::<String>().cloned();
    owned.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Plays all schedules on so many threads and tells each violation as it is found; both come in no particular order.
pub fn run_all(
    schedules: &[Schedule],
    jobs: usize,
    tell: impl Fn(&Violation) + Sync,
) -> (Stats, Vec<Violation>) {
    let next = AtomicUsize::new(0);
    let found = Mutex::new((Stats::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = run(*schedule);
                    if let Err(violation) = &result {
                        tell(violation);
                    }
                    let mut found = found.lock().expect("a schedule's panic is caught");
                    match result {
                        Ok(stats) => found.0 = found.0.and(stats),
                        Err(violation) => found.1.push(violation),
                    }
                }
            });
        }
    });
    found.into_inner().expect("a schedule's panic is caught")
}

impl Stats {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            simulated_s: self.simulated_s + other.simulated_s,
            steps: self.steps + other.steps,
            calls: self.calls + other.calls,
            tally: self.tally.and(other.tally),
        }
    }
}
