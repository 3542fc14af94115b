//! Gateways that share, over lines that lose, delay and swap what is said.

use proptest::prelude::*;

use super::*;

/// Between two rounds; an exchange that takes longer is given up.
const EVERY_MS: u64 = 1_000;

const KEPT_MS: u64 = 5 * EVERY_MS;

const KEY: &str = "k";

fn name(number: usize) -> EcoString {
    format!("g{number}").into()
}

fn asked(per_second: f64) -> Demands {
    [(KEY.into(), per_second)].into()
}

/// Something on its way from one gateway to another.
#[derive(Clone, Debug)]
enum Letter {
    Told { from: usize, to: usize, word: Word },
    Answer { from: usize, to: usize, word: Word, round: u64 },
}

struct World {
    now: Moment,
    gateways: Vec<Sharing>,
    on_the_way: Vec<(u64, Letter)>,
    /// Which way is cut, from and to.
    cut: Vec<(usize, usize)>,
}

impl World {
    fn new(count: usize) -> Self {
        let gateways = (0..count).map(|number| Sharing::new(name(number), 1)).collect();
        let mut world = Self { now: Moment(0), gateways, on_the_way: Vec::new(), cut: Vec::new() };
        world.list();
        world
    }

    fn list(&mut self) {
        let count = self.gateways.len();
        for gateway in &mut self.gateways {
            gateway.list(self.now, (0..count).map(name));
        }
    }

    fn post(&mut self, delay_ms: u64, from: usize, to: usize, letter: Letter) {
        if !self.cut.contains(&(from, to)) {
            self.on_the_way.push((self.now.0 + delay_ms, letter));
        }
    }

    /// Everybody begins a round; `dice` delays what is said, by less than a round both ways together.
    fn round(&mut self, demands: &[f64], mut dice: impl FnMut() -> u64) {
        for (from, demand) in demands.iter().enumerate() {
            let word = self.gateways[from].begin(self.now, KEPT_MS, asked(*demand));
            self.check();
            for to in (0..self.gateways.len()).filter(|to| *to != from) {
                let letter = Letter::Told { from, to, word: word.clone() };
                self.post(dice() % (EVERY_MS / 2), from, to, letter);
            }
        }
        let end = self.now.after(EVERY_MS);
        while let Some(next) = self.on_the_way.iter().map(|(at, _)| *at).min().filter(|at| *at < end.0) {
            let place = self.on_the_way.iter().position(|(at, _)| *at == next).unwrap();
            self.now = Moment(next);
            match self.on_the_way.swap_remove(place).1 {
                Letter::Told { from, to, word } => {
                    let round = word.round;
                    self.gateways[to].hear(self.now, KEPT_MS, word);
                    let word = self.gateways[to].word();
                    let answer = Letter::Answer { from: to, to: from, word, round };
                    self.post(dice() % (EVERY_MS / 2), to, from, answer);
                }
                Letter::Answer { from, to, word, round } => {
                    self.gateways[to].hear(self.now, KEPT_MS, word);
                    self.gateways[to].noted(self.now, KEPT_MS, &name(from), round);
                }
            }
            self.check();
        }
        self.now = end;
    }

    fn parts(&self) -> Vec<f64> {
        self.gateways.iter().map(|gateway| gateway.part(KEY)).collect()
    }

    fn check(&self) {
        let parts = self.parts();
        let least = FLOOR / self.gateways.len() as f64 - 1e-9;
        assert!(parts.iter().sum::<f64>() <= 1.0 + FLOOR + 1e-9, "more than the limit: {parts:?} {self}");
        assert!(parts.iter().all(|part| *part >= least), "somebody starves: {parts:?}");
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {:?} with {:?} cut: {:#?}", self.now, self.cut, self.gateways)
    }
}

/// The same numbers for the same seed (xorshift64*).
fn dice(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

#[test]
fn a_gateway_that_knows_no_other_has_the_whole_limit() {
    let mut lone = Sharing::new(name(0), 1);
    lone.begin(Moment(0), KEPT_MS, asked(5.0));

    assert_eq!((lone.part(KEY), lone.part("other")), (1.0, 1.0));
}

#[test]
fn parts_follow_what_is_asked_after_two_rounds() {
    let mut world = World::new(2);

    world.round(&[90.0, 10.0], || 1);
    world.round(&[90.0, 10.0], || 1);

    let parts = world.parts();
    assert!((parts[0] - 0.86).abs() < 1e-9 && (parts[1] - 0.14).abs() < 1e-9, "{parts:?}");
    world.round(&[0.0, 10.0], || 1);
    world.round(&[0.0, 10.0], || 1);
    assert!((world.parts()[1] - 0.95).abs() < 1e-9, "who is asked nothing keeps its floor only");
}

#[test]
fn what_nobody_was_asked_is_shared_evenly() {
    let mut world = World::new(4);
    world.round(&[1.0; 4], || 1);

    assert!(world.gateways.iter().all(|gateway| gateway.part("fresh") == 0.25));
}

#[test]
fn the_last_part_is_kept_while_one_is_silent_and_then_nobody_has_more_than_the_even_part() {
    let mut world = World::new(2);
    world.round(&[90.0, 10.0], || 1);
    world.round(&[90.0, 10.0], || 1);
    world.cut = vec![(0, 1), (1, 0)];
    let mut seen = Vec::new();

    for _ in 0..20 {
        world.round(&[90.0, 90.0], || 1);
        seen.push(world.parts().map_to_percent());
    }

    assert_eq!(seen[3], [86, 14], "kept");
    assert_eq!(seen[6], [50, 14], "nobody rises before everybody has fallen");
    assert_eq!(seen[19], [50, 50], "each has its even part");
    world.cut.clear();
    world.round(&[90.0, 10.0], || 1);
    world.round(&[90.0, 10.0], || 1);
    world.round(&[90.0, 10.0], || 1);
    assert_eq!(world.parts().map_to_percent(), [86, 14], "together again");
}

#[test]
fn who_left_is_forgotten_and_its_part_goes_to_the_others() {
    let mut world = World::new(2);
    world.round(&[50.0, 50.0], || 1);
    world.round(&[50.0, 50.0], || 1);
    world.gateways.truncate(1);
    world.list();

    for _ in 0..8 {
        world.round(&[50.0], || 1);
    }

    assert_eq!(world.parts(), [1.0]);
}

#[test]
fn an_empty_table_leaves_everybody_its_part() {
    let mut world = World::new(4);
    world.round(&[70.0, 10.0, 10.0, 10.0], || 1);
    world.round(&[70.0, 10.0, 10.0, 10.0], || 1);
    let before = world.parts();
    for gateway in &mut world.gateways {
        gateway.list(world.now, []);
    }

    for _ in 0..20 {
        world.round(&[70.0, 10.0, 10.0, 10.0], || 1);
    }
    assert_eq!(world.parts(), before, "while all are heard");

    let all = 0..world.gateways.len();
    world.cut = all.clone().flat_map(|from| all.clone().map(move |to| (from, to))).collect();
    for _ in 0..20 {
        world.round(&[70.0, 10.0, 10.0, 10.0], || 1);
    }
    assert_eq!(world.parts(), [0.25; 4], "and when nobody is");
}

#[test]
fn a_newcomer_begins_with_its_floor_and_gets_what_is_asked_of_it() {
    let mut world = World::new(1);
    world.round(&[100.0], || 1);
    world.gateways.push(Sharing::new(name(1), 1));
    world.list();
    world.check();

    world.round(&[100.0, 100.0], || 1);
    world.round(&[100.0, 100.0], || 1);

    assert_eq!(world.parts().map_to_percent(), [50, 50]);
}

#[test]
fn a_word_that_was_overtaken_says_nothing() {
    let mut one = Sharing::new(name(0), 1);
    let mut two = Sharing::new(name(1), 1);
    let old = two.begin(Moment(0), KEPT_MS, asked(1.0));
    let new = two.begin(Moment(1), KEPT_MS, asked(9.0));
    one.hear(Moment(2), KEPT_MS, new);
    let before = one.part(KEY);

    one.hear(Moment(3), KEPT_MS, old);

    assert_eq!(one.part(KEY), before);
}

trait Percent {
    fn map_to_percent(&self) -> Vec<u32>;
}

impl Percent for Vec<f64> {
    fn map_to_percent(&self) -> Vec<u32> {
        self.iter().map(|part| (part * 100.0).round() as u32).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_are_never_more_than_the_limit_and_nobody_starves_whatever_is_lost(seed: u64, count in 2..5_usize) {
        let mut dice = dice(seed);
        let mut world = World::new(count);
        for turn in 0..120_u64 {
            if turn.is_multiple_of(8) {
                let ways = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
                let lossy = dice() % 4;
                world.cut = ways.filter(|_| dice() % 8 < lossy * 2).collect();
            }
            if dice().is_multiple_of(40) {
                let reborn = dice() as usize % count;
                world.gateways[reborn] = Sharing::new(name(reborn), turn + 2);
                world.list();
            }
            let demands: Vec<f64> = (0..count).map(|_| [0.0, 1.0, 10.0, 1_000.0][dice() as usize % 4]).collect();
            world.round(&demands, &mut dice);
        }
        let demands: Vec<f64> = (0..count).map(|_| 1.0 + (dice() % 100) as f64).collect();
        world.cut.clear();
        for _ in 0..4 {
            world.round(&demands, &mut dice);
        }
        let all: f64 = demands.iter().sum();

        for (part, demand) in world.parts().into_iter().zip(&demands) {
            let fair = FLOOR / count as f64 + (1.0 - FLOOR) * demand / all;
            prop_assert!((part - fair).abs() < 1e-6, "{part} instead of {fair}");
        }
    }
}
