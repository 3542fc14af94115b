//! What a member shows: the view of a service, joined over origins as visibility says.

use std::sync::Arc;

use landbridge_feed::{Shown, Standing};
use landbridge_model::{Instance, Metadata, Moment, Namespace, Region, ServiceKey, Showing};

use super::Member;
use crate::{
    input::{Effect, Phase},
    outcome::Kind,
    services::Facts,
    settings::Visibility,
    view::{Host, ORIGIN, ServiceView},
};

impl Member {
    /// The view of a service as it is at this moment, none if it does not exist. Each call is a revision: the server
    /// calls it after [`Effect::Touched`] and publishes what it gets.
    pub fn view(&mut self, now: Moment, service: &ServiceKey) -> Option<ServiceView> {
        let shown = self.holder.shown(&self.settings.region, service);
        let facts = self.facts(service, &shown);
        self.want_port(service, facts.remote > 0);
        self.services.look(service, facts, self.tick, &self.settings.limits);
        let reference = &self.reference;
        let state = self.services.state_mut(service)?;
        state.revision += 1;
        state.last_ref_ms = reference.next(now, state.last_ref_ms);
        let (revision, last_ref_ms, kind) = (state.revision, state.last_ref_ms, state.kind);
        let definition = self.holder.definition(&self.settings.region, service);
        let mut hosts = self.local(service, shown);
        let shadowed = self.remote(service, &mut hosts);
        Some(ServiceView {
            service: service.clone(),
            revision,
            last_ref_ms,
            defined: definition.is_some(),
            kind,
            protect_threshold: definition.map_or(0.0, |definition| definition.protect_threshold),
            metadata: definition.map(|definition| definition.metadata.clone()).unwrap_or_default(),
            hosts,
            shadowed,
        })
    }

    /// All services of a namespace that exist, in key order.
    pub fn services(&self, namespace: &Namespace) -> impl Iterator<Item = &ServiceKey> {
        self.services.of(namespace)
    }

    /// What the instances of a service are, none before the first.
    pub(super) fn kind(&mut self, service: &ServiceKey) -> Option<Kind> {
        if self.persistent.contains_key(service) {
            return Some(Kind::Persistent);
        }
        let known = self.services.state(service).and_then(|state| state.kind);
        if known == Some(Kind::Ephemeral) || !self.services.is_dirty(service) {
            return known;
        }
        let facts = self.facts(service, &self.holder.shown(&self.settings.region, service));
        match (facts.persistent > 0, facts.ephemeral > 0) {
            (true, _) => Some(Kind::Persistent),
            (false, true) => Some(Kind::Ephemeral),
            (false, false) => known,
        }
    }

    /// Looks at what has changed or is due, and says so where that changes a view.
    pub(super) fn look_at_services(&mut self, effects: &mut Vec<Effect>) {
        for service in self.services.dirty() {
            self.look(&service);
        }
        for service in self.services.timed() {
            if self.look(&service) {
                self.touch(&service, effects);
            }
        }
    }

    pub(super) fn look(&mut self, service: &ServiceKey) -> bool {
        let facts = self.facts(service, &self.holder.shown(&self.settings.region, service));
        self.want_port(service, facts.remote > 0);
        self.services.look(service, facts, self.tick, &self.settings.limits)
    }

    fn facts(&self, service: &ServiceKey, shown: &[Shown]) -> Facts {
        let persistent = shown.iter().filter(|shown| shown.persistent).count();
        let healthy = |shown: &&Shown| shown.instance.healthy && shown.instance.enabled;
        let visible = self.others().filter(|region| self.visibility(region) != Visibility::Hidden);
        let remote = visible.map(|region| self.shown_of(region, service).len()).sum();
        Facts {
            ephemeral: shown.len() - persistent,
            persistent,
            healthy: shown.iter().filter(healthy).count(),
            remote,
            defined: self.holder.definition(&self.settings.region, service).is_some(),
        }
    }

    /// The regions whose instances may show. None while nobody is answered: copies come from disk in any order, and
    /// a service whose local ones are yet to come must not look as if it had never had any.
    pub(super) fn others(&self) -> impl Iterator<Item = &Region> {
        let answering = self.phase != Phase::Starting;
        self.holder.regions().filter(move |region| answering && **region != self.settings.region)
    }

    /// Questions are answered from here on: what other regions show counts.
    pub(super) fn open_to_others(&mut self, effects: &mut Vec<Effect>) {
        let services: Vec<_> = self.others().flat_map(|region| self.holder.services(region)).collect();
        for service in services {
            self.touch(&service, effects);
        }
    }

    /// The own region's instances, in key order as the holder gives them.
    fn local(&self, service: &ServiceKey, shown: Vec<Shown>) -> Vec<Host> {
        // A leaving member refuses beats, so that they go where their record can move to.
        let own = self.holder.own().filter(|_| self.drain.is_none());
        let mut beating = self.claims.beating(service).peekable();
        let host = |shown: Shown| {
            let Shown { key, instance, persistent, unverified, feed, stamp: _ } = shown;
            while beating.next_if(|(beats, _)| **beats < key).is_some() {}
            let mine = !persistent && Some(&feed) == own;
            let slot = beating.peek().filter(|(beats, _)| mine && **beats == key).map(|(_, slot)| *slot);
            let unverified = unverified || slot.is_some_and(|slot| self.hold.holds(slot));
            let instance = unlabelled(instance);
            Host { key, instance, persistent, origin: None, unverified, stale: false, slot }
        };
        shown.into_iter().map(host).collect()
    }

    /// Adds what other regions show, where that is wanted and its key is free; tells how many were not free.
    fn remote(&self, service: &ServiceKey, hosts: &mut Vec<Host>) -> usize {
        let (mut shadowed, mut by_gateway) = (0, false);
        for region in self.others() {
            let visibility = self.visibility(region);
            if !self.services.remote_shown(service, visibility) {
                continue;
            }
            if let Visibility::Gateway { .. } = visibility {
                by_gateway = true;
                continue;
            }
            let stale = self.standings.get(region) == Some(&Standing::Frozen);
            for Shown { key, instance, persistent, unverified, .. } in self.shown_of(region, service) {
                let at = match hosts.binary_search_by(|host| host.key.cmp(&key)) {
                    Ok(_) => {
                        shadowed += 1;
                        continue;
                    }
                    Err(at) => at,
                };
                let (instance, origin) = (labelled(&instance, region), Some(region.clone()));
                hosts.insert(at, Host { key, instance, persistent, origin, unverified, stale, slot: None });
            }
        }
        if by_gateway {
            shadowed += self.gateways(service, hosts);
        }
        shadowed
    }

    /// How a region shows to plain clients: as its import policy says, else as this member is set to.
    fn visibility(&self, region: &Region) -> Visibility {
        match self.holder.import(region).and_then(|policy| policy.visibility) {
            None => self.settings.visibility,
            Some(Showing::Failover) => Visibility::Failover,
            Some(Showing::Merge) => Visibility::Merge,
            Some(Showing::Hidden) => Visibility::Hidden,
        }
    }
}

/// An instance of the own region as registered; a client does not name its own origin.
fn unlabelled(instance: Arc<Instance>) -> Arc<Instance> {
    if instance.metadata.value(ORIGIN).is_none() {
        return instance;
    }
    let pairs = instance.metadata.pairs().iter().filter(|(key, _)| key != ORIGIN).cloned();
    let metadata = Metadata::new(pairs).unwrap_or_default();
    Arc::new(Instance { metadata, ..(*instance).clone() })
}

/// The instance with its origin in its metadata; one whose metadata is full keeps it as it is.
fn labelled(instance: &Arc<Instance>, region: &Region) -> Arc<Instance> {
    let origin = (ORIGIN.into(), region.as_str().into());
    let pairs = instance.metadata.pairs().iter().cloned().chain([origin]);
    match Metadata::new(pairs) {
        Ok(metadata) => Arc::new(Instance { metadata, ..(**instance).clone() }),
        Err(_) => instance.clone(),
    }
}
