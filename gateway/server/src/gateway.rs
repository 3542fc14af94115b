//! Starts a gateway, keeps its view up to date, and ends it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use landbridge_client::Table;
use landbridge_gateway_core::Evacuation;
use landbridge_model::Moment;
use landbridge_runtime::{clock::Clock, pages::Health, shutdown::Shutdown, telemetry::MetricsPage};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    admin::{self, Office},
    config::{Config, Live},
    metrics, ports,
    tls::{self, Trust},
    view::Shared,
    worker::{self, Door},
    writer::Writer,
};

/// Orders to the writer that wait; more are refused.
const ORDERS_MAX: usize = 16;

/// How often gauges are told that change without news.
const GAUGES_MS: u64 = 1_000;

/// What the writer is told besides news of the registry.
pub(crate) enum Order {
    /// Take these settings.
    Reload(Box<Live>, Option<Arc<Trust>>, oneshot::Sender<()>),
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
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    orders: mpsc::Sender<Order>,
    shutdown: Shutdown,
    drain_ms: u64,
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
        let mut writer = Writer::new(&config, trust, Moment(clock.now()));
        writer.follow(tables.borrow().clone(), Moment(clock.now()));
        let view = writer.view();
        let shared = Arc::new(Shared::new(view, clock, config.connections, config.threads, &config.name));
        let ports = ports::open(&config.listeners, config.threads)?;
        let admin_port =
            landbridge_runtime::listen::listen(config.admin.listen, "admin").map_err(|why| vec![why])?;
        let admin = admin_port.local_addr().map_err(|error| vec![error.to_string()])?;
        let addresses = ports.iter().map(|port| port.address).collect();
        let mut doors: Vec<Vec<Door>> = (0..config.threads).map(|_| Vec::new()).collect();
        for port in ports {
            for (doors, socket) in doors.iter_mut().zip(port.sockets) {
                doors.push(Door { socket, acceptor: port.acceptor.clone() });
            }
        }
        for (number, doors) in doors.into_iter().enumerate() {
            let core = worker::start(number, shared.clone(), doors, shutdown.child_token());
            let core = core.map_err(|error| vec![format!("cannot start core {number}: {error}")])?;
            shutdown.spawn(async move {
                let joined = tokio::task::spawn_blocking(move || core.join()).await;
                if !matches!(joined, Ok(Ok(()))) {
                    tracing::error!(event = "core_panicked", number, "a core ended by a panic");
                }
            });
        }
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let health = Health::new(clock);
        health.pass("ports");
        if config.registry.is_some() {
            health.fail(TABLE_CHECK, "no registry has answered, and there was no keepsake");
        }
        let news = News { tables, orders: received, health: health.clone(), shutdown: shutdown.clone() };
        shutdown.spawn(write(writer, shared.clone(), news));
        let office = Office { shared, orders: orders.clone(), token: config.admin.token.clone() };
        shutdown.spawn(admin::serve(office, admin_port, health, page, shutdown.clone()));
        Ok(Self { addresses, admin, orders, shutdown, drain_ms: config.connections.drain_ms })
    }

    /// Where the listeners listen, in the config's order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where operators ask.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Takes changed settings without touching a call; done when new calls are treated by them. An error says which
    /// files cannot be read, and then nothing has changed.
    pub async fn reload(&self, live: Live) -> Result<(), Vec<String>> {
        let trust = tls::trust(live.settings.endpoint_tls.as_ref()).map_err(|why| vec![why])?;
        let (done, told) = oneshot::channel();
        if self.orders.send(Order::Reload(Box::new(live), trust, done)).await.is_ok() {
            // The writer ends only with the process.
            let _ = told.await;
        }
        Ok(())
    }

    /// Waits for the word to end, and then for the calls in flight.
    pub async fn ended(self) -> Result<(), Vec<String>> {
        self.shutdown.wait().await;
        let finished = self.shutdown.finish(self.drain_ms + FAREWELL_MS).await;
        finished.map_err(|left| vec![format!("{} tasks did not end in time", left.tasks)])
    }
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

/// Publishes a new view whenever something has changed, until the end.
async fn write(mut writer: Writer, shared: Arc<Shared>, news: News) {
    let News { mut tables, mut orders, health, shutdown } = news;
    let clock = shared.clock;
    let mut gauges = tokio::time::interval(Duration::from_millis(GAUGES_MS));
    let mut followed = true;
    loop {
        if writer.knows_something() {
            health.pass(TABLE_CHECK);
        }
        let changed = tokio::select! {
            () = shutdown.wait() => return,
            changed = tables.changed(), if followed => {
                followed = changed.is_ok();
                let table = tables.borrow_and_update().clone();
                writer.follow(table, Moment(clock.now()))
            }
            Some(order) = orders.recv() => {
                obey(&mut writer, &shared, order);
                false
            }
            () = clock.reach(writer.next_deadline().map(|moment| moment.0)) => {
                writer.settle(Moment(clock.now()))
            }
            _ = gauges.tick() => {
                shared.tell_gauges();
                false
            }
        };
        if changed {
            writer.publish(&shared);
        }
    }
}

fn obey(writer: &mut Writer, shared: &Shared, order: Order) {
    let now = Moment(shared.clock.now());
    match order {
        Order::Reload(live, trust, done) => {
            writer.reload(*live, trust, now);
            writer.publish(shared);
            // Who asked may have gone meanwhile.
            let _ = done.send(());
        }
        Order::Release(done) => {
            let held = writer.release(now);
            writer.publish(shared);
            let _ = done.send(held);
        }
        Order::Evacuate(drill, done) => {
            let id = writer.evacuate(*drill);
            writer.publish(shared);
            let _ = done.send(id);
        }
        Order::Recall(id, done) => {
            let known = writer.recall(id);
            writer.publish(shared);
            let _ = done.send(known);
        }
        Order::Drills(done) => {
            let _ = done.send(writer.drills());
        }
    }
}
