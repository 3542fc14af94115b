//! What this member shows: the newest published view of each service, which readers take without asking the core.
//!
//! Invariant: `lastRefTime` of a pane only rises. A pane leaves when it shows nothing and nobody subscribes to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use landbridge_model::{Address, Group, InstanceKey, Metadata, Namespace, Region, ServiceKey, ServiceName};
use landbridge_registry_core::{Host, Labels, Selector, ServiceView};
use landbridge_runtime::clock::Clock;
use landbridge_wire::nacos::{ClusterFilter, WatchPattern, grpc::Payload};
use papaya::HashMap;
use parking_lot::{Mutex, RwLock};

use crate::{
    answer::Encoded,
    egress::udp::UdpSubscribers,
    labels::{Consumer, ConsumerLabels, Wanted},
    session::Session,
};

/// The most encodings for wishes that one view keeps; further ones are encoded each time.
const WISHES_MAX: usize = 16;

/// What is shown of one origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Services with at least one instance.
    pub(crate) services: usize,
    /// Instances.
    pub(crate) instances: usize,
}

/// One view of a service, and its encodings once someone asked for them.
pub(crate) struct Face {
    pub(crate) view: ServiceView,
    /// Instances by origin, none for the own region.
    counts: Vec<(Option<Region>, usize)>,
    /// Names this face in pushes and their acks.
    push: u64,
    plain: Encoded,
    filtered: Mutex<Vec<(Wanted, Encoded)>>,
    selector: Selector,
}

impl Face {
    fn new(view: ServiceView, push: u64) -> Self {
        let counts = count(&view);
        let selector = Selector::of(&view.metadata);
        Self { view, counts, push, plain: Encoded::default(), filtered: Mutex::default(), selector }
    }

    /// The own region's instance of this kind that is meant. Where no cluster was said, ip and port decide, as in Nacos 2:
    /// Python registers in a cluster "None" and beats and deregisters without one.
    pub(crate) fn meant(&self, key: &InstanceKey, persistent: bool, cluster_said: bool) -> Option<&Host> {
        let own = |host: &&Host| host.origin.is_none() && host.persistent == persistent;
        let exact = self.view.host(key).filter(own);
        if exact.is_some() || cluster_said {
            return exact;
        }
        let same_address = |host: &&Host| host.key.ip == key.ip && host.key.port == key.port;
        self.view.hosts.iter().filter(own).find(same_address)
    }

    /// The answer to a gRPC query.
    pub(crate) fn queried(&self, wanted: &Wanted) -> Payload {
        self.encoded(wanted).queried(&self.view, wanted)
    }

    /// The list as HTTP v1 and UDP show it.
    pub(crate) fn grouped(&self, wanted: &Wanted) -> Bytes {
        self.encoded(wanted).grouped(&self.view, wanted)
    }

    /// The encodings of what is wanted.
    fn encoded(&self, wanted: &Wanted) -> Encoded {
        if wanted.is_everything() {
            return Arc::clone(&self.plain);
        }
        let mut filtered = self.filtered.lock();
        if let Some((_, known)) = filtered.iter().find(|(wish, _)| wish == wanted) {
            return Arc::clone(known);
        }
        let encoded = Encoded::default();
        if filtered.len() < WISHES_MAX {
            filtered.push((wanted.clone(), Arc::clone(&encoded)));
        }
        encoded
    }
}

/// Instances by origin; services have few origins, so a list is looked through.
fn count(view: &ServiceView) -> Vec<(Option<Region>, usize)> {
    let mut counts: Vec<(Option<Region>, usize)> = Vec::new();
    for host in &view.hosts {
        match counts.iter_mut().find(|(origin, _)| *origin == host.origin) {
            Some((_, instances)) => *instances += 1,
            None => counts.push((host.origin.clone(), 1)),
        }
    }
    counts
}

/// One service's place in the window, with those who are told when it changes.
pub(crate) struct Pane {
    number: u64,
    face: ArcSwap<Face>,
    /// Taken by whoever replaces the face, so that `lastRefTime` rises.
    turn: Mutex<()>,
    labels: Arc<ConsumerLabels>,
    sessions: Mutex<BTreeMap<u64, Arc<Session>>>,
    pub(crate) udp: UdpSubscribers,
    /// Whether the service stands in the pusher's line.
    pub(crate) waits: AtomicBool,
    /// When its subscribers were last told.
    pub(crate) pushed_ms: AtomicU64,
}

impl Pane {
    /// Tells panes apart.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What it shows.
    pub(crate) fn face(&self) -> Arc<Face> {
        self.face.load_full()
    }

    /// The push id and frame for a subscriber, and the labels by which its instances were chosen.
    pub(crate) fn push(&self, clusters: &ClusterFilter, session: &Session) -> (u64, Bytes, Labels) {
        let face = self.face.load();
        let wanted = self.wanted(&face, clusters, Consumer::Connected(session));
        let frame = match wanted.is_everything() {
            // What nearly everybody wants is lent, not counted: counts go from one processor's cache to another's.
            true => face.plain.push(&face.view, &wanted, face.push),
            false => face.encoded(&wanted).push(&face.view, &wanted, face.push),
        };
        (face.push, frame, wanted.labels)
    }

    /// What a consumer is shown of a face of this pane.
    pub(crate) fn wanted(&self, face: &Face, clusters: &ClusterFilter, consumer: Consumer<'_>) -> Wanted {
        self.labels.wanted(&face.selector, face.view.service.namespace(), clusters, consumer)
    }

    /// Shows a view from here on, under a `lastRefTime` above the one before.
    fn show(&self, mut view: ServiceView, push: u64) -> Arc<Face> {
        let _turn = self.turn.lock();
        let before = self.face.load_full();
        view.last_ref_ms = view.last_ref_ms.max(before.view.last_ref_ms + 1);
        self.face.store(Arc::new(Face::new(view, push)));
        before
    }

    /// Whether anybody is to be told.
    pub(crate) fn has_subscribers(&self) -> bool {
        !self.sessions.lock().is_empty() || !self.udp.is_empty()
    }

    /// Makes a push due at the next subscribed sessions after the one of this number, at most `max`; says at how many, and
    /// the number of the last one if there may be more.
    pub(crate) fn tell_sessions(&self, after: u64, max: usize) -> (usize, Option<u64>) {
        let sessions = self.sessions.lock();
        let (mut count, mut last) = (0, after);
        for (number, session) in sessions.range((Bound::Excluded(after), Bound::Unbounded)).take(max) {
            session.outbox().touched(self.number);
            (count, last) = (count + 1, *number);
        }
        (count, (count == max).then_some(last))
    }

    fn is_idle(&self) -> bool {
        let face = self.face.load();
        face.view.hosts.is_empty()
            && face.view.kind.is_none()
            && !face.view.defined
            && !self.has_subscribers()
    }
}

/// Who is told of changes of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    /// Nacos's id of the client.
    pub(crate) client: String,
    pub(crate) agent: String,
    pub(crate) app: String,
    pub(crate) ip: String,
    pub(crate) port: u16,
    pub(crate) clusters: String,
}

/// Names of one namespace and group, in order.
type Names = BTreeMap<(Namespace, Group), BTreeSet<ServiceName>>;

/// All panes.
pub(crate) struct Window {
    panes: HashMap<ServiceKey, Arc<Pane>>,
    /// Taken by whoever adds or removes a pane or a subscriber, so that no one subscribes to a removed pane.
    frame: Mutex<()>,
    names: RwLock<Names>,
    next_pane: AtomicU64,
    next_push: AtomicU64,
    /// Services that came or went since the start.
    changes: AtomicU64,
    labels: Arc<ConsumerLabels>,
    clock: Clock,
}

impl Window {
    /// An empty window.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            panes: HashMap::new(),
            frame: Mutex::new(()),
            names: RwLock::default(),
            next_pane: AtomicU64::new(1),
            next_push: AtomicU64::new(1),
            changes: AtomicU64::new(0),
            labels: Arc::default(),
            clock,
        }
    }

    /// The pane of a service that is shown or subscribed to.
    pub(crate) fn find(&self, service: &ServiceKey) -> Option<Arc<Pane>> {
        self.panes.pin().get(service).cloned()
    }

    /// What is shown for a service, also for one that nobody knows.
    pub(crate) fn face(&self, service: &ServiceKey) -> Arc<Face> {
        match self.panes.pin().get(service) {
            Some(pane) => pane.face(),
            None => Arc::new(Face::new(self.blank(service), 0)),
        }
    }

    /// What is shown of each origin, none for the own region.
    pub(crate) fn census(&self) -> BTreeMap<Option<Region>, Census> {
        let mut census: BTreeMap<Option<Region>, Census> = BTreeMap::new();
        for pane in self.panes.pin().values() {
            for (origin, instances) in &pane.face.load().counts {
                let of_origin = census.entry(origin.clone()).or_default();
                of_origin.services += 1;
                of_origin.instances += instances;
            }
        }
        census
    }

    /// Publishes a view; none means that the service does not exist any more. Gives the pane to be pushed.
    pub(crate) fn publish(&self, service: &ServiceKey, view: Option<ServiceView>) -> Option<Arc<Pane>> {
        let exists = view.is_some();
        let known = self.find(service);
        if !exists && known.is_none() {
            return None;
        }
        let view = view.unwrap_or_else(|| self.blank(service));
        let (pane, before) = match known {
            Some(pane) => {
                let before = pane.show(view, self.next_push());
                (pane, Some(before))
            }
            None => {
                let _frame = self.frame.lock();
                (self.insert(service, view), None)
            }
        };
        self.labels.changed(before.as_ref().map(|face| &face.view), &pane.face().view, |note| {
            self.panes.pin().values().for_each(|pane| note(&pane.face.load().view));
        });
        self.list(service, exists);
        if !exists {
            self.drop_if_idle(service);
        }
        Some(pane)
    }

    /// What a consumer is shown of a face.
    pub(crate) fn wanted(&self, face: &Face, clusters: &ClusterFilter, consumer: Consumer<'_>) -> Wanted {
        self.labels.wanted(&face.selector, face.view.service.namespace(), clusters, consumer)
    }

    /// A connection registered or removed instances, and may have other labels: where it is shown others for that, it is
    /// told, under a later `lastRefTime` (Go and Python drop what has the same).
    pub(crate) fn relabel(&self, session: &Session) {
        if !self.labels.are_needed() {
            return;
        }
        for (pane, clusters, told) in session.outbox().told() {
            let face = pane.face();
            if pane.wanted(&face, &clusters, Consumer::Connected(session)).labels != told {
                pane.show(face.view.clone(), self.next_push());
                session.outbox().touched(pane.number);
            }
        }
    }

    /// Subscribes a session; the first push is due at once. False if the session has too many subscriptions.
    pub(crate) fn subscribe(
        &self,
        service: &ServiceKey,
        session: &Arc<Session>,
        clusters: &ClusterFilter,
    ) -> bool {
        let _frame = self.frame.lock();
        let pane = self.find(service).unwrap_or_else(|| self.insert(service, self.blank(service)));
        let taken = session.outbox().subscribe(&pane, clusters);
        if taken {
            pane.sessions.lock().insert(session.number(), Arc::clone(session));
        }
        taken
    }

    /// Ends a session's subscription.
    pub(crate) fn unsubscribe(&self, service: &ServiceKey, session: &Session) {
        let Some(pane) = self.find(service) else { return };
        session.outbox().unsubscribe(pane.number);
        pane.sessions.lock().remove(&session.number());
        self.drop_if_idle(service);
    }

    /// Ends all of a session's subscriptions.
    pub(crate) fn forget(&self, session: &Session) {
        for pane in session.outbox().close() {
            pane.sessions.lock().remove(&session.number());
            let service = pane.face.load().view.service.clone();
            self.drop_if_idle(&service);
        }
    }

    /// A client of HTTP v1 asked for a service and listens for pushes at this address.
    pub(crate) fn listen(
        &self,
        service: &ServiceKey,
        address: SocketAddr,
        agent: &str,
        clusters: &ClusterFilter,
        consumer: &[Address],
        now_ms: u64,
    ) {
        let _frame = self.frame.lock();
        let pane = self.find(service).unwrap_or_else(|| self.insert(service, self.blank(service)));
        pane.udp.asked(address, agent, clusters, consumer, now_ms);
    }

    /// Who is told of changes of a service.
    pub(crate) fn subscribers(&self, service: &ServiceKey) -> Vec<Subscriber> {
        let Some(pane) = self.find(service) else { return Vec::new() };
        let sessions: Vec<Arc<Session>> = pane.sessions.lock().values().cloned().collect();
        let connected = sessions.iter().map(|session| {
            let said = session.introduction();
            let clusters = session.outbox().clusters(pane.number).unwrap_or_default();
            Subscriber {
                client: session.id().to_owned(),
                agent: said.map(|said| said.client_version.clone()).unwrap_or_default(),
                app: said.map(|said| said.app.clone()).unwrap_or_default(),
                ip: session.remote().ip().to_string(),
                port: session.remote().port(),
                clusters: clusters.as_str().to_owned(),
            }
        });
        let listening = pane.udp.all().into_iter().map(|(address, agent, clusters)| Subscriber {
            client: format!("{address}#true"),
            agent: agent.to_string(),
            app: String::new(),
            ip: address.ip().to_string(),
            port: address.port(),
            clusters: clusters.as_str().to_owned(),
        });
        connected.chain(listening).collect()
    }

    /// Names of the services of a namespace and group, in order.
    pub(crate) fn names(&self, namespace: &Namespace, group: &Group) -> Vec<ServiceName> {
        let names = self.names.read();
        let found = names.get(&(namespace.clone(), group.clone()));
        found.map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    /// The services that exist and fit a pattern.
    pub(crate) fn matching(&self, pattern: &WatchPattern) -> BTreeSet<ServiceKey> {
        let names = self.names.read();
        let of = names.iter().filter(|((namespace, _), _)| namespace == pattern.namespace());
        let keys = of.flat_map(|((namespace, group), names)| {
            names.iter().map(|name| ServiceKey::new(namespace.clone(), group.clone(), name.clone()))
        });
        keys.filter(|key| pattern.fits(key)).collect()
    }

    /// How often a service came or went.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Every service that exists, in order.
    pub(crate) fn services(&self) -> Vec<ServiceKey> {
        let names = self.names.read();
        let keys = names.iter().flat_map(|((namespace, group), names)| {
            names.iter().map(|name| ServiceKey::new(namespace.clone(), group.clone(), name.clone()))
        });
        keys.collect()
    }

    /// Does something for every pane with UDP subscribers.
    pub(crate) fn each_udp(&self, mut deed: impl FnMut(&Pane)) {
        for pane in self.panes.pin().values() {
            if !pane.udp.is_empty() {
                deed(pane);
            }
        }
    }

    fn insert(&self, service: &ServiceKey, view: ServiceView) -> Arc<Pane> {
        let pane = Arc::new(Pane {
            number: self.next_pane.fetch_add(1, Ordering::Relaxed),
            face: ArcSwap::from_pointee(Face::new(view, self.next_push())),
            turn: Mutex::new(()),
            labels: Arc::clone(&self.labels),
            sessions: Mutex::default(),
            udp: UdpSubscribers::default(),
            waits: AtomicBool::new(false),
            pushed_ms: AtomicU64::new(0),
        });
        self.panes.pin().insert(service.clone(), Arc::clone(&pane));
        pane
    }

    fn drop_if_idle(&self, service: &ServiceKey) {
        let _frame = self.frame.lock();
        let panes = self.panes.pin();
        if panes.get(service).is_some_and(|pane| pane.is_idle()) {
            panes.remove(service);
        }
    }

    fn list(&self, service: &ServiceKey, exists: bool) {
        let place = (service.namespace().clone(), service.group().clone());
        let listed = self.names.read().get(&place).is_some_and(|names| names.contains(service.service()));
        if listed == exists {
            return;
        }
        let mut names = self.names.write();
        if exists {
            names.entry(place).or_default().insert(service.service().clone());
        } else if let Some(group) = names.get_mut(&place) {
            group.remove(service.service());
            if group.is_empty() {
                names.remove(&place);
            }
        }
        drop(names);
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn next_push(&self) -> u64 {
        self.next_push.fetch_add(1, Ordering::Relaxed)
    }

    /// What is shown for a service that nobody knows.
    fn blank(&self, service: &ServiceKey) -> ServiceView {
        ServiceView {
            service: service.clone(),
            revision: 0,
            last_ref_ms: self.clock.unix_ms(),
            defined: false,
            kind: None,
            protect_threshold: 0.0,
            metadata: Metadata::default(),
            hosts: Vec::new(),
            shadowed: 0,
        }
    }
}
