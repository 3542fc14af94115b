//! Probes the persistent instances that fall to this member, and tells the region what it found.
//!
//! Invariant: a probe takes at most the time to connect and the time to answer, and holds nothing else up meanwhile.
//! Invariant: nobody is made to probe this machine or its link (cloud metadata) unless the configuration allows it.

pub(crate) mod checker;
mod dialled;
mod http;
mod mysql;
mod touched;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use landbridge_model::{InstanceKey, MemberId, Moment, ServiceKey};
use landbridge_registry_core::{
    Command, Input as CoreInput, ServiceView,
    probing::{Effect, Finding, Input, Method, ProbeId, Prober, Rules, Wanted},
};
use landbridge_runtime::{dice, shutdown::Shutdown};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tracing::warn;

pub(crate) use self::{checker::CLUSTER, touched::Touched};
use crate::{
    config::Probes,
    member::Shared,
    metrics,
    orders::{Answered, Failed},
};

/// How often changed services, members and rules are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What came of a task.
enum Done {
    Found { probe: ProbeId, method: Method, finding: Finding, took: Duration },
    Told { flips: usize, result: Result<Answered, Failed> },
}

/// What the loop holds.
struct Probing {
    shared: Arc<Shared>,
    prober: Prober,
    tasks: JoinSet<Done>,
    effects: Vec<Effect>,
    members: Vec<MemberId>,
    rules: Rules,
    /// The last batch of flips came to nothing.
    undecided: bool,
}

/// Probes until the shutdown begins.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: Shutdown) {
    let rules = rules(&shared);
    let prober = Prober::new(shared.member, rules, dice::seed());
    let members = vec![shared.member];
    let (tasks, effects) = (JoinSet::new(), Vec::new());
    let mut probing = Probing { shared, prober, tasks, effects, members, rules, undecided: false };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let deadline = probing.prober.next_deadline().map(|moment| moment.0);
        let clock = probing.shared.clock;
        tokio::select! {
            () = shutdown.wait() => return,
            Some(done) = probing.tasks.join_next() => probing.done(done),
            _ = look.tick() => probing.look(),
            () = clock.reach(deadline) => probing.step(Input::Tick),
        }
    }
}

/// What the configuration and the region's switches say.
fn rules(shared: &Shared) -> Rules {
    let (desk, Probes { enabled, hard_times, at_once_max, .. }) = (shared.desk(), shared.probes);
    let switches = desk.switches();
    Rules {
        enabled: enabled && switches.health_check_enabled,
        times: switches.check_times,
        hard_times,
        at_once_max,
    }
}

impl Probing {
    /// Takes in what changed since the last look.
    fn look(&mut self) {
        let rules = rules(&self.shared);
        if rules != self.rules {
            self.rules = rules;
            self.step(Input::Rules(rules));
        }
        let sight = self.shared.state.sight();
        let mut members: Vec<MemberId> =
            sight.feeds.iter().filter(|feed| !feed.silent).map(|feed| feed.member).collect();
        members.sort_unstable();
        members.dedup();
        if members != self.members {
            self.members.clone_from(&members);
            self.step(Input::Members(members));
        }
        for service in self.shared.state.touched.take() {
            let wanted = wanted(&self.shared.window.face(&service).view);
            self.step(Input::Service { service, wanted });
        }
        let counts = self.prober.counts();
        metrics::probing(counts.mine, counts.running, counts.flips);
    }

    fn step(&mut self, input: Input) {
        let now = Moment(self.shared.clock.now());
        self.prober.step(now, input, &mut self.effects);
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Probe { probe, service, instance } => self.probe(probe, &service, instance),
                Effect::Tell { flips } => self.tell(flips),
            }
        }
    }

    /// Probes in a task of its own, as the cluster's checker says at this moment.
    fn probe(&mut self, probe: ProbeId, service: &ServiceKey, instance: InstanceKey) {
        let face = self.shared.window.face(service);
        let cluster = instance.cluster.as_str();
        let method = checker::sketch(&face.view.metadata, cluster).map_or(Method::Tcp, |(method, _)| method);
        let checker = checker::of(&face.view.metadata, cluster);
        let limits = self.shared.probes;
        let begun = tokio::time::Instant::now();
        self.tasks.spawn(async move {
            let finding = match checker {
                Ok(Some(checker)) => dialled::probe(&instance, &checker, limits).await,
                // Nobody is to say how it is any more; the look that says so is under way.
                Ok(None) => Finding::Unable,
                Err(why) => {
                    warn!(event = "checker_unreadable", why, "the instances of a cluster cannot be probed");
                    Finding::Unable
                }
            };
            Done::Found { probe, method, finding, took: begun.elapsed() }
        });
    }

    /// Proposes flips to the region.
    fn tell(&mut self, flips: Vec<(ServiceKey, InstanceKey, bool)>) {
        let (orders, count) = (self.shared.orders.clone(), flips.len());
        metrics::probe_flips(flips.iter().filter(|(.., healthy)| *healthy).count(), count);
        let command = Command::SetHealth { flips };
        self.tasks.spawn(async move {
            let result = orders.ask(|ticket| CoreInput::Submit { ticket, command }).await;
            Done::Told { flips: count, result }
        });
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let Ok(done) = done else {
            // A probe that died has said nothing and keeps its place; that must never happen, so it is loud.
            tracing::error!(event = "probe_died");
            return;
        };
        match done {
            Done::Found { probe, method, finding, took } => {
                metrics::probed(method, finding, took);
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                self.step(Input::Found { probe, finding, took_ms });
            }
            Done::Told { flips, result } => {
                let decided = result.is_ok();
                if !decided && !self.undecided {
                    warn!(
                        event = "health_undecided",
                        flips,
                        ?result,
                        "probed instances keep the health they had"
                    );
                }
                self.undecided = !decided;
                self.step(Input::Told { decided });
            }
        }
    }
}

/// What is to be probed of a service: its own region's persistent instances, where a checker is.
fn wanted(view: &ServiceView) -> BTreeMap<InstanceKey, Wanted> {
    let mut sketches = BTreeMap::new();
    let hosts = view.hosts.iter().filter(|host| host.persistent && host.origin.is_none());
    let wanted = hosts.filter_map(|host| {
        let sketch = sketches
            .entry(&host.key.cluster)
            .or_insert_with(|| checker::sketch(&view.metadata, host.key.cluster.as_str()));
        let (method, setting) = (*sketch)?;
        Some((host.key.clone(), Wanted { method, setting, healthy: host.instance.healthy }))
    });
    wanted.collect()
}
