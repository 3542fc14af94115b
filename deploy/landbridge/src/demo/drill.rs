//! The drill: what is broken, in which order, and what must hold meanwhile.
//!
//! Nothing here waits for a fixed time: each step waits for a condition until a deadline that a busy machine meets.

use std::time::{Duration, Instant};

use super::failover::{failover, normal};
use super::federation::{Federation, Part};
use super::layout::{GREETER, INSTANCES_PER_ZONE, REPORTS, ZONES};
use super::load::{Answerer, Call, Load, Tally};
use super::lookout::{Firsts, Guard, Lookout, Window};
use super::probe::propagation;
use super::report::Report;

/// Everything must be ready within this after the start.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// All timed registrations must be through within this.
const PROBED_WITHIN: Duration = Duration::from_secs(600);

/// What was broken must have healed within this.
const HEAL_WITHIN: Duration = Duration::from_secs(90);

/// The one promise in seconds: an origin that fell silent is marked stale.
const STALE_WITHIN: Duration = Duration::from_secs(15);

/// How long the mark is waited for at most.
const STALE_DEADLINE: Duration = Duration::from_secs(60);

/// A member that died for good is closed by its region after 60 s; its feed must be gone everywhere within this.
const CLOSED_WITHIN: Duration = Duration::from_secs(180);

/// So many calls in a row say how a line stands.
const IN_A_ROW: usize = 20;

/// So many calls of each line make a picture.
const PICTURE: usize = 120;

/// The region that everything happens to.
const VICTIM: usize = 0;

/// Instances of a service in one region.
const INSTANCES: usize = ZONES.len() * INSTANCES_PER_ZONE as usize;

/// A federation under load, and what is found out about it.
pub(super) struct Drill<'a> {
    pub(super) federation: &'a mut Federation,
    pub(super) lookout: Lookout,
    pub(super) report: &'a mut Report,
}

/// What calls of a line looked like before anything broke.
pub(super) struct Steady {
    zone: Duration,
}

impl Drill<'_> {
    fn name(&self, place: usize) -> &'static str {
        self.federation.layout.regions[place].name
    }

    /// Waits until everything runs, lets each region export everything, and waits until all see all.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        let Self { federation, lookout, report } = self;
        let mut missing = Vec::new();
        let ready = async || {
            missing = lookout.unready().await;
            missing.is_empty()
        };
        let are_ready = federation.until(READY_WITHIN, ready).await?;
        if !are_ready {
            return Err(format!("not ready after {} s: {}", READY_WITHIN.as_secs(), missing.join(", ")));
        }
        report.check("every process is ready", true, "");
        for place in 0..lookout.windows.len() {
            for (_, peer) in federation.layout.others(place) {
                lookout.windows[place].export_to(peer.name).await?;
            }
        }
        let begun = Instant::now();
        let windows = lookout.windows.clone();
        let see_all = federation.until(READY_WITHIN, async || all_see_all(&windows).await).await?;
        let took = format!("{:.1} s after the policies were set", begun.elapsed().as_secs_f64());
        report.check(
            "every registry lists the instances of all, and every gateway routes to them",
            see_all,
            &took,
        );
        self.show_origin().await;
        Ok(())
    }

    /// What a Nacos client is told about an instance of another region.
    async fn show_origin(&mut self) {
        let (victim, far) = (self.name(VICTIM), &self.lookout.windows[VICTIM + 1]);
        let listed = far.nacos_list(REPORTS).await.unwrap_or_default();
        let hosts = listed["hosts"].as_array().cloned().unwrap_or_default();
        let named = hosts.iter().filter(|host| host["metadata"]["landbridge.origin"] == victim).count();
        let sentence = format!("{}'s Nacos list of {REPORTS} shows the origin {victim}", far.region);
        self.report.check(
            &sentence,
            named == INSTANCES && hosts.len() == INSTANCES,
            &format!("{named} of {}", hosts.len()),
        );
    }

    /// Measures how long registrations in the first region take to the others.
    pub(super) async fn propagate(&mut self, count: usize) -> Result<(), String> {
        let layout = &self.federation.layout;
        let near = layout.regions[VICTIM].registry();
        let (names, far): (Vec<_>, Vec<_>) =
            layout.others(VICTIM).map(|(_, region)| (region.name, region.registry())).unzip();
        let mut found = None;
        let measured = propagation(near, &far, "probe", count);
        let mut measured = std::pin::pin!(measured);
        tokio::select! {
            done = &mut measured => found = Some(done?),
            died = self.federation.until(PROBED_WITHIN, async || false) => { died?; }
        }
        let found = found.unwrap_or_default();
        for (name, propagation) in names.iter().zip(&found) {
            let ms = |share| propagation.percentile(share).map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
            let value = format!("p50 {}, p99 {} ({count} registrations)", ms(0.5), ms(0.99));
            self.report.row(format!("propagation {} to {name}", self.name(VICTIM)), value);
        }
        let missing: usize = found.iter().map(|found| found.missing).sum();
        let arrived = missing == 0 && found.len() == names.len();
        self.report.check("every registration arrives everywhere", arrived, &format!("{missing} missing"));
        let windows = self.lookout.windows.clone();
        let gone = async || {
            for window in &windows {
                if window.services("probe").await != Some(0) {
                    return false;
                }
            }
            true
        };
        let gone = self.federation.until(HEAL_WITHIN, gone).await?;
        self.report.check("deregistering takes them away everywhere", gone, "");
        Ok(())
    }

    /// Nothing is broken: every call is answered, and where its caller is.
    pub(super) async fn steady(&mut self, load: &Load) -> Result<Steady, String> {
        let lines = self.lines();
        let at_home = self
            .federation
            .until(READY_WITHIN, async || {
                lines.iter().all(|line| line.stands(load, |answerer| line.is_home(answerer)))
            })
            .await?;
        let stray = lines.iter().find(|line| !line.stands(load, |answerer| line.is_home(answerer)));
        let seen = stray.filter(|_| !at_home).map_or_else(String::new, |line| {
            let last = load.last(line.through, line.service, IN_A_ROW);
            format!("{} through {}: {}", line.service, line.through, Tally::of(&last, |_| true).words())
        });
        self.report.check("callers are answered in their own zone", at_home, &seen);
        if !at_home {
            return Err("without answers from the own zone there is nothing to break".to_owned());
        }
        let since = Instant::now();
        self.picture(load, since).await?;
        let calls = load.ended_since(since);
        let tally = Tally::of(&calls, |_| true);
        self.report.check("every call is answered", tally.failed == 0, &tally.words());
        let strays = Tally::of(&calls, |call| {
            let line = lines.iter().find(|line| line.is_of(call));
            line.is_some_and(|line| !call.outcome.as_ref().is_ok_and(|answerer| line.is_home(answerer)))
        });
        self.report.check("no answer comes from elsewhere", strays.made == 0, &strays.words());
        let line = self.line(VICTIM, GREETER);
        let of_line: Vec<Call> = calls.into_iter().filter(|call| line.is_of(call)).collect();
        Ok(Steady { zone: normal(&of_line) })
    }

    /// The instances of the callers' zone die.
    pub(super) async fn zone_dies(&mut self, load: &Load, steady: &Steady) -> Result<(), String> {
        let (region, zone) = (self.name(VICTIM), ZONES[0]);
        let is_dead = |answerer: &Answerer| answerer.region == region && answerer.zone == zone;
        let saved = |answerer: &Answerer| answerer.region == region && answerer.zone != zone;
        self.report.talk.part(&format!("zone {zone} of {region} dies: its instances are killed"));
        let killed = Instant::now();
        self.federation.kill(VICTIM, &[Part::Samples(0)]);
        let lines = [self.line(VICTIM, GREETER), self.line(VICTIM, REPORTS)];
        let is_saved = async || lines.iter().all(|line| line.stands(load, saved));
        let is_saved = self.federation.until(HEAL_WITHIN, is_saved).await?;
        self.report.check("the other zone answers for it", is_saved, "");
        self.picture(load, killed).await?;
        self.failover_row("failover to another zone", load, killed, steady.zone, is_dead);
        self.report.talk.part(&format!("zone {zone} of {region} comes back"));
        self.federation.bring_back(VICTIM, &[Part::Samples(0)])?;
        self.returns_home(load, &lines).await?;
        self.none_lost("no call is lost when a zone dies and comes back", load, killed);
        Ok(())
    }

    /// All instances of a region die; its gateway and registry live on.
    pub(super) async fn region_empties(&mut self, load: &Load, steady: &Steady) -> Result<(), String> {
        let region = self.name(VICTIM);
        let parts: Vec<Part> = (0..ZONES.len()).map(Part::Samples).collect();
        load.pause(REPORTS);
        self.federation.until(HEAL_WITHIN, async || load.is_quiet(REPORTS)).await?;
        self.report.talk.part(&format!("all instances of {region} are killed"));
        let killed = Instant::now();
        self.federation.kill(VICTIM, &parts);
        let lines = [self.line(VICTIM, GREETER)];
        let away = |answerer: &Answerer| answerer.region != region;
        let is_saved = self.federation.until(HEAL_WITHIN, async || lines[0].stands(load, away)).await?;
        self.report.check("another region answers for it", is_saved, "");
        self.picture_of(load, killed, &lines).await?;
        self.failover_row("failover to another region", load, killed, steady.zone, |answerer| {
            !away(answerer)
        });
        self.report.talk.part(&format!("the instances of {region} come back"));
        self.federation.bring_back(VICTIM, &parts)?;
        self.returns_home(load, &lines).await?;
        let windows = self.lookout.windows.clone();
        let whole = self.federation.until(HEAL_WITHIN, async || all_see_all(&windows).await).await?;
        self.report.check("every region sees them again", whole, "");
        self.none_lost("no call is lost when a region's instances die and come back", load, killed);
        load.resume(REPORTS);
        let lines = self.lines();
        let answered = async || lines.iter().all(|line| line.stands(load, |answerer| line.is_home(answerer)));
        self.federation.until(HEAL_WITHIN, answered).await?;
        Ok(())
    }

    /// Registry and bridge of a region die; its instances live on.
    pub(super) async fn region_is_cut_off(&mut self, load: &Load) -> Result<Guard, String> {
        let region = self.name(VICTIM);
        let far = self.lookout.far(VICTIM);
        let guard = Guard::start(far.clone(), region, &[(GREETER, INSTANCES), (REPORTS, INSTANCES)]);
        self.report.talk.part(&format!("{region} is cut off: its registry and its bridge are killed"));
        let killed = Instant::now();
        self.federation.kill(VICTIM, &[Part::Registry, Part::Bridge]);
        let mut firsts = Firsts::new(far.len());
        let stale = async || {
            for (place, window) in far.iter().enumerate() {
                if window.is_stale(region, REPORTS).await == Some(true) {
                    firsts.note(place);
                }
            }
            firsts.last().is_some()
        };
        self.federation.until(STALE_DEADLINE, stale).await?;
        let took = firsts.last().map(|last| last.duration_since(killed));
        let seconds = took.map_or("never".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()));
        let in_time = took.is_some_and(|took| took <= STALE_WITHIN);
        let within = STALE_WITHIN.as_secs();
        self.report.check(&format!("the others mark it stale within {within} s"), in_time, &seconds);
        self.report.row("marked stale after", seconds);
        self.picture(load, Instant::now()).await?;
        let calls = load.ended_since(killed);
        let there = Tally::of(&calls, |call| call.service == REPORTS && call.through != region);
        self.report.check("others go on reaching what only it offers", there.failed == 0, &there.words());
        let own = self.line(VICTIM, GREETER);
        let here = Tally::of(&calls, |call| call.through == region);
        let at_home = own.stands(load, |answerer| own.is_home(answerer));
        self.report.check("its own gateway goes on serving", here.failed == 0 && at_home, &here.words());
        self.report.check("none of its instances disappears", guard.missed().is_none(), &missed(&guard));
        self.report.talk.part(&format!("{region} is back: its registry and its bridge start again"));
        let back = Instant::now();
        self.federation.bring_back(VICTIM, &[Part::Registry, Part::Bridge])?;
        self.heals(region, &far, back).await?;
        self.none_lost("no call is lost when a region is cut off and comes back", load, killed);
        Ok(guard)
    }

    /// Waits until a region that was cut off is whole and live for all.
    async fn heals(&mut self, region: &str, far: &[Window], back: Instant) -> Result<(), String> {
        let (lookout, windows) = (self.lookout.clone(), self.lookout.windows.clone());
        let mut unwell = String::new();
        let healed = async || {
            for window in far {
                if !window.is_live(region, REPORTS).await {
                    unwell = format!("not live in {}", window.region);
                    return false;
                }
            }
            let unready = lookout.unready().await;
            unwell = format!("not ready: {}", unready.join(", "));
            unready.is_empty() && all_see_all(&windows).await
        };
        let healed = self.federation.until(HEAL_WITHIN, healed).await?;
        let took = format!("{:.1} s", back.elapsed().as_secs_f64());
        let seen = if healed { &took } else { &unwell };
        self.report.check("it is live again for all, with every instance", healed, seen);
        self.report.row("live again after", if healed { took } else { "never".to_owned() });
        Ok(())
    }

    /// The feed of the member that was killed is closed by its region; its instances have long been taken over.
    pub(super) async fn old_feed_closes(
        &mut self,
        guard: &Guard,
        feeds: &[Option<usize>],
    ) -> Result<(), String> {
        let region = self.name(VICTIM);
        let windows = self.lookout.windows.clone();
        self.report.talk.part("the feed of the member that was killed is to be closed: about a minute");
        let closed = async || {
            for (window, before) in windows.iter().zip(feeds) {
                if window.feeds(region).await != *before {
                    return false;
                }
            }
            true
        };
        let closed = self.federation.until(CLOSED_WITHIN, closed).await?;
        self.report.check("the dead member's feed is closed everywhere", closed, "");
        let whole = self.federation.until(HEAL_WITHIN, async || all_see_all(&windows).await).await?;
        self.report.check(
            "no instance was missing anywhere at any time",
            whole && guard.missed().is_none(),
            &missed(guard),
        );
        self.report.row("instances lost", missed(guard));
        Ok(())
    }

    /// How many feeds of the first region each region holds.
    pub(super) async fn feeds(&self) -> Vec<Option<usize>> {
        let mut counts = Vec::new();
        for window in &self.lookout.windows {
            counts.push(window.feeds(self.name(VICTIM)).await);
        }
        counts
    }

    /// What the load saw in all.
    pub(super) fn close_load(&mut self, load: &Load) {
        let totals = load.totals();
        let seen = totals.first_failure.unwrap_or_default();
        self.report.check("no call of the whole demo failed", totals.failed == 0, &seen);
        self.report.row(
            "calls",
            format!("{} made, {} failed, {} skipped", totals.made, totals.failed, load.skipped()),
        );
    }

    /// Waits until a line's callers are answered in their own zone again.
    async fn returns_home(&mut self, load: &Load, lines: &[Line]) -> Result<(), String> {
        let home = async || lines.iter().all(|line| line.stands(load, |answerer| line.is_home(answerer)));
        let home = self.federation.until(HEAL_WITHIN, home).await?;
        self.report.check("its callers are answered at home again", home, "");
        Ok(())
    }

    fn none_lost(&mut self, sentence: &str, load: &Load, since: Instant) {
        let tally = Tally::of(&load.ended_since(since), |_| true);
        self.report.check(sentence, tally.failed == 0, &tally.words());
    }

    fn failover_row(
        &mut self,
        what: &str,
        load: &Load,
        killed: Instant,
        normal: Duration,
        dead: impl Fn(&Answerer) -> bool,
    ) {
        let line = self.line(VICTIM, GREETER);
        let calls: Vec<Call> = load.ended_since(killed).into_iter().filter(|call| line.is_of(call)).collect();
        let slowest = calls.iter().map(|call| call.took.as_millis()).max().unwrap_or_default();
        let value = match failover(&calls, killed, normal, dead) {
            Some(took) => format!("{} ms (slowest answer {slowest} ms)", took.as_millis()),
            None => format!("not yet normal (slowest answer {slowest} ms)"),
        };
        self.report.row(what, value);
    }

    /// Waits until each line has a picture of calls since then.
    async fn picture(&mut self, load: &Load, since: Instant) -> Result<(), String> {
        let lines = self.lines();
        self.picture_of(load, since, &lines).await
    }

    async fn picture_of(&mut self, load: &Load, since: Instant, lines: &[Line]) -> Result<(), String> {
        let enough = async || {
            let calls = load.ended_since(since);
            lines.iter().all(|line| calls.iter().filter(|call| line.is_of(call)).count() >= PICTURE)
        };
        self.federation.until(HEAL_WITHIN, enough).await.map(drop)
    }

    fn line(&self, place: usize, service: &'static str) -> Line {
        Line { through: self.name(place), service, victim: self.name(VICTIM) }
    }

    fn lines(&self) -> Vec<Line> {
        let places = 0..self.federation.layout.regions.len();
        places.flat_map(|place| [GREETER, REPORTS].map(|service| self.line(place, service))).collect()
    }
}

/// The calls of one service through one gateway.
#[derive(Clone, Copy)]
struct Line {
    through: &'static str,
    service: &'static str,
    victim: &'static str,
}

impl Line {
    fn is_of(&self, call: &Call) -> bool {
        call.through == self.through && call.service == self.service
    }

    /// Whether an answer came from the nearest place there is.
    fn is_home(&self, answerer: &Answerer) -> bool {
        if self.service == REPORTS && self.through != self.victim {
            return answerer.region == self.victim;
        }
        answerer.region == self.through && answerer.zone == ZONES[0]
    }

    /// Whether the last calls were all answered as they should be.
    fn stands(&self, load: &Load, should: impl Fn(&Answerer) -> bool) -> bool {
        let last = load.last(self.through, self.service, IN_A_ROW);
        last.len() == IN_A_ROW && last.iter().all(|call| call.outcome.as_ref().is_ok_and(&should))
    }
}

/// Whether every registry lists the instances of every region, and every gateway routes to them.
async fn all_see_all(windows: &[Window]) -> bool {
    let expected = [(REPORTS, INSTANCES), (GREETER, INSTANCES * windows.len())];
    for window in windows {
        for (service, count) in expected {
            let listed = window.instances(service).await.map(|listed| listed.len());
            if (listed, window.routed(service).await) != (Some(count), Some(count)) {
                return false;
            }
        }
    }
    true
}

fn missed(guard: &Guard) -> String {
    match guard.missed() {
        Some((count, region)) => format!("{count} missing in {region} for a while"),
        None => "0".to_owned(),
    }
}
