//! Links between regions, as a process: follows the local registry, offers it to other regions' bridges under the export
//! policy, follows theirs, and offers what it holds to the local members.
//!
//! Invariant: an origin is what a certificate says; nothing that crosses a link can name another.
//! Invariant: silence deletes nothing; a bridge that lost every peer serves what it had.

mod config;

mod admin;
mod asks;
mod board;
mod driver;
mod guest;

mod metrics;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use landbridge_bridge_core::Links;
use landbridge_carrier::{Carrier, CarrierConfig, Loaded, Shelf};
use landbridge_feed::{Holder, Input, Peer, Role, Settings};
use landbridge_runtime::{
    clock::Clock,
    http::{self, HttpLimits, Serving},
    listen::listen,
    pages::Health,
    shutdown::Shutdown,
    telemetry::{self, BuildInfo},
    tls::{Identity, PeerRole},
};
use landbridge_wire::feeds::Hello;
use tokio::sync::mpsc;

use admin::Desk;
use asks::Asks;
pub use config::{Config, DEFAULTS, Limits};
use driver::{Driver, Heard};
use guest::Host;
pub use guest::{GuestConfig, GuestPage};

/// Events that wait for the loop; when more come, the streams are held back.
const EVENTS_MAX: usize = 1024;

/// The loop is called stuck when it has not turned for this long.
const PULSE_SILENCE_MAX_MS: u64 = 10_000;

/// Everything that must be in place before a bridge promises anything.
struct Ground {
    identity: Identity,
    hello: Hello,
    shelf: Shelf,
    loaded: Vec<Loaded>,
    host: Option<Host>,
    feeds: tokio::net::TcpListener,
    admin: tokio::net::TcpListener,
    metrics: telemetry::MetricsPage,
}

/// Runs a bridge until the process is told to end; an error is what keeps it from starting.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), String> {
    let ground = prepare(&config).await?;
    let clock = Clock::start();
    ground.identity.keep_fresh(&shutdown);
    ground.metrics.keep_up(&shutdown);
    let health = Health::new(clock);
    let board = Arc::new(ArcSwap::default());
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let (asks, asked) = Asks::new();
    let own = ground.hello.peer.id.clone();
    let carrying = CarrierConfig {
        hello: ground.hello,
        identity: ground.identity,
        listen: Some(ground.feeds),
        neighbours: config.plan.peers.keys().cloned().collect(),
        budgets: config.budgets,
        limits: carrying(&config.limits),
    };
    let carrier = Carrier::start(carrying, events, &shutdown);
    let mut host = ground.host;
    let hosting = config.guest.as_ref().zip(host.as_mut());
    let said = hosting.map(|(guest, host)| host.start(guest, &shutdown));
    let mut driver = Driver {
        host,
        holder: Holder::new(Settings {
            region: config.plan.own.clone(),
            role: Role::Bridge,
            limits: holding(&config.limits),
        }),
        links: Links::new(own.clone(), config.limits.stall_ticks),
        shelf: ground.shelf,
        pulse: health.pulse("driver", PULSE_SILENCE_MAX_MS),
        save_ms: config.limits.save_ms,
        board: Arc::clone(&board),
        health: health.clone(),
        plan: config.plan,
        resyncing: BTreeSet::new(),
        looking: BTreeMap::new(),
        carrier,
        clock,
    };
    driver.step(Input::Named { id: own });
    for Loaded { feed, view, position, records } in ground.loaded {
        driver.step(Input::Loaded { feed, view, position, records });
    }
    driver.begin();
    let audit = Arc::default();
    let (guest, guest_asked) = guest::asks::Desk::new(Arc::clone(&audit), clock);
    let desk = Desk::new(board, asks, audit, config.token, clock);
    let pages = admin::routes(desk, guest, health, ground.metrics);
    let serving = Serving {
        listener: ground.admin,
        what: "admin",
        tls: None,
        limits: HttpLimits::recommended(),
        shutdown: shutdown.clone(),
    };
    shutdown.spawn(http::serve(serving, pages));
    driver.run(inbox, Heard { asked, said, guest_asked }, shutdown).await;
    Ok(())
}

async fn prepare(config: &Config) -> Result<Ground, String> {
    let build = BuildInfo { version: env!("CARGO_PKG_VERSION"), role: "bridge" };
    let metrics = telemetry::install(build)?;
    let identity = Identity::load(config.tls.clone())?;
    let hello = hello(config, &identity)?;
    let (data, guest, region) = (config.data.clone(), config.guest.clone(), config.plan.own.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let (shelf, loaded) = Shelf::open(&data.join("copies"))?;
        let now_ms = Clock::start().unix_ms();
        let host = guest.map(|guest| Host::open(&guest, &region, &data, now_ms, &loaded)).transpose()?;
        Ok::<_, String>((shelf, loaded, host))
    });
    let opened = opened.await.map_err(|panic| format!("the copies cannot be read: {panic}"))?;
    let (shelf, loaded, host) = opened?;
    let records: usize = loaded.iter().map(|loaded| loaded.records.len()).sum();
    tracing::info!(event = "copies_loaded", feeds = loaded.len(), records, "resuming from the shelf");
    let feeds = listen(config.feeds_listen, "feeds")?;
    let admin = listen(config.admin_listen, "admin")?;
    Ok(Ground { identity, hello, shelf, loaded, host, feeds, admin, metrics })
}

/// What the bridge says of itself, if its certificate bears it out.
fn hello(config: &Config, identity: &Identity) -> Result<Hello, String> {
    let name = identity.name();
    if name.role != PeerRole::Bridge || name.region != config.plan.own.as_str() {
        let own = &config.plan.own;
        return Err(format!("the certificate is {name}, and this is to be a bridge of region {own}"));
    }
    let peer = Peer { region: config.plan.own.clone(), role: Role::Bridge, id: name.id.as_str().into() };
    Ok(Hello::of(name.deployment.as_str().into(), peer))
}

fn carrying(limits: &Limits) -> landbridge_carrier::Limits {
    landbridge_carrier::Limits {
        outbox_frames_max: landbridge_carrier::Limits::outbox_frames(limits.credit_bytes),
        connections_max: limits.connections_max,
        keepalive_ms: limits.keepalive_ms,
        keepalive_answer_ms: limits.keepalive_answer_ms,
        reconnect_floor_ms: limits.reconnect_floor_ms,
        reconnect_cap_ms: limits.reconnect_cap_ms,
        window_bytes: limits.window_bytes,
        ..landbridge_carrier::Limits::STANDARD
    }
}

fn holding(limits: &Limits) -> landbridge_feed::Limits {
    landbridge_feed::Limits {
        credit_bytes: limits.credit_bytes,
        ring_changes_max: limits.ring_changes_max,
        ring_bytes_max: limits.ring_bytes_max,
        ..landbridge_feed::Limits::STANDARD
    }
}
