//! The gateways of a region tell each other what is asked of them, and share limits by it.
//!
//! They find each other as everybody finds them: registered as `landbridge-gateway`, with the port for other gateways,
//! where certificates say who is there. What the parts are is decided by `Sharing`, here it is said and heard.
//!
//! Invariant: one task owns what is known; cores read finished parts, and no call waits for a neighbour.

mod line;
mod page;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use ecow::{EcoString, eco_format};
use landbridge_client::Table;
use landbridge_gateway_core::{
    Demands, Sharing, Word,
    sharing::{FLOOR, PEERS_MAX},
};
use landbridge_model::{Moment, Region, ServiceKey};
use landbridge_runtime::{dice, shutdown::Shutdown, tls::Identity};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::line::{Ended, Line, Place, exchange};
use crate::{
    config::{Config, LimitSharing},
    limiter::{Parts, Shares},
    metrics::{LIMIT_EXCHANGES, LIMIT_KEYS, LIMIT_KEYS_CUT, NEIGHBOURS},
    presence::GATEWAYS,
    relay::RELAY_PORT_KEY,
    view::Shared,
};

pub(crate) use self::page::answering;

/// Words of neighbours that wait to be heard; more are refused, and said again in the next round.
pub(crate) const WORDS_MAX: usize = 64;

/// A demand below this is none, in calls a second.
const DEMAND_MIN: f64 = 0.01;

/// A neighbour's word, and where the answer to it is awaited.
pub(crate) struct Told {
    pub(crate) word: Word,
    pub(crate) answer: oneshot::Sender<Word>,
}

/// What one gateway knows of its neighbours, and its lines to them.
pub(crate) struct Neighbours {
    sharing: Sharing,
    identity: Identity,
    home: Region,
    shares: Shares,
    shared: Arc<Shared>,
    places: BTreeMap<EcoString, Place>,
    lines: BTreeMap<EcoString, Line>,
    /// To whom a word is on its way.
    busy: BTreeSet<EcoString>,
    exchanges: JoinSet<Ended>,
    /// What is asked of each key, over some rounds.
    demands: Demands,
    counted_at: Instant,
    /// In the last round some had no room.
    cuts: bool,
}

/// Who is spoken to: as a table has it that names this gateway itself. Any other is short of somebody, perhaps of all.
fn known(
    before: BTreeMap<EcoString, Place>,
    mut told: BTreeMap<EcoString, Place>,
    own: &str,
) -> BTreeMap<EcoString, Place> {
    if told.contains_key(own) {
        return told;
    }
    for (name, place) in before {
        if told.len() < PEERS_MAX {
            told.entry(name).or_insert(place);
        }
    }
    told
}

impl Neighbours {
    /// A gateway with neighbours, if it shows itself and others may call it. `first` is the port it registers.
    pub(crate) fn new(
        config: &Config,
        first: Option<&SocketAddr>,
        shares: Shares,
        shared: Arc<Shared>,
        identity: Option<Identity>,
    ) -> Option<Self> {
        config.relay.as_ref()?.listen?;
        let name = eco_format!("{}:{}", config.presence.as_ref()?.address, first?.port());
        Some(Self {
            sharing: Sharing::new(name, dice::seed()),
            identity: identity?,
            home: config.home.region.clone(),
            shares,
            shared,
            places: BTreeMap::new(),
            lines: BTreeMap::new(),
            busy: BTreeSet::new(),
            exchanges: JoinSet::new(),
            demands: Demands::new(),
            counted_at: Instant::now(),
            cuts: false,
        })
    }

    /// Talks with the neighbours until the end.
    pub(crate) async fn talk(
        mut self,
        mut tables: watch::Receiver<Arc<Table>>,
        mut told: mpsc::Receiver<Told>,
        shutdown: Shutdown,
    ) {
        let mut followed = true;
        self.list(&tables.borrow_and_update().clone());
        let mut next = self.round();
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                changed = tables.changed(), if followed => {
                    followed = changed.is_ok();
                    let table = tables.borrow_and_update().clone();
                    if self.list(&table) {
                        next = self.round();
                    }
                }
                Some(Told { word, answer }) = told.recv() => {
                    self.sharing.hear(self.now(), self.settings().kept_ms, word);
                    self.share();
                    // Who asked may have gone meanwhile.
                    let _ = answer.send(self.sharing.word());
                }
                Some(ended) = self.exchanges.join_next() => {
                    if let Ok(ended) = ended {
                        self.take(ended);
                    }
                }
                () = sleep_until(next) => next = self.round(),
            }
        }
    }

    fn now(&self) -> Moment {
        Moment(self.shared.clock.now())
    }

    fn settings(&self) -> LimitSharing {
        self.shared.view.load().settings.sharing
    }

    /// Takes note of who is registered. True if there is somebody new.
    fn list(&mut self, table: &Table) -> bool {
        let service = ServiceKey::parse("", "", GATEWAYS).expect("a constant that is a valid name");
        let near = table.endpoints(&service).iter().filter(|one| one.origin == self.home && one.enabled);
        let place = |one: &landbridge_client::Endpoint| {
            let port = one.metadata.value(RELAY_PORT_KEY)?.parse().ok()?;
            let name = eco_format!("{}:{}", one.ip, one.port);
            Some((name, Place { address: one.ip.clone(), port }))
        };
        let told: BTreeMap<_, _> = near.filter(|one| one.healthy).filter_map(place).collect();
        self.places = known(std::mem::take(&mut self.places), told, self.sharing.name());
        self.lines.retain(|name, _| self.places.contains_key(name));
        self.sharing.list(self.now(), self.places.keys().cloned())
    }

    /// Tells everybody what is asked of this gateway, and returns when to do so again.
    fn round(&mut self) -> Instant {
        let settings = self.settings();
        let demands = self.count(settings.keys_max);
        metrics::gauge!(LIMIT_KEYS).set(demands.len() as f64);
        let word = self.sharing.begin(self.now(), settings.kept_ms, demands);
        self.share();
        let within = Duration::from_millis(settings.every_ms);
        for (name, place) in self.places.iter().filter(|(name, _)| **name != word.from) {
            // Who is still busy with the last round hears the next one.
            if self.busy.insert(name.clone()) {
                let (line, place) = (self.lines.remove(name), place.clone());
                let (identity, home) = (self.identity.clone(), self.home.clone());
                let asking = exchange(name.clone(), place, line, identity, home, word.clone(), within);
                self.exchanges.spawn(asking);
            }
        }
        let (all, reached) = self.sharing.others(self.now(), settings.kept_ms);
        metrics::gauge!(NEIGHBOURS, "state" => "reached").set(reached as f64);
        metrics::gauge!(NEIGHBOURS, "state" => "silent").set((all - reached) as f64);
        Instant::now() + within
    }

    /// Counts what was asked since the last round; tells the keys that are asked more than their least part gives.
    fn count(&mut self, keys_max: usize) -> Demands {
        let now = Instant::now();
        let seconds = now.duration_since(self.counted_at).as_secs_f64().max(0.001);
        self.counted_at = now;
        let mut fresh = BTreeMap::new();
        for rule in self.shared.view.load().rules.iter() {
            rule.asked(|name, asked, limit| {
                let before = self.demands.get(name).copied();
                let asked = asked as f64 / seconds;
                // The mean of the last rounds, the newest for half of it: a bursting key keeps its part between bursts.
                let demand = before.map_or(asked, |before| f64::midpoint(before, asked));
                if demand > DEMAND_MIN {
                    fresh.insert(name.clone(), (demand, limit));
                }
            });
        }
        self.demands = fresh.iter().map(|(name, (demand, _))| (name.clone(), *demand)).collect();
        let floor = FLOOR / self.shares.load().gateways as f64;
        let mut hot: Vec<_> =
            fresh.into_iter().filter(|(_, (demand, limit))| *demand > floor * limit).collect();
        hot.sort_by(|(_, (one, a)), (_, (two, b))| f64::total_cmp(&(two / b), &(one / a)));
        let all = hot.len();
        let mut bytes = 0;
        let told = hot.into_iter().take(keys_max).take_while(|(name, _)| {
            bytes += page::bytes_of(name);
            bytes <= page::DEMANDS_BYTES_MAX
        });
        let told: Demands = told.map(|(name, (demand, _))| (name, demand)).collect();
        self.tell_of_cut(all - told.len());
        told
    }

    /// Says how many keys had no room: of those each gateway has its even part, or its least.
    fn tell_of_cut(&mut self, cut: usize) {
        metrics::gauge!(LIMIT_KEYS_CUT).set(cut as f64);
        if (cut > 0) != self.cuts {
            self.cuts = cut > 0;
            tracing::warn!(
                event = "limit_keys_cut",
                cut,
                "keys of limits are asked for that are not told of"
            );
        }
    }

    /// Notes how an exchange ended.
    fn take(&mut self, ended: Ended) {
        let Ended { name, round, heard } = ended;
        self.busy.remove(&name);
        let outcome = match heard {
            Ok((line, word)) => {
                let (now, kept_ms) = (self.now(), self.settings().kept_ms);
                self.sharing.hear(now, kept_ms, word);
                self.sharing.noted(now, kept_ms, &name, round);
                self.lines.insert(name, line);
                self.share();
                "answered"
            }
            Err(error) => {
                tracing::debug!(event = "neighbour_not_reached", %name, error);
                "failed"
            }
        };
        metrics::counter!(LIMIT_EXCHANGES, "outcome" => outcome).increment(1);
    }

    /// Lets all buckets hold to the newest parts.
    fn share(&self) {
        let of = self.sharing.keys().map(|key| (key.clone(), self.sharing.part(key))).collect();
        let (others, _) = self.sharing.others(self.now(), 0);
        // No key is called nothing: this is the part of all that nobody speaks of.
        self.shares.store(Arc::new(Parts { gateways: others + 1, rest: self.sharing.part(""), of }));
        for rule in self.shared.view.load().rules.iter() {
            rule.share();
        }
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::Address;

    use super::*;

    #[test]
    fn a_table_without_this_gateway_takes_nobody_away() {
        let places = |names: &[&str]| {
            let place = |name: &&str| {
                let place = Place { address: Address::parse("10.0.0.1").unwrap(), port: 1 };
                (EcoString::from(*name), place)
            };
            names.iter().map(place).collect::<BTreeMap<_, _>>()
        };
        let names = |before: &[&str], told: &[&str]| {
            known(places(before), places(told), "own").into_keys().collect::<Vec<_>>().join(" ")
        };

        assert_eq!(names(&["a", "own"], &[]), "a own");
        assert_eq!(names(&["a", "own"], &["b"]), "a b own");
        assert_eq!(names(&["a", "own"], &["b", "own"]), "b own");
    }
}
