//! Asks the endpoints of configured services how they are, whether or not calls go there.
//!
//! Only a good answer to an HTTP probe proves that calls are served; whoever accepts a connection may still be frozen.
//!
//! Invariant: one prober runs in a process, at most `probing.at_once_max` probes at once, and one for each endpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use landbridge_gateway_core::{Endpoint, Turn};
use landbridge_model::Moment;
use landbridge_runtime::shutdown::Shutdown;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    config::Probe,
    metrics::{EJECTIONS, PROBES},
    view::{Shared, View},
};

/// How often it is looked whose probe is due.
const LOOK_MS: u64 = 50;

/// What is read of an answer: its version and status.
const STATUS_BYTES: usize = "HTTP/1.1 200".len();

/// A probe that is due.
struct Due {
    view: Arc<View>,
    service: u32,
    endpoint: u32,
    probe: Probe,
}

/// Probes until the end.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut looks = interval(Duration::from_millis(LOOK_MS));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut rounds, mut running) = (Rounds::default(), JoinSet::new());
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            Some(ended) = running.join_next() => {
                if let Ok((serial, due, passed)) = ended {
                    rounds.ended(serial);
                    report(&due, Moment(shared.clock.now()), passed);
                }
            }
            _ = looks.tick() => {
                let view = shared.view.load_full();
                for (serial, due) in rounds.due(&view, shared.clock.now()) {
                    running.spawn(async move {
                        let passed = passes(due.endpoint(), &due.probe).await;
                        (serial, due, passed)
                    });
                }
            }
        }
    }
}

/// Whose turn it is; endpoints are known by their serial numbers.
#[derive(Debug, Default)]
struct Rounds {
    next: BTreeMap<u64, u64>,
    running: BTreeSet<u64>,
}

impl Rounds {
    /// The probes that are due and may run; endpoints that are gone are forgotten.
    fn due(&mut self, view: &Arc<View>, now: u64) -> Vec<(u64, Due)> {
        let (probing, mut due, mut next) = (&view.settings.probing, Vec::new(), BTreeMap::new());
        for (name, probe) in &probing.probes {
            let Some(service) = view.snapshot.position(name) else { continue };
            for (position, endpoint) in (0..).zip(view.snapshot.service(service).endpoints()) {
                let serial = endpoint.state.serial();
                // Endpoints of one service are spread over its interval.
                let first = || now + serial % probe.interval_ms;
                let at = self.next.get(&serial).copied().unwrap_or_else(first);
                let free = self.running.len() < probing.at_once_max && !self.running.contains(&serial);
                if at <= now && free {
                    self.running.insert(serial);
                    next.insert(serial, now + probe.interval_ms);
                    let (view, probe) = (view.clone(), probe.clone());
                    due.push((serial, Due { view, service, endpoint: position, probe }));
                } else {
                    next.insert(serial, at);
                }
            }
        }
        self.next = next;
        due
    }

    fn ended(&mut self, serial: u64) {
        self.running.remove(&serial);
    }
}

impl Due {
    fn endpoint(&self) -> &Endpoint {
        self.view.snapshot.service(self.service).endpoint(self.endpoint)
    }
}

/// True if the endpoint passes in time.
async fn passes(endpoint: &Endpoint, probe: &Probe) -> bool {
    let path = probe.path.as_deref().filter(|_| !endpoint.speech.protocol.is_secure());
    let asked = timeout(Duration::from_millis(probe.timeout_ms), ask(endpoint, path)).await;
    matches!(asked, Ok(Ok(true)))
}

async fn ask(endpoint: &Endpoint, path: Option<&str>) -> io::Result<bool> {
    let (host, port) = (endpoint.address.as_str(), endpoint.port);
    let mut stream = TcpStream::connect((host, port)).await?;
    let Some(path) = path else { return Ok(true) };
    let ask = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nuser-agent: landbridge-probe\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut status = [0; STATUS_BYTES];
    stream.read_exact(&mut status).await?;
    Ok(status.starts_with(b"HTTP/1.") && matches!(status[STATUS_BYTES - 3], b'2' | b'3'))
}

fn report(due: &Due, now: Moment, passed: bool) {
    let service = due.view.snapshot.service(due.service);
    let rules = &due.view.settings.pick.health;
    let proves = due.probe.path.is_some() && !due.endpoint().speech.protocol.is_secure();
    let outcome = if passed { "passed" } else { "failed" };
    metrics::counter!(PROBES, "service" => service.name.to_string(), "outcome" => outcome).increment(1);
    match service.report_probe(due.endpoint, rules, now, passed, proves) {
        Turn::Ejected { .. } => {
            metrics::counter!(EJECTIONS, "service" => service.name.to_string()).increment(1);
        }
        Turn::Stays | Turn::Returned { .. } => {}
    }
}
