//! How soon subscribers are told of a change, what a push and a connection cost, beside r-nacos (`RNACOS=PROGRAM`, 0.8.8).
//!
//! The same connections are made to one server after the other, in steps, and each change is one of eight instances, so that a
//! push is a list of about 3 KB. The subscribers share the machine with the server and are served last by no order of ours.

mod servers;
mod subscribers;

use std::time::Duration;

use anyhow::Result;

use self::{
    servers::Server,
    subscribers::{Publisher, Subscribers},
};
use crate::{
    grpc::median,
    three::{ms, percentile, verdict},
};

/// How much is measured.
pub struct Scale {
    /// Subscribers at each step, rising; the first is one that is alone.
    pub steps: &'static [usize],
    /// Changes at each step; medians count.
    pub changes: u32,
}

/// What the targets ask for.
pub const WHOLE: Scale = Scale { steps: &[1, 500, 2_000, 10_000], changes: 9 };

/// Whether everything still runs; its figures mean nothing.
pub const QUICK: Scale = Scale { steps: &[1, 20, 60], changes: 2 };

/// What one server needed at one step.
struct Step {
    subscribers: usize,
    first_ms: f64,
    p99_ms: f64,
    last_ms: f64,
    cpu_us: f64,
}

/// What one server needed altogether.
struct Measured {
    steps: Vec<Step>,
    push_bytes: usize,
    connection_kib: f64,
    connection_us: f64,
}

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    let ours = measured(Server::ours()?, scale).await?;
    show("push", &ours);
    let whole = ours.steps.last().map_or(0, |step| step.subscribers);
    let judge = |what: &str, value: f64, must: f64, unit: &str| {
        println!("push: {what} {value:.1} {unit} (must {must} {unit}): {}", verdict(value <= must));
    };
    if let Some(step) = ours.steps.last() {
        judge(&format!("last of {whole} told after"), step.last_ms, 1_000.0, "ms");
        judge("CPU of the server for each push", step.cpu_us, 18.0, "us");
    }
    judge("memory of the server for each connection", ours.connection_kib, 55.0, "KiB");
    let Some(server) = Server::r_nacos()? else {
        println!("push beside r-nacos: unavailable: RNACOS names no program");
        return Ok(());
    };
    let theirs = measured(server, scale).await?;
    show("push, r-nacos", &theirs);
    for (our, their) in ours.steps.iter().zip(&theirs.steps) {
        println!(
            "push: beside r-nacos, {} subscribers: last {:.2} x, p99 {:.2} x, CPU {:.2} x: {}",
            our.subscribers,
            our.last_ms / their.last_ms,
            our.p99_ms / their.p99_ms,
            our.cpu_us / their.cpu_us,
            verdict(our.last_ms <= their.last_ms),
        );
    }
    Ok(())
}

/// Takes all steps at one server.
async fn measured(server: Server, scale: &Scale) -> Result<Measured> {
    server.started().await?;
    let publisher = Publisher::start(server.address).await?;
    let most = scale.steps.last().copied().unwrap_or_default();
    let mut subscribers = Subscribers::new(server.address, most);
    let (memory, cpu) = (server.process.rss_mib()?, server.process.cpu_s()?);
    let mut steps = Vec::new();
    let (mut connection_us, mut pushing_s) = (0.0, 0.0);
    for &step in scale.steps {
        subscribers.grow(step).await?;
        connection_us = (server.process.cpu_s()? - cpu - pushing_s) * 1e6 / step as f64;
        let before = server.process.cpu_s()?;
        steps.push(told(&server, &publisher, &mut subscribers, scale.changes).await?);
        pushing_s += server.process.cpu_s()? - before;
    }
    let connection_kib = (server.process.rss_mib()? - memory) * 1024.0 / most as f64;
    Ok(Measured { steps, push_bytes: subscribers.push_bytes, connection_kib, connection_us })
}

/// Changes one instance again and again, each time until everybody knows.
async fn told(
    server: &Server,
    publisher: &Publisher,
    subscribers: &mut Subscribers,
    changes: u32,
) -> Result<Step> {
    let [mut first, mut late, mut last] = [const { Vec::new() }; 3];
    // The first change finds nothing warm and does not count.
    subscribers.all_told(publisher).await?;
    let before = server.process.cpu_s()?;
    for _ in 0..changes {
        let mut took: Vec<Duration> = subscribers.all_told(publisher).await?;
        first.push(ms(percentile(&mut took, 0)));
        late.push(ms(percentile(&mut took, 99)));
        last.push(ms(percentile(&mut took, 100)));
    }
    let pushes = subscribers.count() as f64 * f64::from(changes);
    Ok(Step {
        subscribers: subscribers.count(),
        first_ms: median(first),
        p99_ms: median(late),
        last_ms: median(last),
        cpu_us: (server.process.cpu_s()? - before) * 1e6 / pushes,
    })
}

fn show(name: &str, measured: &Measured) {
    for Step { subscribers, first_ms, p99_ms, last_ms, cpu_us } in &measured.steps {
        println!(
            "{name}: {subscribers:6} subscribers: first {first_ms:7.1} ms, p99 {p99_ms:7.1} ms, last {last_ms:7.1} ms, \
             {cpu_us:6.1} CPU us for each push of {} bytes",
            measured.push_bytes
        );
    }
    println!(
        "{name}: {:6.1} KiB and {:6.1} CPU us for each connection with a subscription",
        measured.connection_kib, measured.connection_us
    );
}
