//! Callers at the gateways, what their calls must reach, and the fresh writes at the end.

use landbridge_gateway_core::{Choice, Decision, Endpoint, Outcome, pick};
use landbridge_model::Moment;

use crate::sim::{
    core::Core,
    gateway::{EJECT_MS, FAILURES_MAX, Gateway, PROBATION_MS, RULES},
    invariants::{Held, Invariant, blamed, fresh, left, reached},
    names::{self, KEYS},
    tally::Event,
    world::{Checked, World},
};

/// In how many ticks a fresh write must have reached everybody.
const FRESH: usize = 40;

/// What the tries of one call saw.
#[derive(Default)]
struct Told {
    first: Option<Choice>,
    tries: usize,
    reached: bool,
}

impl World {
    /// Each gateway is called once for every service, and keeps its table.
    pub fn gateways_tick(&mut self) -> Checked {
        for n in self.gateways.concat() {
            if !self.nodes[n].is_up() || !self.is_awake(n) {
                continue;
            }
            self.check_table(n)?;
            let mut missed = 0;
            for k in 0..KEYS {
                missed += usize::from(!self.call(n, k)?);
            }
            if let Some(Core::Gateway(gateway)) = &mut self.nodes[n].core {
                gateway.missed = missed;
            }
            if !self.nodes[n].has_slow_disk || self.dice.chance(0.1) {
                let unix_ms = self.unix_ms(n);
                self.nodes[n].keepsake = self.nodes[n].gateway().map(|gateway| gateway.keep(unix_ms));
            }
        }
        Ok(())
    }

    /// One call; false when it was answered, but not at the first try.
    fn call(&mut self, n: usize, k: usize) -> Result<bool, String> {
        let (now, lot) = (self.now(), self.dice.roll());
        let Some(gateway) = self.nodes[n].gateway() else { return Ok(true) };
        let Some(service) = gateway.service(&names::service(k)).cloned() else { return Ok(true) };
        let living = |at: u32| {
            let spec = service.endpoint(at);
            self.answers(n, names::region_number(&spec.region), k, spec.port)
        };
        let alive: Vec<bool> = (0..service.endpoints().len() as u32).map(living).collect();
        let mut told = Told::default();
        let mut tried = Vec::new();
        let mut outcomes = Vec::new();
        while tried.len() < alive.len() {
            let dice = lot.wrapping_add(tried.len() as u64);
            let Decision::Use(choice) = pick(&RULES, &service, service.home(), now, dice, &tried) else {
                break;
            };
            told.first.get_or_insert(choice);
            told.tries += 1;
            let answered = alive[choice.endpoint as usize];
            let outcome = match answered {
                true => Outcome::Answered { latency_us: 2_000 },
                false => Outcome::Failed { latency_us: 300 },
            };
            service.report(choice.endpoint, &RULES.health, now, outcome);
            outcomes.push((service.endpoint(choice.endpoint).state.serial(), answered));
            told.reached |= answered;
            if answered {
                break;
            }
            tried.push(choice.endpoint);
        }
        self.note(Event::Call);
        self.calls = (self.calls.0 + 1, self.calls.1 + u64::from(told.reached));
        self.check_call(n, k, &service, &alive, &told)?;
        if let Some(Core::Gateway(gateway)) = &mut self.nodes[n].core {
            outcomes.into_iter().for_each(|(serial, answered)| gateway.blame(serial, answered, now));
        }
        Ok(told.tries <= 1)
    }

    /// Whether somebody answers at an address: a client's process that lives, on a path that is not cut.
    fn answers(&self, gateway: usize, o: usize, k: usize, port: u16) -> bool {
        let is_its = |client: &crate::sim::clients::Client| {
            (client.region, client.key) == (o, k) && client.instances().any(|instance| instance.port == port)
        };
        // An instance stands in the same room as one of the members.
        let room = self.members[o][k % self.members[o].len()];
        let is_linked = !self.cut[gateway][room] && !self.cut[room][gateway];
        is_linked && self.clients.iter().any(|client| client.wants && is_its(client))
    }

    /// G2: a call reaches somebody if the gateway lists anybody who answers. G3: who failed often enough gets no first
    /// tries for a while.
    fn check_call(
        &self,
        n: usize,
        k: usize,
        service: &landbridge_gateway_core::Service,
        alive: &[bool],
        told: &Told,
    ) -> Checked {
        let at = |held: Held| held.map_err(|why| format!("{why}: key {k}"));
        self.judge_at(n, Invariant::Reached, at(reached::check(told.reached, alive)))?;
        let (Some(first), Some(gateway)) = (told.first, self.nodes[n].gateway()) else { return Ok(()) };
        let is_out = gateway.is_blamed(service.endpoint(first.endpoint).state.serial(), self.now());
        self.judge_at(n, Invariant::Blamed, at(blamed::check(is_out, first.panic)))?;
        let Some(drill) = gateway.drill.as_ref().filter(|drill| drill.keeps(self.now()) == 0.0) else {
            return Ok(());
        };
        let is_left = drill.covers(&service.endpoint(first.endpoint).spec);
        let others = service.endpoints().iter().filter(|endpoint| !drill.covers(&endpoint.spec));
        let is_well = |e: &Endpoint| {
            e.spec.healthy && !e.spec.stale && gateway.never_failed(e.state.serial(), self.now())
        };
        let others: Vec<bool> = others.map(is_well).collect();
        let others_are_well = !others.is_empty() && !others.contains(&false);
        self.judge_at(n, Invariant::Left, at(left::check(is_left, others_are_well)))
    }

    /// After everything has come together, one more write in each region must reach everybody.
    pub fn write_fresh(&mut self) -> Checked {
        for r in 0..self.regions() {
            let alone = |c: &usize| {
                let client = &self.clients[*c];
                client.region == r && !self.twins.contains(&(r, client.key))
            };
            let usable = self.usable(r);
            if let (Some(c), false) = ((0..self.clients.len()).find(alone), usable.is_empty()) {
                let home = self.clients[c].member.map(|(n, _)| n).filter(|_| !self.clients[c].beats);
                let n = home.unwrap_or_else(|| self.dice.pick(&usable));
                self.note(Event::FreshWrite);
                self.register(c, n, true)?;
            }
            self.put_persistent(r);
        }
        self.log(|| "fresh writes".into());
        let differs = self.come_together(FRESH)?;
        self.judge(Invariant::Fresh, fresh::check(differs.as_deref()))
    }
}

impl Gateway {
    /// Takes down how a try ended.
    fn blame(&mut self, serial: u64, answered: bool, now: Moment) {
        let is_first = self.never_failed(serial, now);
        let blamed = self.blamed.entry(serial).or_default();
        if answered {
            blamed.failures = 0;
            return;
        }
        // Later ejections last longer, by rules of their own; only a row of failures long after any other is judged.
        if blamed.failures == 0 {
            blamed.is_first = is_first;
        }
        blamed.failures += 1;
        blamed.failed = Some(now.0);
        if blamed.failures == FAILURES_MAX && blamed.is_first {
            blamed.until = now.0 + EJECT_MS;
        }
    }

    /// Whether an endpoint has not failed for so long that it is in rotation for sure.
    fn never_failed(&self, serial: u64, now: Moment) -> bool {
        let failed = self.blamed.get(&serial).and_then(|blamed| blamed.failed);
        failed.is_none_or(|failed| now.0 > failed + RULES.health.eject_max_ms + PROBATION_MS)
    }

    /// Whether an endpoint must be out of rotation.
    fn is_blamed(&self, serial: u64, now: Moment) -> bool {
        self.blamed.get(&serial).is_some_and(|blamed| now.0 < blamed.until)
    }
}
