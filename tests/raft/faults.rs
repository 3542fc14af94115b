//! The faults of one run, planned from its seed: cuts, one-way cuts, held and released links, crashes of one and of all.

use std::{collections::BTreeMap, time::Duration};

use landbridge_tests::sim::dice::Dice;
use turmoil::Sim;

use crate::member::Seat;

/// One thing that happens to the network or to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Cut(u16, u16),
    CutOneWay(u16, u16),
    Mend(u16, u16),
    Hold(u16, u16),
    Release(u16, u16),
    Crash(u16),
    Start(u16),
}

/// What happens when.
pub struct Faults {
    members: u16,
    due: BTreeMap<Duration, Vec<Fault>>,
}

impl Faults {
    /// Trouble for so long.
    pub fn plan(dice: &mut Dice, members: u16, trouble: Duration) -> Self {
        let mut plan = Self { members, due: BTreeMap::new() };
        // Time to begin.
        let mut at = 1_500;
        while Duration::from_millis(at) < trouble {
            let lasts = 100 + dice.roll() % 3_000;
            plan.one(dice, at, at + lasts);
            at += 200 + dice.roll() % 2_500;
        }
        plan
    }

    fn one(&mut self, dice: &mut Dice, from: u64, to: u64) {
        let member = 1 + (dice.roll() % u64::from(self.members)) as u16;
        let other = 1 + member % self.members;
        match dice.roll() % 7 {
            0 | 1 => {
                for other in self.others(member) {
                    self.when(from, Fault::Cut(member, other));
                    self.when(to, Fault::Mend(member, other));
                }
            }
            2 => {
                for other in self.others(member) {
                    let cut = if dice.chance(0.5) { (member, other) } else { (other, member) };
                    self.when(from, Fault::CutOneWay(cut.0, cut.1));
                    self.when(to, Fault::Mend(member, other));
                }
            }
            3 => {
                self.when(from, Fault::Hold(member, other));
                self.when(to, Fault::Release(member, other));
            }
            4 | 5 => {
                self.when(from, Fault::Crash(member));
                self.when(to, Fault::Start(member));
            }
            _ => {
                for member in 1..=self.members {
                    self.when(from, Fault::Crash(member));
                    self.when(to - dice.roll() % 100, Fault::Start(member));
                }
            }
        }
    }

    fn others(&self, member: u16) -> impl Iterator<Item = u16> + use<> {
        (1..=self.members).filter(move |other| *other != member)
    }

    fn when(&mut self, at_ms: u64, fault: Fault) {
        self.due.entry(Duration::from_millis(at_ms)).or_default().push(fault);
    }

    /// Does what is due.
    pub fn due(&mut self, sim: &mut Sim<'_>) {
        while let Some(first) = self.due.first_entry().filter(|entry| *entry.key() <= sim.elapsed()) {
            for fault in first.remove() {
                carry_out(fault, sim);
            }
        }
    }

    /// Trouble is over: everything is mended, everybody runs.
    pub fn end(&mut self, sim: &mut Sim<'_>) {
        self.due.clear();
        for member in 1..=self.members {
            for other in self.others(member) {
                carry_out(Fault::Release(member, other), sim);
                carry_out(Fault::Mend(member, other), sim);
            }
            carry_out(Fault::Start(member), sim);
        }
    }
}

fn carry_out(fault: Fault, sim: &mut Sim<'_>) {
    let host = Seat::host;
    match fault {
        Fault::Cut(a, b) => sim.partition(host(a), host(b)),
        Fault::CutOneWay(a, b) => sim.partition_oneway(host(a), host(b)),
        Fault::Mend(a, b) => sim.repair(host(a), host(b)),
        Fault::Hold(a, b) => sim.hold(host(a), host(b)),
        Fault::Release(a, b) => sim.release(host(a), host(b)),
        Fault::Crash(member) if sim.is_host_running(host(member)) => sim.crash(host(member)),
        Fault::Start(member) if !sim.is_host_running(host(member)) => sim.bounce(host(member)),
        Fault::Crash(_) | Fault::Start(_) => {}
    }
}
