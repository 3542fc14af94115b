//! The choice of an endpoint for one try of one call.
//!
//! A first try walks the ladder: each step takes the share of calls its healthy weight can bear (over-provisioned by
//! 1.4), the rest goes one step further; if all steps together are short, they share in proportion. On the step, two
//! different endpoints are drawn by weight and the less loaded one is taken. A retry goes to the nearest endpoint
//! outside of what failed this call: first another endpoint, then another zone, then another region. A place under
//! evacuation keeps what its drill lets it keep, and takes the rest only when nobody else can. A zone that is slow while
//! the rest of its region is not keeps the share that `slowness` tells, and whatever the rest cannot bear.
//!
//! Invariant: a step gets no first try while the steps before it can bear all of them, unless those are a slow zone's.
//! Invariant: `explain` runs the very code of `pick`; it only listens.

use landbridge_model::{Moment, Mutant, planted};

use crate::{
    dice::Dice,
    endpoint::HealthRules,
    evacuation::Evacuation,
    explanation::{Compared, Explanation, Listener, Nobody, Weighed},
    ladder::{Ladder, Rung, Stand, Step},
    service::{Endpoint, Service},
    slowness::near_steps,
};

/// How choices are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PickRules {
    /// How much more than its plain share a place can bear: it keeps all calls until less than `1 / this` is healthy.
    pub over_provision: f64,
    /// Below this healthy share of a rung, while all places are short, health marks are not believed; 0 always believes.
    pub panic_share: f64,
    /// Below this healthy share another region is one failure: it gets first tries only when nobody else can.
    pub region_share_min: f64,
    /// What the state of endpoints means.
    pub health: HealthRules,
}

/// An endpoint that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its position in the service's list.
    pub endpoint: u32,
    /// The kind of place it is in.
    pub rung: Rung,
    /// Health marks were not believed.
    pub panic: bool,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try this endpoint.
    Use(Choice),
    /// The service has no endpoint at all.
    Nobody,
}

/// Chooses an endpoint. `tried` are the positions that already failed this call; `dice` is any random number.
pub fn pick(
    rules: &PickRules,
    service: &Service,
    ladder: &Ladder,
    now: Moment,
    dice: u64,
    tried: &[u32],
) -> Decision {
    let calm = service.calm(now);
    Asking { rules, service, ladder, now, dice: Dice(dice), calm, listener: &mut Nobody }.decide(tried)
}

/// Chooses an endpoint beside `tried`, which wait: none of them, none out of rotation, another region only if `far`.
pub fn overtake(
    rules: &PickRules,
    service: &Service,
    ladder: &Ladder,
    now: Moment,
    dice: u64,
    tried: &[u32],
    far: bool,
) -> Decision {
    let calm = service.calm(now);
    let mut asking = Asking { rules, service, ladder, now, dice: Dice(dice), calm, listener: &mut Nobody };
    asking.beside(tried, far).map_or(Decision::Nobody, Decision::Use)
}

/// Chooses as [`pick`] does and tells why.
pub fn explain(
    rules: &PickRules,
    service: &Service,
    ladder: &Ladder,
    now: Moment,
    dice: u64,
    tried: &[u32],
) -> Explanation {
    let mut told = Explanation::blank();
    let calm = service.calm(now);
    told.decision =
        Asking { rules, service, ladder, now, dice: Dice(dice), calm, listener: &mut told }.decide(tried);
    told
}

/// The share of first tries each step of a ladder gets at a moment, by position; all 0 without any endpoint.
pub fn spread(rules: &PickRules, service: &Service, ladder: &Ladder, now: Moment) -> Vec<f64> {
    let mut told = Explanation::blank();
    let calm = service.calm(now);
    let mut asking = Asking { rules, service, ladder, now, dice: Dice(0), calm, listener: &mut told };
    if let Walk::Short { total, .. } = asking.walk(1.0, true)
        && total <= 0.0
    {
        asking.walk(1.0, false);
    }
    let mut shares = vec![0.0; ladder.steps.len()];
    for weighed in &told.weighed {
        shares[weighed.step] += weighed.capacity;
    }
    let total: f64 = shares.iter().sum();
    if total > 0.0 {
        shares.iter_mut().for_each(|share| *share /= total);
    }
    shares
}

/// What a retry stays away from.
#[derive(Clone, Copy)]
enum Avoid<'a> {
    Nothing,
    Endpoints(&'a [u32]),
    Zones(&'a [u32]),
    Regions(&'a [u32]),
}

/// Which endpoints of a step may be drawn.
#[derive(Clone, Copy)]
struct Fit<'a> {
    avoid: Avoid<'a>,
    believe: bool,
    /// Only the caller's own region.
    near: bool,
}

/// How a walk up the ladder ended.
enum Walk {
    /// At this step.
    Reached(usize),
    /// Past the end: all steps together bear only `total`; `last` is the last that bears anything.
    Short { total: f64, last: Option<usize> },
}

impl Walk {
    /// The step, also where rounding put the point just past the end.
    fn step(self) -> Option<usize> {
        match self {
            Self::Reached(step) => Some(step),
            Self::Short { last, .. } => last,
        }
    }
}

/// What sums of shares may be off; a slow zone keeps that much more, so that nothing is short for it.
const ROUNDING: f64 = 1e-9;

/// Draws before the list is looked through one by one.
const DRAWS_MAX: usize = 4;

/// Differences below this are noise of a network and never decide alone.
const NOISE_US: f32 = 1_000.0;

/// The second draw wins only when the first costs so much more.
const WORSE_FACTOR: f32 = 1.5;

struct Asking<'a, L> {
    rules: &'a PickRules,
    service: &'a Service,
    ladder: &'a Ladder,
    now: Moment,
    dice: Dice,
    calm: bool,
    listener: &'a mut L,
}

impl<L: Listener> Asking<'_, L> {
    fn decide(mut self, tried: &[u32]) -> Decision {
        let choice = if tried.is_empty() { self.first_try() } else { self.retry(tried) };
        choice.map_or(Decision::Nobody, Decision::Use)
    }

    /// Walks the ladder by the share each step can bear.
    fn first_try(&mut self) -> Option<Choice> {
        let lot = self.dice.share();
        let reached = self.walk(lot, true);
        let (step, short) = match reached {
            Walk::Reached(step) => (step, false),
            Walk::Short { total, .. } if total > 0.0 => {
                let lot = self.dice.share() * total;
                (self.walk(lot, true).step()?, true)
            }
            Walk::Short { .. } => (self.walk(lot, false).step()?, true),
        };
        let rung_share = self.rung_share(step);
        let believe = rung_share > 0.0 && !(short && rung_share < self.rules.panic_share);
        let fit = |believe| Fit { avoid: Avoid::Nothing, believe, near: false };
        // Another core may have ejected the last endpoint of the step since it was weighed.
        self.choose(step, fit(believe))
            .or_else(|| self.nearest(fit(true)))
            .or_else(|| self.nearest(fit(false)))
    }

    /// Looks for the step that holds the point `lot` of all calls. What is evacuated, and regions that failed as a
    /// whole, are looked at once more at the end for what nobody else can bear.
    fn walk(&mut self, lot: f64, believe: bool) -> Walk {
        let mut total = 0.0;
        let mut last = None;
        let mut reserve = false;
        let keeps = if believe { self.zone_keeps() } else { 1.0 };
        for last_resort in [false, true] {
            if last_resort && !reserve {
                break;
            }
            // What the drill that was met last has kept so far.
            let mut kept: Option<(&Evacuation, f64)> = None;
            let mut zone_left = keeps;
            for (position, step) in self.ladder.steps.iter().enumerate() {
                let available = if believe { self.available(step) } else { step.weight() };
                let bears = self.bears(step, available);
                let mut given = bears;
                if let Some(drill) = &step.leaving {
                    let before = kept.filter(|(met, _)| *met == &**drill).map_or(0.0, |(_, kept)| kept);
                    given = bears.min(drill.keeps(self.now) - before).max(0.0);
                    kept = Some((drill, before + given));
                }
                if believe && self.failed_as_a_whole(position) {
                    given = 0.0;
                }
                if keeps < 1.0 && step.rung == Rung::SameZone {
                    given = given.min(zone_left);
                    zone_left -= given;
                }
                reserve |= given < bears;
                let capacity = if last_resort { bears - given } else { given };
                let capacity = capacity.min(1.0 - total).max(0.0);
                if !last_resort || capacity > 0.0 {
                    let keeps = if step.rung == Rung::SameZone { keeps } else { 1.0 };
                    self.listener.weighed(Weighed { step: position, available, capacity, keeps });
                }
                total += capacity;
                let is_passed_over = planted(Mutant::FartherWhileNearIsWell) && position == 0;
                if lot < total && !is_passed_over {
                    return Walk::Reached(position);
                }
                last = if capacity > 0.0 { Some(position) } else { last };
            }
        }
        Walk::Short { total, last }
    }

    /// The share of all calls that so much of a step can bear; more than 1 if it could bear more.
    fn bears(&self, step: &Step, available: f64) -> f64 {
        available * self.rules.over_provision / self.asked_of(step)
    }

    /// The share of all calls the own zone keeps though it may be slow: what the rest of the region cannot bear stays.
    fn zone_keeps(&self) -> f64 {
        let share = self.service.state.stay.share(&self.rules.health, self.now);
        if !self.ladder.is_home || share >= 1.0 {
            return 1.0;
        }
        let (zone, region) = near_steps(self.ladder);
        let rest = self.ladder.steps[zone..region].iter();
        let rest = rest.filter(|step| step.verified && step.leaving.is_none());
        let borne: f64 = rest.map(|step| self.bears(step, self.available(step))).sum();
        share.max(1.0 - borne + ROUNDING)
    }

    /// The weight against which a step's health is measured: its rung's, of which an evacuation leaves less and less.
    fn asked_of(&self, step: &Step) -> f64 {
        let leaves = step.rung_weight - step.staying_weight;
        if step.staying_weight == 0.0 || leaves == 0.0 {
            return step.rung_weight;
        }
        let same = |other: &&Step| other.rung == step.rung && other.region == step.region;
        let drills = self.ladder.steps.iter().filter(same).filter_map(|other| other.leaving.as_ref());
        let keeps = drills.map(|drill| drill.keeps(self.now)).fold(0.0, f64::max);
        step.staying_weight + leaves * keeps
    }

    /// True for another region of which too little is left.
    fn failed_as_a_whole(&self, position: usize) -> bool {
        match self.ladder.steps[position].rung {
            Rung::SameZone | Rung::SameRegion => false,
            Rung::OtherRegion | Rung::StaleRegion => self.rung_share(position) < self.rules.region_share_min,
        }
    }

    /// The weight of a step that is healthy and in rotation.
    fn available(&self, step: &Step) -> f64 {
        if self.calm {
            return step.healthy_weight();
        }
        let healthy = &step.stands[..step.healthy];
        let weight =
            |endpoint: &Endpoint| if endpoint.state.admits(self.now) { endpoint.weight } else { 0.0 };
        healthy.iter().map(|stand| weight(self.service.endpoint(stand.endpoint))).sum()
    }

    /// The healthy share of the whole rung a step belongs to.
    fn rung_share(&self, position: usize) -> f64 {
        let chosen = &self.ladder.steps[position];
        let same = |step: &&Step| step.rung == chosen.rung && step.region == chosen.region;
        let available: f64 = self.ladder.steps.iter().filter(same).map(|step| self.available(step)).sum();
        available / chosen.rung_weight
    }

    /// The nearest endpoint outside of what failed; failing that, anything rather than nothing.
    fn retry(&mut self, tried: &[u32]) -> Option<Choice> {
        let wide = match tried.len() {
            1 => Avoid::Endpoints(tried),
            2 => Avoid::Zones(tried),
            _ => Avoid::Regions(tried),
        };
        let fits = [
            (wide, true),
            (Avoid::Zones(tried), true),
            (Avoid::Endpoints(tried), true),
            (Avoid::Endpoints(tried), false),
            (Avoid::Nothing, true),
            (Avoid::Nothing, false),
        ];
        let skip = if tried.len() < 2 { 2 } else { 0 };
        fits[skip..]
            .iter()
            .find_map(|(avoid, believe)| self.nearest(Fit { avoid: *avoid, believe: *believe, near: false }))
    }

    /// The nearest endpoint beside those that wait, as far from them as is wanted; nobody rather than one of them.
    fn beside(&mut self, tried: &[u32], far: bool) -> Option<Choice> {
        let wide = [Avoid::Regions(tried), Avoid::Zones(tried), Avoid::Endpoints(tried)];
        let skip = if far { 0 } else { 3 - tried.len().clamp(1, 2) };
        wide[skip..].iter().find_map(|avoid| self.nearest(Fit { avoid: *avoid, believe: true, near: !far }))
    }

    /// The nearest that fits; a slow zone after the rest of its region, what is evacuated only after everything else.
    fn nearest(&mut self, fit: Fit<'_>) -> Option<Choice> {
        let ladder = self.ladder;
        let is_left = ladder.is_home && self.service.state.stay.is_left(&self.rules.health, self.now);
        let (zone, region) = if is_left { near_steps(ladder) } else { (0, 0) };
        [false, true].into_iter().find_map(|leaving| {
            let steps = (zone..region).chain(0..zone).chain(region..ladder.steps.len());
            let in_reach = |step: &Step| !fit.near || step.rung <= Rung::SameRegion;
            let is_wanted = |step: &Step| step.leaving.is_some() == leaving && in_reach(step);
            let mut wanted = steps.filter(|position| is_wanted(&ladder.steps[*position]));
            wanted.find_map(|position| self.choose(position, fit))
        })
    }

    /// Draws two different endpoints of a step by weight and takes the better one.
    fn choose(&mut self, position: usize, fit: Fit<'_>) -> Option<Choice> {
        let ladder = self.ladder;
        let step = &ladder.steps[position];
        let first = self.draw(step, fit, None)?;
        let endpoint = match self.draw(step, fit, Some(first)) {
            None => first,
            Some(second) => {
                let mean = step.weight() / step.stands.len() as f64;
                let (cost, other) = (self.cost(first, mean), self.cost(second, mean));
                if other * WORSE_FACTOR < cost { second } else { first }
            }
        };
        Some(Choice { endpoint, rung: step.rung, panic: !fit.believe })
    }

    /// One endpoint that fits and is not `other`, drawn by weight.
    fn draw(&mut self, step: &Step, fit: Fit<'_>, other: Option<u32>) -> Option<u32> {
        let count = if fit.believe { step.healthy } else { step.stands.len() };
        let stands = &step.stands[..count];
        let total = stands.last()?.upto;
        if count == 1 && other.is_some() {
            return None;
        }
        for _ in 0..DRAWS_MAX {
            let at = if step.even {
                self.dice.below(count)
            } else {
                let lot = self.dice.share() * total;
                stands.partition_point(|stand| stand.upto <= lot).min(count - 1)
            };
            let endpoint = stands[at].endpoint;
            if Some(endpoint) != other && self.fits(endpoint, fit) && self.grown(endpoint) {
                return Some(endpoint);
            }
        }
        self.draw_among_few(stands, fit, other)
    }

    /// The same draw where few fit: weighs each, so that none is favoured for its place in the list.
    fn draw_among_few(&mut self, stands: &[Stand], fit: Fit<'_>, other: Option<u32>) -> Option<u32> {
        let fitting = || {
            let positions = stands.iter().map(|stand| stand.endpoint);
            positions.filter(|endpoint| Some(*endpoint) != other && self.fits(*endpoint, fit))
        };
        let weight = |position: u32| {
            let endpoint = self.service.endpoint(position);
            endpoint.weight * f64::from(endpoint.state.grown(&self.rules.health, self.now))
        };
        let total: f64 = fitting().map(weight).sum();
        let mut lot = { self.dice }.share() * total;
        let passes = |endpoint: &u32| {
            lot -= weight(*endpoint);
            lot < 0.0
        };
        let found = fitting().find(passes).or_else(|| fitting().next_back());
        self.dice.next();
        found
    }

    /// Lets an endpoint in its slow start be drawn as often as it has grown.
    fn grown(&mut self, position: u32) -> bool {
        if self.calm {
            return true;
        }
        let grown = self.service.endpoint(position).state.grown(&self.rules.health, self.now);
        grown >= 1.0 || self.dice.share() < f64::from(grown)
    }

    fn fits(&self, position: u32, fit: Fit<'_>) -> bool {
        let endpoint = self.service.endpoint(position);
        if fit.believe && !self.calm && !endpoint.state.admits(self.now) {
            return false;
        }
        let of = |tried: &u32| self.service.endpoint(*tried);
        match fit.avoid {
            Avoid::Nothing => true,
            Avoid::Endpoints(tried) => !tried.contains(&position),
            Avoid::Zones(tried) => {
                let same = |other: &Endpoint| other.region == endpoint.region && other.zone == endpoint.zone;
                !tried.iter().any(|tried| same(of(tried)))
            }
            Avoid::Regions(tried) => !tried.iter().any(|tried| of(tried).region == endpoint.region),
        }
    }

    /// Latency × calls in flight; a heavier endpoint is expected to carry more calls.
    fn cost(&mut self, position: u32, mean_weight: f64) -> f32 {
        let endpoint = self.service.endpoint(position);
        let load = endpoint.state.in_flight() as f32 * (mean_weight / endpoint.weight) as f32;
        let latency = endpoint.state.latency_us(&self.rules.health, self.now) + NOISE_US;
        let cost = latency * (1.0 + load);
        self.listener.compared(Compared { endpoint: position, cost });
        cost
    }
}

#[cfg(test)]
#[path = "pick_tests.rs"]
mod tests;
