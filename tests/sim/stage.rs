//! Plays scenarios: two regions of three members, two bridges and a gateway each, production code inside, and nothing happens
//! but what the script says. Every invariant of the simulator holds at every tick here too.

use landbridge_feed::Standing;
use landbridge_model::{FeedId, Life, Moment, Record};
use landbridge_registry_core::{Command, Input};

use crate::sim::{
    clients::Client,
    core::Core,
    names::{self, KEYS},
    script::{Deed, Group, Place, REGIONS, deed},
    shape::Shape,
    story::Story,
    times,
    world::{Cause, World},
};

/// Calls that one question at a gateway makes.
const CALLS: u64 = 100;

/// How long an evacuation lasts here, in milliseconds: an hour.
const DRILL_MS: u64 = 3_600_000;

/// Plays a scenario and gives the whole text as it should stand: what was told stays, answers are told anew.
///
/// # Errors
/// A line that is not understood, with its number, or a promise that did not hold.
pub fn scenario(text: &str) -> Result<String, String> {
    let mut stage = Stage::set()?;
    let mut told = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(words) = line.strip_prefix('>') else {
            let is_answer = line.starts_with("  ");
            told.extend((!is_answer).then(|| line.to_owned()));
            continue;
        };
        let number = at + 1;
        let deed = deed(words.trim()).map_err(|why| format!("line {number}: {why}"))?;
        told.push(line.to_owned());
        let answers = stage.play(&deed).map_err(|why| format!("line {number}, `{}`: {why}", words.trim()))?;
        told.extend(answers.into_iter().map(|answer| format!("  {answer}")));
    }
    Ok(told.join("\n") + "\n")
}

struct Stage {
    world: World,
    /// The values that were registered, in the order in which they were first seen.
    values: Vec<u64>,
}

impl Stage {
    /// Everybody is up and ready, and nobody has registered.
    fn set() -> Result<Self, String> {
        let mut world = World::build(1, Shape::Stage, Story::default());
        (world.ring, world.credit, world.slowness) = (64, 65_536, 0.0);
        (world.corrupts, world.is_calm, world.is_deployed) = (false, true, true);
        world.quiet = true;
        world.clients.clear();
        world.twins.clear();
        world.begin()?;
        let mut stage = Self { world, values: Vec::new() };
        stage.pass(60)?;
        Ok(stage)
    }

    fn pass(&mut self, seconds: i64) -> Result<(), String> {
        (0..seconds / times::TICK_S).try_for_each(|_| self.world.tick())
    }

    fn play(&mut self, deed: &Deed) -> Result<Vec<String>, String> {
        match deed {
            Deed::Wait(seconds) => self.pass(*seconds)?,
            Deed::Register { service, at, beats } => return self.register(*service, at, *beats),
            Deed::Deregister { service, at } => {
                let n = self.one(at)?;
                let c = self.client(self.world.nodes[n].region, *service)?;
                self.world.deregister(c, n)?;
            }
            Deed::Move { service, to } => {
                let n = self.one(to)?;
                let c = self.client(self.world.nodes[n].region, *service)?;
                self.world.cut_connection(c, Some(0));
                self.world.register(c, n, false)?;
            }
            Deed::Vanish { service, of } => {
                let c = self.client(*of, *service)?;
                self.world.cut_connection(c, Some(0));
                let client = &mut self.world.clients[c];
                (client.wants, client.acknowledged) = (false, None);
            }
            Deed::Persist { service, at } => {
                let n = self.one(at)?;
                self.world.next_value += 1;
                let (service, key) =
                    (names::persistent(*service), names::instance(self.world.nodes[n].region));
                let instance = names::valued(self.world.next_value);
                self.world.propose(n, Command::PutPersistent { service, key, instance });
            }
            Deed::Crash { who, disk } => self.crash(&self.all(who)?, *disk),
            Deed::Start(who) => {
                for n in self.all(who)? {
                    self.world.nodes[n].wake = self.world.t;
                }
            }
            Deed::Drain(who) => {
                let n = self.one(who)?;
                self.world.nodes[n].drain = Some(self.world.t);
                self.world.step(n, Input::Drain, Cause::Other)?;
            }
            Deed::Save => (0..self.world.nodes.len()).for_each(|n| self.world.save_all(n)),
            Deed::Corrupt { service, of, at } => self.corrupt(*service, *of, at)?,
            Deed::Cut(one, other) => {
                let (one, other) = (self.all(one)?, self.all(other)?);
                for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
                    (self.world.cut[a][b], self.world.cut[b][a]) = (a != b, a != b);
                }
            }
            Deed::Heal => self.world.heal(),
            Deed::Policy { from, to, services } => {
                let mask = services.iter().fold(0, |mask, service| mask | 1 << service);
                self.world.set_policy(*from, *to, mask)?;
            }
            Deed::Evacuate { region, at } => self.evacuate(*region, at)?,
            Deed::Show { service, of } => return Ok(self.show(|stage, n| stage.shown(n, *of, *service))),
            Deed::ShowPersistent { service, of } => {
                return Ok(self.show(|stage, n| stage.shown_persistent(n, *of, *service)));
            }
            Deed::Status(of) => return Ok(self.status(*of)),
            Deed::Call { service, at } => return self.call(*service, at),
        }
        Ok(Vec::new())
    }

    fn register(&mut self, service: usize, at: &Place, beats: bool) -> Result<Vec<String>, String> {
        let n = self.one(at)?;
        let r = self.world.nodes[n].region;
        let c = self.client(r, service).unwrap_or_else(|_| {
            self.world.clients.push(Client::new(r, service, beats));
            self.world.clients.len() - 1
        });
        let is_written = self.world.register(c, n, true)?;
        Ok(if is_written { Vec::new() } else { vec!["refused".to_owned()] })
    }

    fn crash(&mut self, who: &[usize], disk: bool) {
        for n in who {
            self.world.crash(*n, disk);
            // Until it is started.
            self.world.nodes[*n].wake = i64::MAX;
        }
    }

    /// A value on a disk changes silently, and its process restarts on it.
    fn corrupt(&mut self, service: usize, of: usize, at: &Place) -> Result<(), String> {
        let n = self.one(at)?;
        self.world.save_all(n);
        self.crash(&[n], true);
        self.world.nodes[n].wake = self.world.t;
        // From here on wrong things may be shown until they are repaired.
        self.world.corrupts = true;
        let key = names::record_key(of, service);
        let saved = self.world.nodes[n].disk.values_mut().find(|saved| saved.records.contains_key(&key));
        let saved = saved.ok_or("it has nothing of that service on its disk")?;
        saved.is_dirty = true;
        if let Some(Record::Registration(held)) = saved.records.get_mut(&key) {
            held.life = Life::Session(names::valued(0));
        }
        Ok(())
    }

    fn evacuate(&mut self, region: usize, at: &Place) -> Result<(), String> {
        let (n, now) = (self.one(at)?, self.world.now());
        let Some(Core::Gateway(gateway)) = &mut self.world.nodes[n].core else {
            return Err("only gateways evacuate".into());
        };
        gateway.evacuate(landbridge_gateway_core::Evacuation {
            region: names::region(region),
            zone: None,
            services: None,
            begun: now,
            ramp_ms: 0,
            until: Moment(now.0 + DRILL_MS),
        });
        Ok(())
    }

    fn client(&self, r: usize, service: usize) -> Result<usize, String> {
        let found = self.world.clients.iter().position(|client| (client.region, client.key) == (r, service));
        found.ok_or_else(|| format!("nobody has registered s{service} in {}", REGIONS[r]))
    }

    /// The processes of a place.
    fn all(&self, place: &Place) -> Result<Vec<usize>, String> {
        let world = &self.world;
        Ok(match place {
            Place::All => (0..world.nodes.len()).collect(),
            Place::Region(r) => world.region_nodes(*r),
            Place::Leader(r) => {
                vec![world.groups[*r].leader.ok_or_else(|| format!("{} has no leader", REGIONS[*r]))?]
            }
            Place::Group(r, group, number) => {
                let group = match group {
                    Group::Members => &world.members[*r],
                    Group::Bridges => &world.bridges[*r],
                    Group::Gateways => &world.gateways[*r],
                };
                match number {
                    None => group.clone(),
                    Some(at) => {
                        let found = at.checked_sub(1).and_then(|at| group.get(at));
                        vec![*found.ok_or_else(|| format!("there are only {} of these", group.len()))?]
                    }
                }
            }
        })
    }

    fn one(&self, place: &Place) -> Result<usize, String> {
        match self.all(place)?.as_slice() {
            [one] => Ok(*one),
            several => Err(format!("one process is meant here, not {}", several.len())),
        }
    }

    fn name(&self, n: usize) -> String {
        let world = &self.world;
        let initial = &REGIONS[world.nodes[n].region][..1];
        let groups = [(&world.members, ""), (&world.bridges, "b"), (&world.gateways, "g")];
        let found = groups.iter().find_map(|(groups, letter)| {
            let at = groups[world.nodes[n].region].iter().position(|known| *known == n)?;
            Some(format!("{initial}{letter}{}", at + 1))
        });
        found.unwrap_or_default()
    }

    fn value(&mut self, value: u64) -> String {
        if value == 0 {
            return "a wrong value".to_owned();
        }
        let known = self.values.iter().position(|known| *known == value);
        let at = known.unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        format!("v{}", at + 1)
    }

    /// What each process says, those together that say the same.
    fn show(&mut self, ask: impl Fn(&mut Self, usize) -> String) -> Vec<String> {
        let mut said: Vec<(String, Vec<String>)> = Vec::new();
        for n in 0..self.world.nodes.len() {
            let (node, name) = (&self.world.nodes[n], self.name(n));
            let text = match (node.is_up(), node.is_member() && !node.ready) {
                (false, _) => "down".to_owned(),
                (true, true) => "starting".to_owned(),
                (true, false) => ask(self, n),
            };
            match said.iter_mut().find(|(known, _)| *known == text) {
                Some((_, who)) => who.push(name),
                None => said.push((text, vec![name])),
            }
        }
        said.into_iter().map(|(text, who)| format!("{text}: {}", who.join(" "))).collect()
    }

    fn shown(&mut self, n: usize, of: usize, service: usize) -> String {
        let region = names::region(of);
        let Some(holder) = self.world.nodes[n].holder() else { return "down".to_owned() };
        let shown = holder.shown(&region, &names::service(service));
        let Some(shown) = shown.into_iter().next() else { return "nothing".to_owned() };
        let standing = holder.status(&region).map(|status| status.standing);
        let is_stale = self.world.nodes[n].region != of && standing == Some(Standing::Frozen);
        let writer = self.world.writers.get(&shown.feed).map(|(writer, _)| self.name(*writer));
        let mut text =
            format!("{} from {}", self.value(names::value_of(&shown.instance)), writer.unwrap_or_default());
        for (is_so, mark) in [(shown.unverified, ", unverified"), (is_stale, ", stale")] {
            text.push_str(if is_so { mark } else { "" });
        }
        text
    }

    fn shown_persistent(&mut self, n: usize, of: usize, service: usize) -> String {
        let Some(holder) = self.world.nodes[n].holder() else { return "down".to_owned() };
        let shown = holder.shown(&names::region(of), &names::persistent(service));
        let value = shown.first().map(|shown| names::value_of(&shown.instance));
        value.map_or("nothing".to_owned(), |value| self.value(value))
    }

    fn status(&self, of: usize) -> Vec<String> {
        let writers = self.world.groups[of].listed().into_iter().map(|feed: FeedId| {
            let (writer, life) = self.world.writers.get(&feed).copied().unwrap_or_default();
            let node = &self.world.nodes[writer];
            let is_over = !node.is_up() || node.life != life;
            format!("{}{}", self.name(writer), if is_over { " (an earlier life)" } else { "" })
        });
        let feeds = writers.collect::<Vec<_>>().join(", ");
        let leads = |leader: usize| self.world.leading(of, leader).is_some_and(|leading| leading.quorum);
        let leader = match self.world.groups[of].leader {
            Some(leader) if leads(leader) => "a leader with a quorum",
            Some(_) => "a leader without a quorum",
            None => "no leader",
        };
        vec![format!("{leader}; open feeds: {feeds}")]
    }

    /// Where the first tries of calls go.
    fn call(&self, service: usize, at: &Place) -> Result<Vec<String>, String> {
        debug_assert!(service < KEYS, "the script knows no other");
        let n = self.one(at)?;
        let gateway = self.world.nodes[n].gateway().ok_or("only gateways are called")?;
        let Some(service) = gateway.service(&names::service(service)) else {
            return Ok(vec!["nobody is listed".to_owned()]);
        };
        let mut counts = [0; REGIONS.len()];
        let mut nobody = 0;
        for call in 0..CALLS {
            match gateway.choose(service, self.world.now(), call.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
                Some(endpoint) => counts[names::region_number(&service.endpoint(endpoint).region)] += 1,
                None => nobody += 1,
            }
        }
        let listed = (0..service.endpoints().len() as u32).map(|at| {
            let spec = service.endpoint(at);
            let marks = [(spec.unverified, ", unverified"), (spec.stale, ", stale")];
            let marks: String = marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark).collect();
            format!("{}{marks}", spec.region)
        });
        let listed = listed.collect::<Vec<_>>().join("; ");
        let went = REGIONS.iter().zip(counts).filter(|(_, count)| *count > 0);
        let mut went: Vec<_> = went.map(|(region, count)| format!("{count} to {region}")).collect();
        went.extend((nobody > 0).then(|| format!("{nobody} to nobody")));
        Ok(vec![format!("listed: {listed}"), format!("of {CALLS} calls: {}", went.join(", "))])
    }
}
