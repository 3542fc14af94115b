//! Holds back a mass loss of another region's instances: so many gone at once are more likely a fault on the way than a wish
//! (protection between regions).
//!
//! ```text
//! calm ──more than the share and the floor within the window──▶ held (all that the window lost)
//! held ──two matching verifications, an operator, or too long──▶ gone        held ──told of again──▶ as its record says
//! ```
//!
//! A verification matches if the feed that showed what was lost compared equal with its writer's own word (R25), and so did
//! every other feed of the region whose writer is heard: the instance may have moved there. Of a feed that was closed nobody
//! has a word any more: then all listed feeds must have compared equal, for any of them may have it.
//! Invariant: copies know nothing of this; it only adds to what is shown (R23).
//! Invariant: a deregistration, a narrower export policy and an eviction are never held, and count as no loss.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use landbridge_feed::{Holder, Loss, Shown};
use landbridge_model::{FeedId, ImportPolicy, InstanceKey, Region, ServiceKey, View};

use crate::settings::Limits;

/// Matching verifications of a feed, after which what is held of it is let go.
const ROUNDS: usize = 2;

/// What is held back of all other regions.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    origins: BTreeMap<Region, Origin>,
}

/// What one region lost.
#[derive(Debug, Default)]
struct Origin {
    /// How much was lost in which tick of the window.
    losses: VecDeque<(u32, usize)>,
    /// What the window let go; it is held after all if more follows.
    lately: VecDeque<(u32, Loss)>,
    /// By the names that services have here.
    held: BTreeMap<ServiceKey, BTreeMap<InstanceKey, Held>>,
    /// How many are held.
    count: usize,
    /// What each listed feed was last found equal with.
    compared: BTreeMap<FeedId, Compared>,
    /// Under which policies the region was seen when the hold began.
    seen: Seen,
}

/// The matching verifications of one feed.
#[derive(Debug, Default)]
struct Compared {
    /// The newest one's number.
    newest: u64,
    /// The ticks in which the last [`ROUNDS`] were found, oldest first.
    ticks: VecDeque<u32>,
}

/// The region's export policy and the own import policy, as far as they are known.
type Seen = (Option<View>, Option<Arc<ImportPolicy>>);

#[derive(Debug)]
pub(crate) struct Held {
    /// The service's name at its origin.
    pub service: ServiceKey,
    /// What was shown, without overlay.
    pub shown: Shown,
    since: u32,
}

impl Imports {
    /// Takes losses of one region; tells which services show something held from here on.
    pub fn take(
        &mut self,
        tick: u32,
        region: &Region,
        lost: Vec<Loss>,
        holder: &Holder,
        limits: &Limits,
    ) -> BTreeSet<ServiceKey> {
        let origin = self.origins.entry(region.clone()).or_default();
        origin.forget_before(tick.saturating_sub(limits.import_window_ticks));
        origin.compare(tick, region, holder);
        origin.losses.push_back((tick, lost.len()));
        let gone: usize = origin.losses.iter().map(|(_, count)| count).sum();
        let of = holder.shown_count(region) + gone;
        origin.lately.extend(lost.into_iter().map(|loss| (tick, loss)));
        if gone <= limits.import_floor || gone * 100 <= of * limits.import_percent {
            let over = origin.lately.len().saturating_sub(limits.import_held_max);
            origin.lately.drain(..over);
            return BTreeSet::new();
        }
        origin.hold(region, holder, limits)
    }

    /// A service of a region differs: what its records tell of counts, and is held no more.
    pub fn told_of(&mut self, region: &Region, service: &ServiceKey, holder: &Holder) {
        let Some(origin) = self.origins.get_mut(region) else { return };
        let Some(held) = origin.held.get_mut(service) else { return };
        let before = held.len();
        held.retain(|key, held| holder.winner(region, &held.service, key).is_none());
        origin.count -= before - held.len();
        if held.is_empty() {
            origin.held.remove(service);
        }
    }

    /// Lets go what is verified or has been held for too long; tells which services show less.
    pub fn tick(&mut self, tick: u32, holder: &Holder, limits: &Limits) -> Vec<ServiceKey> {
        let mut touched = Vec::new();
        for (region, origin) in &mut self.origins {
            origin.forget_before(tick.saturating_sub(limits.import_window_ticks));
            if origin.count == 0 {
                continue;
            }
            if origin.seen != seen(region, holder) {
                touched.extend(origin.release());
                continue;
            }
            origin.compare(tick, region, holder);
            let proof = origin.proof(region, holder);
            let is_over = |held: &Held| {
                proof.since(&held.shown.feed) > held.since
                    || tick.saturating_sub(held.since) >= limits.hold_max_ticks
            };
            origin.held.retain(|service, held| {
                let before = held.len();
                held.retain(|_, held| !is_over(held));
                if held.len() < before {
                    origin.count -= before - held.len();
                    touched.push(service.clone());
                }
                !held.is_empty()
            });
        }
        self.origins.retain(|_, origin| origin.count > 0 || !origin.losses.is_empty());
        touched
    }

    /// An operator lets everything of a region go; tells which services show less.
    pub fn release(&mut self, region: &Region) -> Vec<ServiceKey> {
        self.origins.get_mut(region).map(Origin::release).unwrap_or_default()
    }

    /// What is held of a region's service, by its name here, in key order.
    pub fn held(&self, region: &Region, service: &ServiceKey) -> impl Iterator<Item = &Held> {
        let held = self.origins.get(region).and_then(|origin| origin.held.get(service));
        held.into_iter().flat_map(|held| held.values())
    }

    /// The services of a region of which something is held, by their names here.
    pub fn services(&self, region: &Region) -> impl Iterator<Item = &ServiceKey> {
        self.origins.get(region).into_iter().flat_map(|origin| origin.held.keys())
    }

    /// How many are held, by region; regions of which none is held are left out.
    pub fn counts(&self) -> impl Iterator<Item = (&Region, usize)> {
        self.origins
            .iter()
            .filter(|(_, origin)| origin.count > 0)
            .map(|(region, origin)| (region, origin.count))
    }
}

impl Origin {
    /// Forgets what the window has left behind.
    fn forget_before(&mut self, first: u32) {
        while self.losses.front().is_some_and(|(tick, _)| *tick <= first && first > 0) {
            self.losses.pop_front();
        }
        while self.lately.front().is_some_and(|(tick, _)| *tick <= first && first > 0) {
            self.lately.pop_front();
        }
    }

    /// Holds all that the window lost and nobody has told of since.
    fn hold(&mut self, region: &Region, holder: &Holder, limits: &Limits) -> BTreeSet<ServiceKey> {
        if self.count == 0 {
            self.seen = seen(region, holder);
        }
        let mut touched = BTreeSet::new();
        for (since, Loss { service, shown, .. }) in std::mem::take(&mut self.lately) {
            let is_told_of = holder.winner(region, &service, &shown.key).is_some();
            let name = holder.local_name(region, &service).filter(|_| !is_told_of);
            let Some(name) = name.filter(|_| self.count < limits.import_held_max) else { continue };
            let held = Held { service, since, shown };
            let place = self.held.entry(name.clone()).or_default();
            if place.insert(held.shown.key.clone(), held).is_none() {
                self.count += 1;
            }
            touched.insert(name);
        }
        touched
    }

    /// Notes which feeds have compared equal once more.
    fn compare(&mut self, tick: u32, region: &Region, holder: &Holder) {
        let listed = holder.directory(region);
        self.compared.retain(|feed, _| listed.contains_key(feed));
        for feed in listed.keys() {
            let compared = self.compared.entry(feed.clone()).or_default();
            let newest = holder.verified(feed);
            if newest > compared.newest {
                compared.newest = newest;
                compared.ticks.push_back(tick);
                let over = compared.ticks.len().saturating_sub(ROUNDS);
                compared.ticks.drain(..over);
            }
        }
    }

    /// What is proven of the region's feeds at the moment.
    fn proof(&self, region: &Region, holder: &Holder) -> Proof {
        let listed = holder.directory(region).keys();
        let since = |feed: &FeedId| {
            let ticks = self.compared.get(feed).map(|compared| &compared.ticks);
            ticks.filter(|ticks| ticks.len() == ROUNDS).map_or(0, |ticks| ticks[0])
        };
        let each: BTreeMap<FeedId, u32> = listed.map(|feed| (feed.clone(), since(feed))).collect();
        let heard = each.iter().filter(|(feed, _)| !holder.unverified(feed));
        let heard = heard.map(|(_, since)| *since).min().unwrap_or(u32::MAX);
        let all = each.values().copied().min().unwrap_or(0);
        Proof { each, heard, all }
    }

    fn release(&mut self) -> Vec<ServiceKey> {
        self.count = 0;
        std::mem::take(&mut self.held).into_keys().collect()
    }
}

/// Since which ticks, each exclusive, feeds of a region have been found equal [`ROUNDS`] times; 0: not so often.
struct Proof {
    /// By listed feed.
    each: BTreeMap<FeedId, u32>,
    /// All whose writers are heard.
    heard: u32,
    /// All that are listed.
    all: u32,
}

impl Proof {
    /// What a feed lost before this tick, its writer or everybody who may have it has confirmed.
    fn since(&self, feed: &FeedId) -> u32 {
        self.each.get(feed).map_or(self.all, |own| self.heard.min(*own))
    }
}

fn seen(region: &Region, holder: &Holder) -> Seen {
    let view = holder.copy(&FeedId::Raft(region.clone())).map(|copy| copy.view().clone());
    (view, holder.import(region).cloned())
}

/// Losses of one step, by region.
pub(crate) fn by_region(lost: &[Loss]) -> BTreeMap<Region, Vec<Loss>> {
    let mut regions: BTreeMap<Region, Vec<Loss>> = BTreeMap::new();
    for loss in lost {
        regions.entry(loss.region.clone()).or_default().push(loss.clone());
    }
    regions
}
