//! Which labels the consumers of a service have: those of the instances that their connection or their address registered.
//!
//! Invariant: while no service has a label selector nothing is kept here, and nobody waits for it.
//! Invariant: a consumer's labels come from its own namespace only; they choose what it is shown, never what it may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use landbridge_model::{Address, InstanceKey, Metadata, Namespace, ServiceKey};
use landbridge_registry_core::{Labels, Selector, ServiceView};
use landbridge_wire::nacos::ClusterFilter;
use parking_lot::RwLock;

use crate::{metrics, session::Session};

/// The most instances of a consumer that are asked for its labels.
const INSTANCES_ASKED_MAX: usize = 64;

/// Who is shown a service.
#[derive(Clone, Copy)]
pub(crate) enum Consumer<'a> {
    /// A connection: what it registered itself says best who it is, then the address it names, then the one it has.
    Connected(&'a Session),
    /// A caller of HTTP: the address it names, then the one it has.
    At(&'a [Address]),
}

/// What a consumer is shown of a service: of which clusters, and with which labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) clusters: ClusterFilter,
    pub(crate) labels: Labels,
}

impl Wanted {
    /// Whether it is everything.
    pub(crate) fn is_everything(&self) -> bool {
        self.clusters.as_str().is_empty() && self.labels.is_empty()
    }
}

/// The metadata of instances at one address of one namespace.
type At = BTreeMap<(ServiceKey, InstanceKey), Metadata>;

#[derive(Default)]
struct Book {
    /// The services that have a selector.
    selecting: BTreeSet<ServiceKey>,
    /// The own region's instances with metadata, by where they are.
    instances: BTreeMap<(Namespace, Address), At>,
}

/// The labels of all consumers.
#[derive(Default)]
pub(crate) struct ConsumerLabels {
    needed: AtomicBool,
    book: RwLock<Book>,
}

impl ConsumerLabels {
    /// Whether any service has a selector.
    pub(crate) fn are_needed(&self) -> bool {
        self.needed.load(Ordering::Acquire)
    }

    /// A service is shown differently. With the first selector `all` gives every view, this one among them.
    pub(crate) fn changed(
        &self,
        before: Option<&ServiceView>,
        after: &ServiceView,
        all: impl FnOnce(&mut dyn FnMut(&ServiceView)),
    ) {
        let selects = !Selector::of(&after.metadata).is_none();
        if !selects && !self.are_needed() {
            return;
        }
        let mut book = self.book.write();
        let needed_before = !book.selecting.is_empty();
        if selects {
            book.selecting.insert(after.service.clone());
        } else {
            book.selecting.remove(&after.service);
        }
        let needed = !book.selecting.is_empty();
        match (needed_before, needed) {
            (true, true) => {
                before.into_iter().for_each(|view| book.forget(view));
                book.note(after);
            }
            (false, true) => all(&mut |view| book.note(view)),
            (true | false, false) => book.instances.clear(),
        }
        metrics::selecting(book.selecting.len());
        self.needed.store(needed, Ordering::Release);
    }

    /// What a consumer is shown of a service of this namespace that has this selector.
    pub(crate) fn wanted(
        &self,
        selector: &Selector,
        namespace: &Namespace,
        clusters: &ClusterFilter,
        consumer: Consumer<'_>,
    ) -> Wanted {
        let clusters = clusters.clone();
        if selector.is_none() {
            return Wanted { clusters, labels: Labels::new() };
        }
        let book = self.book.read();
        let known = match consumer {
            Consumer::Connected(session) => book.of_session(session, namespace),
            Consumer::At(addresses) => book.at(namespace, addresses),
        };
        Wanted { clusters, labels: selector.labels(known.into_iter()) }
    }
}

impl Book {
    fn note(&mut self, view: &ServiceView) {
        for host in view.hosts.iter().filter(|host| host.origin.is_none()) {
            if !host.instance.metadata.pairs().is_empty() {
                let place = (view.service.namespace().clone(), host.key.ip.clone());
                let at = self.instances.entry(place).or_default();
                at.insert((view.service.clone(), host.key.clone()), host.instance.metadata.clone());
            }
        }
    }

    fn forget(&mut self, view: &ServiceView) {
        for host in view.hosts.iter().filter(|host| host.origin.is_none()) {
            let place = (view.service.namespace().clone(), host.key.ip.clone());
            if let Some(at) = self.instances.get_mut(&place) {
                at.remove(&(view.service.clone(), host.key.clone()));
                if at.is_empty() {
                    self.instances.remove(&place);
                }
            }
        }
    }

    fn of_session(&self, session: &Session, namespace: &Namespace) -> Vec<&Metadata> {
        let mut own = Vec::new();
        session.each_published(INSTANCES_ASKED_MAX, |service, key| {
            let at = self.instances.get(&(service.namespace().clone(), key.ip.clone()));
            own.extend(at.and_then(|at| at.get(&(service.clone(), key.clone()))));
        });
        if !own.is_empty() {
            return own;
        }
        self.at(namespace, &session.addresses())
    }

    /// Of the first address at which anything is known.
    fn at(&self, namespace: &Namespace, addresses: &[Address]) -> Vec<&Metadata> {
        let mut known =
            addresses.iter().filter_map(|ip| self.instances.get(&(namespace.clone(), ip.clone())));
        known.next().map(|at| at.values().take(INSTANCES_ASKED_MAX).collect()).unwrap_or_default()
    }
}

/// The addresses of a caller: the one that it names, then its own.
pub(crate) fn addresses(claimed: &str, own: Option<std::net::IpAddr>) -> Vec<Address> {
    let own = own.map(|ip| ip.to_canonical().to_string());
    let texts = [Some(claimed.to_owned()), own].into_iter().flatten();
    texts.filter_map(|text| Address::parse(&text).ok()).collect()
}
