//! Starts a gateway, keeps its view up to date, and ends it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use landbridge_client::Table;
use landbridge_gateway_core::Evacuation;
use landbridge_model::Moment;
use landbridge_runtime::{
    clock::Clock, pages::Health, shutdown::Shutdown, telemetry::MetricsPage, tls::Identity,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    access::AccessLog,
    admin::{self, Office},
    config::{Config, Live},
    metrics,
    neighbours::{Neighbours, WORDS_MAX},
    ports::Ports,
    presence::{self, Given},
    prober, tls,
    view::Shared,
    worker,
    writer::Writer,
};

/// Orders to the writer that wait; more are refused.
const ORDERS_MAX: usize = 16;

/// How often gauges are told that change without news.
const GAUGES_MS: u64 = 1_000;

/// What the writer is told besides news of the registry.
pub(crate) enum Order {
    /// Take these settings, or tell everything that is in the way.
    Reload(Box<Config>, oneshot::Sender<Result<(), Vec<String>>>),
    /// Give up what is held; tells how many endpoints that was.
    Release(oneshot::Sender<usize>),
    /// Let calls leave a place; tells the number of the drill, or nothing when too many run.
    Evacuate(Box<Evacuation>, oneshot::Sender<Option<u64>>),
    /// End a drill; tells whether there was one.
    Recall(u64, oneshot::Sender<bool>),
    /// Tell which drills run.
    Drills(oneshot::Sender<Vec<(u64, Arc<Evacuation>)>>),
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    relay: Option<SocketAddr>,
    admin: SocketAddr,
    orders: mpsc::Sender<Order>,
    shutdown: Shutdown,
    drain_ms: u64,
    access: AccessLog,
}

/// What a gateway needs besides its config.
#[derive(Debug)]
pub struct Surroundings {
    /// The registry's table as it changes; a table that is empty at first serves static endpoints only.
    pub tables: watch::Receiver<Arc<Table>>,
    /// When to end.
    pub shutdown: Shutdown,
    /// The metrics page of the process.
    pub metrics: MetricsPage,
}

impl Gateway {
    /// Opens all ports and starts all cores, or tells everything that is in the way.
    pub async fn start(config: Config, surroundings: Surroundings) -> Result<Self, Vec<String>> {
        let Surroundings { tables, shutdown, metrics: page } = surroundings;
        metrics::describe();
        let clock = Clock::start();
        let trust = tls::trust(config.live.settings.endpoint_tls.as_ref()).map_err(|why| vec![why])?;
        let relay = config.relay.as_ref().map(|relay| Identity::load(relay.tls.clone())).transpose();
        let relay = relay.map_err(|why| vec![why])?;
        if let Some(identity) = &relay {
            identity.keep_fresh(&shutdown);
        }
        let mut writer = Writer::new(&config, trust, relay.clone(), Moment(clock.now()));
        let table = tables.borrow().clone();
        writer.follow(table.clone(), Moment(clock.now()));
        let access = AccessLog::start(&config.access_log).map_err(|why| vec![why])?;
        let (connections, threads) = (config.connections, config.threads);
        let mut ports = Ports::new(config.threads, relay.clone(), shutdown.child_token());
        let mut given = Given::new(&config);
        given.take(&table);
        let change = ports.prepare(&config, given.ports())?;
        writer.route(change.tables());
        let (words, told) = mpsc::channel(WORDS_MAX);
        let (name, log) = (&config.name, access.clone());
        let shared = Shared::new(writer.view(), clock, connections, threads, name, log, words);
        #[cfg(feature = "otel")]
        let shared = traced(shared, &config, &shutdown);
        let shared = Arc::new(shared);
        let admin_port =
            landbridge_runtime::listen::listen(config.admin.listen, "admin").map_err(|why| vec![why])?;
        let admin = admin_port.local_addr().map_err(|error| vec![error.to_string()])?;
        for number in 0..config.threads {
            let core = worker::start(number, shared.clone(), ports.add_core(), shutdown.child_token());
            let core = core.map_err(|error| vec![format!("cannot start core {number}: {error}")])?;
            shutdown.spawn(async move {
                let joined = tokio::task::spawn_blocking(move || core.join()).await;
                if !matches!(joined, Ok(Ok(()))) {
                    tracing::error!(event = "core_panicked", number, "a core ended by a panic");
                }
            });
        }
        given.opened(&change);
        ports.commit(change);
        let addresses = ports.addresses();
        let (first, shares) = (addresses.lock().first().copied(), writer.shares().clone());
        if let Some(company) = Neighbours::new(&config, first.as_ref(), shares.clone(), shared.clone(), relay)
        {
            shutdown.spawn(company.talk(tables.clone(), told, shutdown.clone()));
        }
        let relay = ports.relay();
        let registered = presence::keep(&config, &addresses.lock(), relay, &shutdown);
        registered.map_err(|why| vec![format!("presence.token_file: {why}")])?;
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let health = Health::new(clock);
        health.pass("ports");
        if config.registry.is_some() {
            health.fail(TABLE_CHECK, "no registry has answered, and there was no keepsake");
        }
        let news = News { tables, orders: received, health: health.clone(), shutdown: shutdown.clone() };
        let (drain_ms, running) = (config.connections.drain_ms, Arc::new(config));
        let desk = Desk { writer, ports, given, config: running.clone(), shared: shared.clone() };
        shutdown.spawn(desk.write(news));
        shutdown.spawn(prober::run(shared.clone(), shutdown.clone()));
        let token = running.admin.token.clone();
        let office = Office { shared, orders: orders.clone(), token, shares, running };
        shutdown.spawn(admin::serve(office, admin_port, health, page, shutdown.clone()));
        Ok(Self { addresses, relay, admin, orders, shutdown, drain_ms, access })
    }

    /// Where listeners and then service ports listen, in the order of the newest config.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.lock().clone()
    }

    /// Where other regions' gateways call.
    pub fn relay(&self) -> Option<SocketAddr> {
        self.relay
    }

    /// Where operators ask.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Takes changed settings, ports and certificates without touching a call; done when new calls are treated by them.
    /// An error tells every port and file that is in the way, and then nothing has changed.
    pub async fn reload(&self, fresh: Config) -> Result<(), Vec<String>> {
        let (done, told) = oneshot::channel();
        let ends = || vec!["the gateway ends".to_owned()];
        self.orders.send(Order::Reload(Box::new(fresh), done)).await.map_err(|_| ends())?;
        told.await.map_err(|_| ends())?
    }

    /// Waits for the word to end, and then for the calls in flight.
    pub async fn ended(self) -> Result<(), Vec<String>> {
        self.shutdown.wait().await;
        let finished = self.shutdown.finish(self.drain_ms + FAREWELL_MS).await;
        // A file that takes nothing must not keep the process.
        let _ = tokio::time::timeout(Duration::from_millis(FAREWELL_MS), self.access.flush()).await;
        finished.map_err(|left| vec![format!("{} tasks did not end in time", left.tasks)])
    }
}

/// Lets spans of calls go to the collector that is configured.
#[cfg(feature = "otel")]
fn traced(shared: Shared, config: &Config, shutdown: &Shutdown) -> Shared {
    let Some(collector) = config.tracing.collector else { return shared };
    let (tracer, spans) = crate::access::spans::Tracer::new(config.tracing.share, config.tracing.queue_max);
    let delivering =
        crate::access::spans::deliver(collector, config.name.clone(), config.home.clone(), spans);
    let ends = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = delivering => {}
            () = ends.wait() => {}
        }
    });
    shared.traced_by(tracer)
}

/// What the end may take beyond the time calls have.
const FAREWELL_MS: u64 = 2_000;

/// The check that is passed once there is something to route by.
const TABLE_CHECK: &str = "table";

/// What the writer listens to.
struct News {
    tables: watch::Receiver<Arc<Table>>,
    orders: mpsc::Receiver<Order>,
    health: Health,
    shutdown: Shutdown,
}

/// Who writes views and opens ports.
struct Desk {
    writer: Writer,
    ports: Ports,
    given: Given,
    /// As it was read last.
    config: Arc<Config>,
    shared: Arc<Shared>,
}

impl Desk {
    /// Publishes a new view whenever something has changed, until the end.
    async fn write(mut self, news: News) {
        let News { mut tables, mut orders, health, shutdown } = news;
        let clock = self.shared.clock;
        let mut gauges = tokio::time::interval(Duration::from_millis(GAUGES_MS));
        let mut followed = true;
        loop {
            if self.writer.knows_something() {
                health.pass(TABLE_CHECK);
            }
            let changed = tokio::select! {
                () = shutdown.wait() => return,
                changed = tables.changed(), if followed => {
                    followed = changed.is_ok();
                    let table = tables.borrow_and_update().clone();
                    let given = self.given.take(&table);
                    let changed = self.writer.follow(table, Moment(clock.now()));
                    if given {
                        self.open_given();
                    }
                    changed || given
                }
                Some(order) = orders.recv() => {
                    self.obey(order);
                    false
                }
                () = clock.reach(self.writer.next_deadline().map(|moment| moment.0)) => {
                    self.writer.settle(Moment(clock.now()))
                }
                _ = gauges.tick() => {
                    self.shared.tell_gauges();
                    self.writer.forget_retired();
                    self.given.is_due() && self.open_given()
                }
            };
            if changed {
                self.writer.publish(&self.shared);
            }
        }
    }

    /// Opens and closes ports as the registry gives them; what cannot be opened is tried again. True if any changed.
    fn open_given(&mut self) -> bool {
        match self.ports.prepare(&self.config, self.given.ports()) {
            Ok(change) => {
                self.writer.route(change.tables());
                // Routes first: a new port must find its own.
                self.writer.publish(&self.shared);
                self.given.opened(&change);
                self.ports.commit(change);
                true
            }
            Err(mistakes) => {
                tracing::error!(event = "given_ports_not_opened", ?mistakes, "ports stay as they are");
                false
            }
        }
    }

    /// Changes everything that a config can change while calls run, or nothing.
    fn reload(&mut self, config: Config, now: Moment) -> Result<(), Vec<String>> {
        let trust = tls::trust(config.live.settings.endpoint_tls.as_ref());
        let (trust, change) = match (trust, self.ports.prepare(&config, self.given.ports())) {
            (Ok(trust), Ok(change)) => (trust, change),
            (trust, change) => {
                return Err(trust.err().into_iter().chain(change.err().into_iter().flatten()).collect());
            }
        };
        // Routes first: a new port must find its own.
        let live = config.live.clone();
        self.writer.reload(Live { routes: change.tables(), ..live }, trust, now);
        self.writer.publish(&self.shared);
        self.given.opened(&change);
        self.ports.commit(change);
        self.config = Arc::new(config);
        self.shared.access.reopen();
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        let now = Moment(self.shared.clock.now());
        match order {
            Order::Reload(config, done) => {
                // Who asked may have gone meanwhile.
                let _ = done.send(self.reload(*config, now));
            }
            Order::Release(done) => {
                let held = self.writer.release(now);
                self.writer.publish(&self.shared);
                let _ = done.send(held);
            }
            Order::Evacuate(drill, done) => {
                let id = self.writer.evacuate(*drill);
                self.writer.publish(&self.shared);
                let _ = done.send(id);
            }
            Order::Recall(id, done) => {
                let known = self.writer.recall(id);
                self.writer.publish(&self.shared);
                let _ = done.send(known);
            }
            Order::Drills(done) => {
                let _ = done.send(self.writer.drills());
            }
        }
    }
}
