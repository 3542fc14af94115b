//! The gate in front of simulated endpoints, in virtual time: some queue, some are only slow.

use std::{cmp::Reverse, collections::BTreeMap, collections::BinaryHeap};

use super::*;

const QUEUE_MAX: u32 = 100;
const QUEUE_MS: u64 = 100;

const SEEDS: u64 = 2;

/// What a call that took longer is worth to its caller: nothing.
const WORTH_US: u64 = 1_000_000;

/// Endpoints that answer in `service_us`, `workers` calls at once; more wait behind them.
struct World {
    gate: Gate,
    now_us: u64,
    dice: u64,
    workers: usize,
    service_us: u64,
    /// Service times vary as those of real servers do, and are not all alike.
    varied: bool,
    /// Calls inside the endpoints: when each ends, since when it is in flight, since when its caller waits.
    working: BinaryHeap<Reverse<(u64, u64, u64)>>,
    behind: std::collections::VecDeque<(u64, u64)>,
    waiting: BTreeMap<Ticket, u64>,
    good: [u64; 3],
    shed: [u64; 3],
    came: [u64; 3],
    waited_max: usize,
    criticality: BTreeMap<u64, Criticality>,
}

impl World {
    fn new(seed: u64, workers: usize, service_us: u64, varied: bool) -> Self {
        Self {
            gate: Gate::new(Moment(0)),
            now_us: 0,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            workers,
            service_us,
            varied,
            working: BinaryHeap::new(),
            behind: Default::default(),
            waiting: BTreeMap::new(),
            good: [0; 3],
            shed: [0; 3],
            came: [0; 3],
            waited_max: 0,
            criticality: BTreeMap::new(),
        }
    }

    /// From 0 up to 1.
    fn throw(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time that is `mean_us` on average, as between events that know nothing of each other.
    fn chance_us(&mut self, mean_us: f64) -> u64 {
        let lot = self.throw();
        (-(1.0 - lot).ln() * mean_us) as u64
    }

    /// Runs so long with calls at this rate, which come by chance.
    fn run(&mut self, seconds: f64, per_second: f64) {
        let end = self.now_us + (seconds * 1e6) as u64;
        let mut next = self.now_us + self.chance_us(1e6 / per_second);
        while next < end {
            self.until(next);
            self.come();
            next = self.now_us + self.chance_us(1e6 / per_second);
        }
        self.until(end);
    }

    /// Lets everything happen that happens before then.
    fn until(&mut self, then: u64) {
        loop {
            let ends = self.working.peek().map(|Reverse(one)| one.0).filter(|at| *at <= then);
            let oldest = self.waiting.values().min().copied();
            let late = oldest.filter(|_| self.gate.sheds()).map(|came| came + QUEUE_MS * 1_000);
            let late = late.filter(|at| *at <= then);
            match (ends, late) {
                (Some(at), late) if late.is_none_or(|late| at <= late) => {
                    self.now_us = self.now_us.max(at);
                    self.end_one();
                }
                (_, Some(at)) => {
                    self.now_us = self.now_us.max(at);
                    self.give_up();
                }
                (None, None) | (Some(_), None) => break,
            }
        }
        self.now_us = then;
    }

    fn give_up(&mut self) {
        let oldest = self.waiting.iter().min_by_key(|(_, came)| **came).map(|(ticket, _)| *ticket);
        if let Some(ticket) = oldest {
            self.waiting.remove(&ticket);
            assert!(self.gate.leave(ticket));
            self.shed[ticket.0.0 as usize] += 1;
        }
    }

    fn come(&mut self) {
        let criticality = Criticality::ALL[(self.throw() * 3.0) as usize];
        self.came[criticality as usize] += 1;
        match self.gate.arrive(QUEUE_MAX, criticality) {
            Entry::Go => self.go(self.now_us, criticality),
            Entry::Wait(ticket) => {
                self.waiting.insert(ticket, self.now_us);
            }
            Entry::Instead(ticket, other) => {
                self.waiting.remove(&other);
                self.shed[other.0.0 as usize] += 1;
                self.waiting.insert(ticket, self.now_us);
            }
            Entry::Shed => self.shed[criticality as usize] += 1,
        }
        self.waited_max = self.waited_max.max(self.waiting.len());
    }

    fn go(&mut self, came: u64, criticality: Criticality) {
        self.criticality.insert(came, criticality);
        self.behind.push_back((self.now_us, came));
        self.work();
    }

    fn work(&mut self) {
        while self.working.len() < self.workers
            && let Some((since, came)) = self.behind.pop_front()
        {
            let mean = self.service_us as f64;
            let takes = if self.varied { self.chance_us(mean) } else { self.service_us };
            self.working.push(Reverse((self.now_us + takes.max(1), since, came)));
        }
    }

    fn end_one(&mut self) {
        let Some(Reverse((at, since, came))) = self.working.pop() else { return };
        if at - came <= WORTH_US {
            let criticality = self.criticality.get(&came).copied().unwrap_or_default();
            self.good[criticality as usize] += 1;
        }
        self.gate.ended(Moment(at / 1_000), (at - since) as u32);
        while let Some(ticket) = self.gate.admit_next() {
            let came = self.waiting.remove(&ticket).expect("it waits");
            self.go(came, ticket.0.0);
        }
        self.work();
    }

    fn reset(&mut self) {
        (self.good, self.shed, self.came) = ([0; 3], [0; 3], [0; 3]);
        self.waited_max = 0;
    }
}

#[test]
fn endpoints_that_queue_go_on_giving_four_fifths_of_what_they_can() {
    for seed in 1..=SEEDS {
        for (workers, service_us, varied) in
            [(4, 20_000, false), (4, 20_000, true), (32, 5_000, true), (1, 2_000, false)]
        {
            let capacity = workers as f64 * 1e6 / service_us as f64;
            let mut world = World::new(seed, workers, service_us, varied);
            world.run(5.0, capacity * 0.5);
            world.run(10.0 + service_us as f64 / 10_000.0, capacity * 3.0);
            world.reset();

            world.run(20.0, capacity * 3.0);

            let good: u64 = world.good.iter().sum();
            let share = good as f64 / (capacity * 20.0);
            let case = format!("seed {seed}: {workers} workers of {service_us} us, varied {varied}");
            assert!(share >= 0.8, "{case}: {share:.2} of what they can, limit {:?}", world.gate.limit());
            assert!(world.waited_max <= QUEUE_MAX as usize, "{case}: {} waited", world.waited_max);
        }
    }
}

#[test]
fn nobody_is_sent_away_by_endpoints_that_only_became_slow() {
    for seed in 1..=SEEDS {
        for varied in [false, true] {
            for factor in [3, 10, 16] {
                let mut world = World::new(seed, 1_000_000, 20_000, varied);
                world.run(5.0, 200.0);
                world.service_us *= factor;
                world.run(15.0, 200.0);
                assert_eq!(world.shed, [0; 3], "seed {seed}, {factor} times as slow, varied {varied}");

                // Three times the calls in the midst of a trial are more than it can hold back.
                world.run(15.0, 600.0);
                world.service_us /= factor;
                world.run(10.0, 600.0);
                let (shed, came): (u64, u64) = (world.shed.iter().sum(), world.came.iter().sum());
                assert!(shed * 50 <= came, "seed {seed}, {factor} times as slow: {shed} of {came}");
            }
        }
    }
}

#[test]
fn nobody_is_sent_away_below_what_endpoints_can_do() {
    for seed in 1..=SEEDS {
        let mut world = World::new(seed, 8, 10_000, true);

        world.run(60.0, 480.0);

        assert_eq!(world.shed, [0; 3], "seed {seed}");
    }
}

#[test]
fn the_less_a_call_matters_the_sooner_it_is_sent_away() {
    for seed in 1..=SEEDS {
        let mut world = World::new(seed, 4, 20_000, true);
        world.run(5.0, 100.0);
        // A third of the calls is critical: less than the endpoints can do.
        world.run(10.0, 450.0);
        world.reset();

        world.run(20.0, 450.0);

        let share = |of: Criticality| world.shed[of as usize] as f64 / world.came[of as usize] as f64;
        assert!(share(Criticality::Critical) < 0.05, "seed {seed}: {}", share(Criticality::Critical));
        assert!(share(Criticality::Sheddable) > 0.8, "seed {seed}: {}", share(Criticality::Sheddable));
    }
}

#[test]
fn a_gate_opens_again_when_the_crowd_is_gone() {
    let mut world = World::new(1, 4, 20_000, false);
    world.run(5.0, 100.0);
    world.run(10.0, 600.0);
    assert!(world.gate.limit().is_some());

    world.run(20.0, 100.0);

    assert_eq!(world.gate.limit(), None);
}
