//! Troubles that only whole federations meet: pauses, power cuts, lone regions, slow disks, clocks that jump far.

use std::sync::Arc;

use landbridge_feed::Input as FeedInput;
use landbridge_gateway_core::Evacuation;
use landbridge_model::{Definition, Metadata};
use landbridge_registry_core::{Command, Input};

use crate::sim::{
    core::Core,
    names,
    tally::Event,
    world::{Cause, Checked, World},
};

/// How far a clock jumps at most, in ticks: an hour.
const JUMP: i64 = 1200;

impl World {
    /// One trouble, by a number of which the first two fifths are other faults.
    pub fn trouble(&mut self, x: f64, r: usize) -> Checked {
        let all: Vec<_> = (0..self.nodes.len()).collect();
        if (0.40..0.47).contains(&x) {
            let n = self.dice.pick(&all);
            self.nodes[n].paused = self.t + self.dice.range(1, 14);
            self.note(Event::Pause);
            self.log(|| format!("{n} stands still until {}", self.nodes[n].paused));
        } else if (0.47..0.478).contains(&x) {
            self.power_cut(&all);
        } else if (0.48..0.50).contains(&x) {
            let n = self.dice.pick(&all);
            self.nodes[n].has_slow_disk = !self.nodes[n].has_slow_disk;
            self.note(Event::SlowDisk);
        } else if (0.50..0.53).contains(&x) {
            let (n, disk) = (self.dice.pick(&self.gateways[r]), self.dice.chance(0.8));
            self.crash(n, disk);
            self.nodes[n].wake = self.t + self.dice.range(0, 4);
        } else if (0.53..0.55).contains(&x) {
            self.leave_alone(r);
        } else if (0.55..0.56).contains(&x) {
            let n = self.dice.pick(&all);
            self.nodes[n].skew = self.dice.range(-JUMP, JUMP);
            self.note(Event::ClockJump);
            self.log(|| format!("the clock of {n} jumps to {} ticks off", self.nodes[n].skew));
        } else if (0.56..0.57).contains(&x) {
            let n = self.dice.pick(&self.members[r]);
            if self.is_awake(n) {
                let origin = names::region(r);
                self.step(n, Input::Release { origin }, Cause::Other)?;
                self.note(Event::Release);
            }
        } else if (0.57..0.58).contains(&x) {
            self.delete_persistent(r)?;
        } else if (0.58..0.60).contains(&x) {
            self.evacuate(r);
        } else if (0.60..0.61).contains(&x) {
            self.define(r)?;
        } else if (0.61..0.64).contains(&x) {
            self.look_or_resync(r)?;
        }
        Ok(())
    }

    /// All processes of all regions lose power at once, and are back soon.
    fn power_cut(&mut self, all: &[usize]) {
        self.log(|| "power cut of everything".into());
        self.note(Event::PowerCut);
        for n in all {
            self.crash(*n, true);
            self.nodes[*n].wake = self.t + self.dice.range(1, 4);
        }
    }

    /// A region loses all others, both ways or one way.
    fn leave_alone(&mut self, r: usize) {
        let (out, back) = self.dice.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        let near = self.region_nodes(r);
        for o in (0..self.regions()).filter(|o| *o != r) {
            for a in &near {
                for b in self.region_nodes(o) {
                    self.cut[*a][b] |= out;
                    self.cut[b][*a] |= back;
                }
            }
        }
        self.note(Event::LoneRegion);
        self.log(|| format!("region {r} is left alone, out: {out}, in: {back}"));
    }

    /// An operator takes a persistent instance back, at some member.
    fn delete_persistent(&mut self, r: usize) -> Checked {
        let able: Vec<_> =
            self.members[r].iter().copied().filter(|m| self.nodes[*m].is_up() && self.is_awake(*m)).collect();
        if able.is_empty() {
            return Ok(());
        }
        let (n, p) = (self.dice.pick(&able), self.dice.range(0, 2) as usize);
        let command = Command::DeletePersistent { service: names::persistent(p), key: names::instance(r) };
        self.note(Event::PersistentDelete);
        let ticket = self.ticket();
        self.step(n, Input::Submit { ticket, command }, Cause::Other)
    }

    /// A gateway's operator sends calls away from a region for a while.
    fn evacuate(&mut self, r: usize) {
        let (n, from) =
            (self.dice.pick(&self.gateways[r]), self.dice.range(0, self.regions() as i64) as usize);
        let (begun, ramp_ms) = (self.now(), self.dice.pick(&[0, 9_000]));
        let until = begun.after(self.dice.pick(&[30_000, 90_000]));
        let Some(Core::Gateway(gateway)) = &mut self.nodes[n].core else { return };
        let (zone, services) = (None, None);
        gateway.evacuate(Evacuation { region: names::region(from), zone, services, begun, ramp_ms, until });
        self.note(Event::Evacuation);
        self.log(|| format!("gateway {n} leaves region {from}"));
    }

    /// A bridge's operator compares a region with what its bridge says, or has all copies of it rebuilt.
    fn look_or_resync(&mut self, r: usize) -> Checked {
        let (n, o) = (self.dice.pick(&self.bridges[r]), self.another_region(r));
        let (is_look, region) = (self.dice.chance(0.5), names::region(o));
        if !self.nodes[n].is_up() || !self.is_awake(n) {
            return Ok(());
        }
        self.log(|| format!("bridge {n} {} region {o}", if is_look { "looks at" } else { "resyncs" }));
        self.note(if is_look { Event::Look } else { Event::Resync });
        let input = if is_look { FeedInput::Look { region } } else { FeedInput::Resync { region } };
        self.ask_bridge(n, input)
    }

    /// An operator gives a service a definition, at some member.
    fn define(&mut self, r: usize) -> Checked {
        let usable = self.usable(r);
        if usable.is_empty() {
            return Ok(());
        }
        let (n, k) = (self.dice.pick(&usable), self.dice.range(0, names::KEYS as i64) as usize);
        let definition = Arc::new(Definition { protect_threshold: 0.0, metadata: Metadata::default() });
        let command = Command::Define { service: names::service(k), definition };
        self.note(Event::Definition);
        let ticket = self.ticket();
        self.step(n, Input::Submit { ticket, command }, Cause::Other)
    }
}
