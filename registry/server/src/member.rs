//! Puts a member together, runs it, and takes it apart in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::Arc,
};

use landbridge_carrier::{Carrier, CarrierConfig, Loaded, Shelf};
use landbridge_feed::{Peer, Role};
use landbridge_model::{InstanceKey, MemberId, Region, ServiceKey};
use landbridge_registry_core::{BeatBoard, Limits as CoreLimits, Member, Settings};
use landbridge_runtime::{
    audit::Audit,
    clock::Clock,
    dice,
    http::{Serving, serve_callers},
    listen::listen,
    pages::Health,
    shutdown::Shutdown,
    telemetry::MetricsPage,
    tls::{CallerTls, Identity},
};
use landbridge_store::Store;
use landbridge_wire::feeds::Hello;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{mpsc, watch},
};
use tracing::{error, info, warn};

use crate::{
    auth::{Auth, Principal, owner},
    config::{Config, Limits, Naming, Probes},
    desk::{Desk, Desks},
    driver::{Driver, Ends, Sources},
    egress::{push::Pusher, udp::UdpPush},
    events::Events,
    fuzzy::{self, FuzzyWatches},
    ingress,
    knocks::Knocks,
    metrics as names,
    orders::Orders,
    probes,
    region::{self, Company},
    session::Sessions,
    state::State,
    upstream::Upstream,
    window::Window,
};

/// Events of all feed streams that wait for the core; a full queue stops reading from the streams.
const STREAM_EVENTS_MAX: usize = 1_024;

/// The most pairs of one instance's metadata: one fewer than may be held, for who registered it.
const METADATA_PAIRS_MAX: usize = landbridge_model::instance::METADATA_PAIRS_MAX - 1;

/// The driver is stuck when it has not ticked for so long.
const DRIVER_SILENCE_MAX_MS: u64 = 10_000;

/// The longest wait between two attempts to reach another member: a handshake a second is little, and so soon after a cut was
/// mended both sides show the same again.
const RECONNECT_CAP_MS: u64 = 1_000;

/// After the member departed, its connections get so long to end.
const FINISH_MS: u64 = 5_000;

/// Why a member could not start or had to end.
#[derive(Debug)]
pub enum Failure {
    /// A port, a file or a certificate is not as the configuration says; the operator's to mend.
    Start(String),
    /// The store failed while running; nothing more may be promised.
    Store(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(why) => write!(f, "the member cannot start: {why}"),
            Self::Store(why) => write!(f, "the store failed: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What the doors share.
pub(crate) struct Shared {
    pub(crate) region: Region,
    pub(crate) deployment: String,
    pub(crate) member: MemberId,
    pub(crate) admin_token: Option<String>,
    pub(crate) auth: Auth,
    pub(crate) naming: Naming,
    pub(crate) probes: Probes,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) window: Arc<Window>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) orders: Orders,
    pub(crate) beats: Arc<BeatBoard>,
    pub(crate) state: Arc<State>,
    pub(crate) events: Arc<Events>,
    pub(crate) udp: Arc<UdpPush>,
    pub(crate) fuzzy: FuzzyWatches,
    pub(crate) store: Store,
    pub(crate) company: Company,
    pub(crate) desks: Arc<Desks>,
    /// The Nacos that keeps configs, if one does.
    pub(crate) upstream: Option<Upstream>,
    /// What callers are shown who speak TLS.
    pub(crate) callers: Option<CallerTls>,
    /// What scrapers are told.
    pub(crate) page: MetricsPage,
    /// What operators did here.
    pub(crate) audit: Audit,
    /// Who was turned away from that.
    pub(crate) knocks: Knocks,
    /// Where HTTP is served, as clients are told.
    pub(crate) http: SocketAddr,
}

impl Shared {
    /// What the region's notes say.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        self.desks.newest()
    }

    /// Whether callers must say who they are.
    pub(crate) fn auth_enabled(&self) -> bool {
        self.auth.enabled()
    }

    /// Whether a principal may change what the own region shows under this key.
    pub(crate) fn may_change(&self, principal: &Principal, service: &ServiceKey, key: &InstanceKey) -> bool {
        if *principal == Principal::Anyone {
            return true;
        }
        let Some(pane) = self.window.find(service) else { return true };
        let face = pane.face();
        let registered = face.view.host(key).filter(|host| host.origin.is_none());
        registered.is_none_or(|host| owner::may_change(principal, &host.instance, self.desk().book()))
    }

    /// The wall clock in seconds, for tokens.
    pub(crate) fn now_s(&self) -> u64 {
        self.clock.unix_ms() / 1000
    }

    /// Refuses an instance whose metadata is beyond this member's own limit.
    pub(crate) fn bounded(&self, instance: &landbridge_model::Instance) -> Result<(), String> {
        self.bounded_metadata(&instance.metadata)
    }

    /// The same of metadata alone.
    pub(crate) fn bounded_metadata(&self, metadata: &landbridge_model::Metadata) -> Result<(), String> {
        let odd = |text: &str, also: &str| text.chars().any(|c| c.is_control() && !also.contains(c));
        if metadata.pairs().iter().any(|(key, value)| odd(key, "") || odd(value, "\t\r\n")) {
            return Err("metadata must hold no control characters".to_owned());
        }
        let (came, max) = (metadata.bytes(), self.naming.metadata_bytes_max);
        let pairs = metadata.pairs().len();
        if pairs > METADATA_PAIRS_MAX {
            return Err(format!("metadata of {pairs} pairs has more than {METADATA_PAIRS_MAX}"));
        }
        if came <= max {
            return Ok(());
        }
        Err(format!("metadata of {came} bytes is longer than naming.metadata_bytes_max = {max}"))
    }
}

/// The open ports of a member.
struct Doors {
    http: TcpListener,
    grpc: TcpListener,
    feeds: Option<(TcpListener, Identity)>,
    raft: Option<TcpListener>,
    udp: UdpSocket,
    /// What callers are shown who speak TLS.
    callers: Option<CallerTls>,
}

impl Doors {
    /// Opens every port, or says which one cannot be opened and why.
    async fn open(config: &Config) -> Result<Self, Failure> {
        let feeds = match config.tls.clone() {
            Some(files) => {
                let identity = Identity::load(files).map_err(Failure::Start)?;
                Some((listen(config.feeds, "feeds").map_err(Failure::Start)?, identity))
            }
            None => None,
        };
        let several = config.company.several();
        let raft = several.then(|| listen(config.raft, "raft").map_err(Failure::Start)).transpose()?;
        let any_port = SocketAddr::new(config.http.ip(), 0);
        let udp = UdpSocket::bind(any_port).await;
        let callers = config.callers.clone().map(CallerTls::load).transpose().map_err(Failure::Start)?;
        Ok(Self {
            callers,
            http: listen(config.http, "http").map_err(Failure::Start)?,
            grpc: listen(config.grpc, "grpc").map_err(Failure::Start)?,
            feeds,
            raft,
            udp: udp.map_err(|error| Failure::Start(format!("no UDP port for pushes: {error}")))?,
        })
    }
}

/// Runs a member until it was asked to end and has left in order, or until it cannot go on.
///
/// Who leaves still follows, supplies and answers, so the wish to end and the end of everything are two things.
pub async fn run(config: Config, page: MetricsPage, asked: Shutdown) -> Result<(), Failure> {
    let clock = Clock::start();
    let (health, shutdown) = (Health::new(clock), Shutdown::new());
    let Doors { http, grpc, feeds, raft, udp, callers } = Doors::open(&config).await?;
    let identity = feeds.as_ref().map(|(_, identity)| identity.clone());
    keep_fresh(identity.as_ref(), callers.as_ref(), &asked);
    let core = Member::new(settings(&config, &feeds));
    let company = Company::new(&config, identity.clone());
    let (store, applied) = region::open_store(&config, &company, clock).await?;
    let (shelf, copies) = open_shelf(&config).await?;
    let (orders, order_queue) = Orders::new(config.limits.core_queue_max);
    let (stream_events, streams) = mpsc::channel(STREAM_EVENTS_MAX);
    let carrier = feeds.map(|door| Carrier::start(carry(&config, door), stream_events, &shutdown));
    let (udp, listed) = (Arc::new(UdpPush::new(udp, clock)), config.company.clone());
    let (desks, auth) = open_desks(&config, &store)?;
    let shared = Arc::new(Shared {
        callers,
        upstream: upstream(&config, auth.enabled()),
        page,
        audit: Audit::default(),
        knocks: Knocks::default(),
        clock,
        window: Arc::new(Window::new(clock)),
        sessions: Arc::new(Sessions::new(clock)),
        orders,
        beats: core.board(),
        state: Arc::new(State::new(health.clone())),
        events: Arc::new(Events::new()),
        udp: Arc::clone(&udp),
        fuzzy: FuzzyWatches::default(),
        store: store.clone(),
        company,
        desks: Arc::clone(&desks),
        http: config.http,
        region: config.region,
        deployment: config.deployment,
        member: config.member,
        admin_token: config.admin_token,
        auth,
        naming: config.naming,
        probes: config.probes,
        limits: config.limits,
    });
    let (ready, company) = watch::channel(false);
    if let (Some(listener), Some(identity), Some(carrier)) = (raft, identity, &carrier) {
        let (way, list) = ((listener, identity), (ready, listed));
        region::join(&shared, way, carrier.clone(), list, &asked, &shutdown);
    }
    let pusher = Arc::new(Pusher::new(shared.naming.push_merge_ms, clock, udp, desks));
    let ends = Ends {
        window: Arc::clone(&shared.window),
        pusher: Arc::clone(&pusher),
        sessions: Arc::clone(&shared.sessions),
        state: Arc::clone(&shared.state),
        events: Arc::clone(&shared.events),
        pulse: health.pulse("driver", DRIVER_SILENCE_MAX_MS),
        store: store.clone(),
        carrier,
        shelf,
        clock,
        asked,
        shutdown: shutdown.clone(),
    };
    tokio::spawn(async move { pusher.run().await });
    open_doors(&shared, http, grpc, health, &shutdown);
    let sources = Sources { orders: order_queue, applied, streams, company };
    let ended = drive(Driver::new(core, ends, copies), sources, &store).await;
    leave(&shared, store, &shutdown).await;
    ended
}

/// Reads certificates again when they change.
fn keep_fresh(identity: Option<&Identity>, callers: Option<&CallerTls>, asked: &Shutdown) {
    if let Some(identity) = identity {
        identity.keep_fresh(asked);
    }
    if let Some(callers) = callers {
        callers.keep_fresh(asked);
    }
}

/// The Nacos that keeps configs; with users of our own it is told nothing of what they show.
fn upstream(config: &Config, own_users: bool) -> Option<Upstream> {
    let Limits { request_timeout_ms, body_bytes_max, .. } = config.limits;
    let upstream = config.upstream.as_ref();
    upstream.map(|upstream| Upstream::new(upstream, request_timeout_ms, body_bytes_max, own_users))
}

/// What the region's notes say, with users and tokens as configured; says loudly where nobody is asked for a name.
fn open_desks(config: &Config, store: &Store) -> Result<(Arc<Desks>, Auth), Failure> {
    let desks = Arc::new(Desks::new(store.clone()));
    let auth = Auth::open(&config.auth, &config.data_dir, desks.newest().book().has_users());
    let auth = auth.map_err(Failure::Start)?;
    metrics::gauge!(names::AUTH_ENABLED).set(f64::from(u8::from(auth.enabled())));
    if !auth.enabled() {
        warn!(
            event = "auth_off",
            "auth.enabled is false: whoever reaches the Nacos ports registers, removes and reads without a name"
        );
    }
    Ok((desks, auth))
}

/// Runs the driver until the member has departed, or until the store cannot go on.
async fn drive(driver: Driver, sources: Sources, store: &Store) -> Result<(), Failure> {
    let mut failed = store.failed();
    tokio::select! {
        () = driver.run(sources) => Ok(()),
        why = failed.wait_for(Option::is_some) => {
            let why = why.ok().and_then(|why| why.as_ref().map(ToString::to_string));
            Err(Failure::Store(why.unwrap_or_else(|| "it stopped without a word".to_owned())))
        }
    }
}

/// What the core needs to know about itself.
fn settings(config: &Config, feeds: &Option<(TcpListener, Identity)>) -> Settings {
    let address = match (config.company.places.get(&config.member), feeds) {
        (Some(place), Some(_)) => place.feeds(),
        (None, Some((listener, _))) => {
            listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
        }
        (_, None) => String::new(),
    };
    let naming = &config.naming;
    Settings {
        region: config.region.clone(),
        member: config.member,
        address: address.into(),
        members: config.company.numbers.len().max(1),
        seed: dice::seed(),
        visibility: naming.visibility,
        limits: CoreLimits {
            failover_min: naming.failover_min,
            failover_ticks: naming.failover_ticks,
            failover_linger_ticks: naming.failback_ticks,
            drain_ticks: config.drain_ticks,
            ..CoreLimits::STANDARD
        },
        feed: landbridge_feed::Limits::STANDARD,
    }
}

/// Opens the copies on disk; reading them blocks, so it happens on a thread for that.
async fn open_shelf(config: &Config) -> Result<(Shelf, Vec<Loaded>), Failure> {
    let folder = config.data_dir.join("copies");
    match tokio::task::spawn_blocking(move || Shelf::open(&folder)).await {
        Ok(opened) => opened.map_err(Failure::Start),
        Err(died) => Err(Failure::Start(format!("reading the copies failed: {died}"))),
    }
}

/// What this member says of itself to other members, bridges and gateways; which members it dials is told later.
fn carry(config: &Config, (listener, identity): (TcpListener, Identity)) -> CarrierConfig {
    let id = identity.name().id.as_str().into();
    let peer = Peer { region: config.region.clone(), role: Role::Member(config.member), id };
    CarrierConfig {
        hello: Hello::of(config.deployment.as_str().into(), peer),
        identity,
        listen: Some(listener),
        neighbours: BTreeSet::new(),
        budgets: BTreeMap::new(),
        limits: landbridge_carrier::Limits {
            reconnect_cap_ms: RECONNECT_CAP_MS,
            ..landbridge_carrier::Limits::STANDARD
        },
    }
}

/// Serves the ports, each in a task of its own.
fn open_doors(
    shared: &Arc<Shared>,
    http: TcpListener,
    grpc: TcpListener,
    health: Health,
    shutdown: &Shutdown,
) {
    shared.page.keep_up(shutdown);
    let app = ingress::http::router(shared)
        .merge(ingress::admin::routes(Arc::clone(shared)))
        .merge(landbridge_runtime::pages::routes(health, shared.page.clone()));
    let limits = shared.limits.http();
    let serving = Serving { listener: http, what: "http", tls: None, limits, shutdown: shutdown.clone() };
    shutdown.spawn(serve_callers(serving, shared.callers.clone(), app));
    shutdown.spawn(ingress::connections::accept(grpc, Arc::clone(shared), shutdown.clone()));
    shutdown.spawn(fuzzy::run(Arc::clone(shared), shutdown.clone()));
    shutdown.spawn(ingress::watch::watch(Arc::clone(shared), shutdown.clone()));
    shutdown.spawn(probes::run(Arc::clone(shared), shutdown.clone()));
    let acks = Arc::clone(shared);
    tokio::spawn(async move { acks.udp.read_acks(&acks.window).await });
}

/// Takes the member apart: connections first, the store last.
async fn leave(shared: &Shared, store: Store, shutdown: &Shutdown) {
    region::hand_over(&store, shared.member).await;
    shutdown.begin();
    for session in shared.sessions.all() {
        session.close();
    }
    if let Err(left) = shutdown.finish(FINISH_MS).await {
        error!(event = "tasks_left", tasks = left.tasks);
    }
    if let Err(error) = store.shutdown().await {
        error!(event = "store_not_closed", %error);
    }
    info!(event = "stopped");
}
