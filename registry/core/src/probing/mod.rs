//! Which persistent instances this member probes, when, and when the region is told what it found.
//!
//! ```text
//! known ──mine and due──▶ running ──found──▶ waiting for its next time
//! calm ──several findings in a row, or a hard one, that differ from what is shown──▶ flip ──told and decided──▶ calm
//! ```
//!
//! Invariant: at most `at_once_max` probes run; one that is late waits in the order of its time.
//! Invariant: flips are told one batch at a time, and rarely enough that the whole region decides ten batches a second.
//! Invariant: what cannot be told stays a flip until it can, or until a finding takes it back.

mod pace;
mod share;

use std::collections::{BTreeMap, BTreeSet};

use landbridge_model::{InstanceKey, MemberId, Moment, ServiceKey};

use pace::Pace;

/// Between two batches of flips of a whole region, milliseconds; each of its members takes its turn.
const TELL_EVERY_MS: u64 = 100;

/// After a batch that nobody decided (no quorum), until the next, milliseconds.
const TELL_AGAIN_MS: u64 = 1_000;

/// The most flips in one batch; the others go with the next.
const FLIPS_MAX: usize = 1_000;

/// How an instance is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A connection is opened.
    Tcp,
    /// A page is asked for.
    Http,
    /// A query is sent.
    MySql,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Well,
    /// It did not answer in time, or asked for patience.
    Soft,
    /// It answered that it is not well, or nothing listens there.
    Hard,
    /// Nothing can be said: the probe itself is wrong or forbidden.
    Unable,
}

/// One instance that is to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How.
    pub method: Method,
    /// Tells one setting of its checker from another; what was found under another one does not count.
    pub setting: u64,
    /// What is shown of it.
    pub healthy: bool,
}

/// Names one instance under one setting while it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// What operators say about probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether anything is probed (Nacos's switch `healthCheckEnabled`).
    pub enabled: bool,
    /// So many findings in a row flip an instance (Nacos's switch `checkTimes`).
    pub times: u32,
    /// So many hard ones do.
    pub hard_times: u32,
    /// The most probes that run at once.
    pub at_once_max: usize,
}

/// What a prober is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// What is to be probed of a service; what is not named any more is forgotten.
    Service {
        /// Which.
        service: ServiceKey,
        /// Its persistent instances that have a checker.
        wanted: BTreeMap<InstanceKey, Wanted>,
    },
    /// The members that share the work, this one among them.
    Members(Vec<MemberId>),
    /// The rules differ.
    Rules(Rules),
    /// A probe ended.
    Found {
        /// Which.
        probe: ProbeId,
        /// With what.
        finding: Finding,
        /// How long it took.
        took_ms: u64,
    },
    /// The batch of flips was decided, or not.
    Told {
        /// Whether it was.
        decided: bool,
    },
    /// Time passed.
    Tick,
}

/// What a prober asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Probe this instance, and answer with [`Input::Found`].
    Probe {
        /// Under which name.
        probe: ProbeId,
        /// Of which service.
        service: ServiceKey,
        /// Which.
        instance: InstanceKey,
    },
    /// Propose these flips to the region, and answer with [`Input::Told`].
    Tell {
        /// Each with whether it is healthy.
        flips: Vec<(ServiceKey, InstanceKey, bool)>,
    },
}

/// What a prober counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instances that are this member's to probe.
    pub mine: usize,
    /// Probes that run.
    pub running: usize,
    /// Flips that the region has not decided yet.
    pub flips: usize,
}

#[derive(Clone, Debug)]
struct Probed {
    service: ServiceKey,
    instance: InstanceKey,
    wanted: Wanted,
    mine: bool,
    pace: Pace,
    due: Option<Moment>,
    /// Findings in a row that say well, or not.
    well: u32,
    ill: u32,
    flip: Option<bool>,
}

/// Decides what is probed and what is told.
#[derive(Debug)]
pub struct Prober {
    me: MemberId,
    members: Vec<MemberId>,
    rules: Rules,
    dice: u64,
    next: u64,
    known: BTreeMap<ServiceKey, BTreeMap<InstanceKey, ProbeId>>,
    probed: BTreeMap<ProbeId, Probed>,
    due: BTreeSet<(Moment, ProbeId)>,
    running: BTreeSet<ProbeId>,
    flips: BTreeSet<ProbeId>,
    /// The flips that are being told.
    telling: Option<Vec<(ProbeId, bool)>>,
    tell_from: Moment,
}

impl Prober {
    /// A prober that knows of nothing; the seed spreads the first probes.
    pub fn new(me: MemberId, rules: Rules, seed: u64) -> Self {
        Self {
            me,
            members: vec![me],
            rules,
            dice: seed,
            next: 0,
            known: BTreeMap::new(),
            probed: BTreeMap::new(),
            due: BTreeSet::new(),
            running: BTreeSet::new(),
            flips: BTreeSet::new(),
            telling: None,
            tell_from: Moment(0),
        }
    }

    /// Takes one input and appends what follows from it to `effects`.
    pub fn step(&mut self, now: Moment, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Service { service, wanted } => self.service(now, &service, wanted),
            Input::Members(members) => {
                self.members = members;
                self.share(now);
            }
            Input::Rules(rules) => {
                self.rules = rules;
                self.share(now);
            }
            Input::Found { probe, finding, took_ms } => self.found(now, probe, finding, took_ms),
            Input::Told { decided } => self.told(now, decided),
            Input::Tick => {}
        }
        self.start(now, effects);
        self.tell(now, effects);
    }

    /// The earliest moment at which a `Tick` could change anything.
    pub fn next_deadline(&self) -> Option<Moment> {
        let room = self.running.len() < self.rules.at_once_max;
        let probe = self.due.first().filter(|_| room).map(|(due, _)| *due);
        let tell = (self.telling.is_none() && !self.flips.is_empty()).then_some(self.tell_from);
        probe.into_iter().chain(tell).min()
    }

    /// What there is, in numbers.
    pub fn counts(&self) -> Counts {
        Counts {
            mine: self.probed.values().filter(|probed| probed.mine).count(),
            running: self.running.len(),
            flips: self.flips.len(),
        }
    }

    fn service(&mut self, now: Moment, service: &ServiceKey, wanted: BTreeMap<InstanceKey, Wanted>) {
        let mut known = self.known.remove(service).unwrap_or_default();
        let mut gone = Vec::new();
        known.retain(|instance, probe| {
            let stays = wanted.contains_key(instance);
            gone.extend((!stays).then_some(*probe));
            stays
        });
        gone.into_iter().for_each(|probe| self.forget(probe));
        for (instance, wanted) in wanted {
            if let Some(probe) = known.get(&instance) {
                if let Some(probed) = self.probed.get_mut(probe)
                    && (probed.wanted.method, probed.wanted.setting) == (wanted.method, wanted.setting)
                {
                    probed.wanted.healthy = wanted.healthy;
                    if probed.flip == Some(wanted.healthy) {
                        probed.flip = None;
                        self.flips.remove(probe);
                    }
                    continue;
                }
                self.forget(*probe);
            }
            known.insert(instance.clone(), self.know(now, service, instance, wanted));
        }
        if !known.is_empty() {
            self.known.insert(service.clone(), known);
        }
    }

    fn know(&mut self, now: Moment, service: &ServiceKey, instance: InstanceKey, wanted: Wanted) -> ProbeId {
        self.next += 1;
        let probe = ProbeId(self.next);
        let pace = Pace::first(wanted.method, self.roll());
        let service = service.clone();
        let probed =
            Probed { service, instance, wanted, mine: false, pace, due: None, well: 0, ill: 0, flip: None };
        self.probed.insert(probe, probed);
        self.share_one(now, probe);
        probe
    }

    fn forget(&mut self, probe: ProbeId) {
        if let Some(due) = self.probed.remove(&probe).and_then(|probed| probed.due) {
            self.due.remove(&(due, probe));
        }
        self.flips.remove(&probe);
    }

    /// Shares all instances out anew.
    fn share(&mut self, now: Moment) {
        let all: Vec<ProbeId> = self.probed.keys().copied().collect();
        for probe in all {
            self.share_one(now, probe);
        }
    }

    /// Takes an instance on, or leaves it to another member.
    fn share_one(&mut self, now: Moment, probe: ProbeId) {
        let chance = self.roll();
        let Some(probed) = self.probed.get_mut(&probe) else { return };
        let prober = share::prober(&self.members, &probed.service, &probed.instance);
        let mine = self.rules.enabled && prober == Some(self.me);
        if mine == probed.mine {
            return;
        }
        (probed.mine, probed.well, probed.ill, probed.flip) = (mine, 0, 0, None);
        self.flips.remove(&probe);
        if let Some(due) = probed.due.take() {
            self.due.remove(&(due, probe));
        }
        if mine && !self.running.contains(&probe) {
            probed.pace = Pace::first(probed.wanted.method, chance);
            let due = Moment(now.0 + probed.pace.wait_ms(chance));
            probed.due = Some(due);
            self.due.insert((due, probe));
        }
    }

    /// Starts what is due, as long as there is room.
    fn start(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        while self.running.len() < self.rules.at_once_max
            && self.due.first().is_some_and(|(due, _)| *due <= now)
        {
            let Some((_, probe)) = self.due.pop_first() else { return };
            let Some(probed) = self.probed.get_mut(&probe) else { continue };
            probed.due = None;
            self.running.insert(probe);
            let (service, instance) = (probed.service.clone(), probed.instance.clone());
            effects.push(Effect::Probe { probe, service, instance });
        }
    }

    fn found(&mut self, now: Moment, probe: ProbeId, finding: Finding, took_ms: u64) {
        self.running.remove(&probe);
        let chance = self.roll();
        let Some(probed) = self.probed.get_mut(&probe).filter(|probed| probed.mine) else { return };
        probed.pace = probed.pace.after(probed.wanted.method, finding, took_ms);
        let due = Moment(now.0 + probed.pace.wait_ms(chance));
        probed.due = Some(due);
        self.due.insert((due, probe));
        probed.count(finding, &self.rules);
        match probed.flip {
            Some(_) => self.flips.insert(probe),
            None => self.flips.remove(&probe),
        };
    }

    /// Tells what flipped, if nothing is being told and it is this member's turn.
    fn tell(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.telling.is_some() || self.flips.is_empty() || now < self.tell_from {
            return;
        }
        let flips = self.flips.iter().take(FLIPS_MAX);
        let flips = flips.filter_map(|probe| Some((*probe, self.probed.get(probe)?)));
        let flips = flips.filter_map(|(probe, probed)| Some((probe, probed, probed.flip?)));
        let told = flips
            .clone()
            .map(|(_, probed, healthy)| (probed.service.clone(), probed.instance.clone(), healthy));
        effects.push(Effect::Tell { flips: told.collect() });
        self.telling = Some(flips.map(|(probe, _, healthy)| (probe, healthy)).collect());
        self.tell_from = Moment(now.0 + TELL_EVERY_MS * self.members.len().max(1) as u64);
    }

    fn told(&mut self, now: Moment, decided: bool) {
        let told = self.telling.take().unwrap_or_default();
        if !decided {
            self.tell_from = Moment(now.0 + TELL_AGAIN_MS);
            return;
        }
        for (probe, healthy) in told {
            let Some(probed) = self.probed.get_mut(&probe) else { continue };
            probed.wanted.healthy = healthy;
            if probed.flip == Some(healthy) {
                probed.flip = None;
                self.flips.remove(&probe);
            }
        }
    }

    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(1);
        share::mixed(self.dice)
    }
}

impl Probed {
    /// Counts a finding, and finds out whether what is shown is to be flipped.
    fn count(&mut self, finding: Finding, rules: &Rules) {
        let enough = match finding {
            Finding::Well => {
                (self.well, self.ill) = (self.well.saturating_add(1), 0);
                self.well >= rules.times
            }
            Finding::Soft => {
                (self.well, self.ill) = (0, self.ill.saturating_add(1));
                self.ill >= rules.times
            }
            Finding::Hard => {
                (self.well, self.ill) = (0, self.ill.saturating_add(1));
                self.ill >= rules.hard_times.min(rules.times)
            }
            Finding::Unable => return,
        };
        let healthy = finding == Finding::Well;
        if healthy == self.wanted.healthy {
            self.flip = None;
        } else if enough {
            self.flip = Some(healthy);
        } else if self.flip == Some(!healthy) {
            self.flip = None;
        }
    }
}

#[cfg(test)]
mod tests;
