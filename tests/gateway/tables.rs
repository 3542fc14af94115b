//! A table that changes under load, and rests in between: no call may notice which.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use landbridge_client::{Endpoint as Listed, Table};
use landbridge_model::ServiceKey;
use landbridge_tests::{listed, wait::until_async};
use tokio::{
    runtime::{Builder, Handle},
    time::{MissedTickBehavior, interval},
};

use crate::{
    bounds::{Bounds, must},
    endpoint::Endpoint,
    house::{House, page},
    load::{CALL_WITHIN, Call, Load},
    size::Size,
    threads::{self, CORES},
};

/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Endpoints of every service that is only listed.
const ENDPOINTS: u16 = 20;

/// Services that lose and gain endpoints with each change.
const TOUCHED: u32 = 10;

/// Changes at a stretch; the table rests as long before or after.
const CHANGES_PER_WINDOW: u32 = 20;

/// What the thread is called that writes the gateway's views.
const WRITER: &str = "views";

/// Publishes one table after another while calls run, counts what fails, and compares how long calls took in and between.
pub(crate) fn changing(size: &Size) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // The gateway's own, so that what it spends can be told from what callers spend.
    let views =
        Builder::new_multi_thread().worker_threads(1).thread_name(WRITER).enable_all().build().unwrap();
    let complaints = runtime.block_on(change(size, views.handle())).unwrap();
    views.shutdown_background();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// A time in which the table changed, or rested.
struct Window {
    changing: bool,
    begun: Instant,
    ended: Instant,
    /// What the core spent in it.
    core: Duration,
    /// What the writer of views spent in it.
    writer: Duration,
}

async fn change(size: &Size, views: &Handle) -> Result<Vec<String>> {
    let called = [Endpoint::start("east/a/1")?, Endpoint::start("east/a/2")?, Endpoint::start("east/b/1")?];
    let ports = called.each_ref().map(|one| one.address.port());
    let house = views.spawn(async { House::open(&page(&[], "")).await }).await??;
    let mut table = Table::default();
    for number in 0..size.services {
        table.services.insert(key(&format!("listed-{number}")), listed(1_024..1_024 + ENDPOINTS));
    }
    table.services.insert(key("called"), listed(ports));
    house.tables.send_replace(Arc::new(table.clone()));
    let load = Load::start(house.address, "any.test", "/svc/called/", size.rate);
    until_async("the service is known", PATIENCE, async || (load.answered() > 0).then_some(())).await;

    let begun = Instant::now();
    let mut windows = Vec::new();
    for first in (0..size.changes).step_by(CHANGES_PER_WINDOW as usize) {
        let turns = first..size.changes.min(first + CHANGES_PER_WINDOW);
        // Made before, as a registry's follower makes them aside; no window counts that time.
        let mut made = Vec::new();
        for turn in turns {
            alter(&mut table, size, turn, &ports);
            made.push(Some(Arc::new(table.clone())));
        }
        let nothing = vec![None; made.len()];
        // Which comes first takes turns: a machine may become slower or faster all the time.
        let changes_first = (first / CHANGES_PER_WINDOW).is_multiple_of(2);
        let pair = if changes_first { [made, nothing] } else { [nothing, made] };
        for news in pair {
            windows.push(watch(size, &house, news).await?);
        }
    }
    load.stop();
    let calls = until_async("every call has ended", PATIENCE + CALL_WITHIN, async || {
        load.settled().filter(|calls| calls.len() as u64 >= load.sent())
    });
    // Calls from before the table was known are none of its changes.
    let calls: Vec<_> = calls.await.into_iter().filter(|call| call.sent >= begun).collect();
    Ok(judge(size, &windows, &calls))
}

/// Lets the table change, or rest, at its pace.
async fn watch(size: &Size, house: &House, news: Vec<Option<Arc<Table>>>) -> Result<Window> {
    let mut pace = interval(Duration::from_secs(1) / size.pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changing = news.iter().any(Option::is_some);
    let (core, writer) = (threads::total(CORES)?, threads::total(WRITER)?);
    let begun = Instant::now();
    for table in news {
        if let Some(table) = table {
            house.tables.send_replace(table);
        }
        pace.tick().await;
    }
    // The first tick comes at once: the last change has its time too.
    pace.tick().await;
    let (core, writer) = (threads::total(CORES)? - core, threads::total(WRITER)? - writer);
    Ok(Window { changing, begun, ended: Instant::now(), core, writer })
}

/// Prints how calls fared, and complains of what is not as wanted.
fn judge(size: &Size, windows: &[Window], calls: &[Call]) -> Vec<String> {
    println!(
        "tables: {} changes over {} services of {ENDPOINTS} endpoints, windows of {CHANGES_PER_WINDOW}",
        size.changes, size.services,
    );
    let of = |changing: bool| windows.iter().filter(move |window| window.changing == changing);
    let changing = Times::of("changing", of(true), calls);
    let quiet = Times::of("quiet", of(false), calls);
    // How far two halves of the quiet times are from each other says what the machine alone does.
    let odd = Times::of("quiet, odd", of(false).step_by(2), calls);
    let even = Times::of("quiet, even", of(false).skip(1).step_by(2), calls);
    for times in [&changing, &quiet, &odd, &even] {
        times.print();
    }
    let spent = |by: fn(&Window) -> Duration| {
        let all = |changing| of(changing).map(by).sum::<Duration>().as_secs_f64() * 1e3;
        (all(true) - all(false)) / f64::from(size.changes)
    };
    println!(
        "  a change costs {:.2} ms of CPU beside the calls and {:.3} ms on the core that serves them",
        spent(|window| window.writer),
        spent(|window| window.core),
    );
    let ratio = changing.at(0.99).as_secs_f64() / quiet.at(0.99).as_secs_f64();
    let alone = even.at(0.99).as_secs_f64() / odd.at(0.99).as_secs_f64();
    let wanted = Bounds::WANTED.changing;
    println!("  p99 quiet to quiet: {alone:.2}");
    let failed: Vec<_> = calls.iter().filter_map(|call| call.outcome.as_ref().err()).collect();
    let changes = size.changes;
    must(&format!("{changes} table changes: 0 failed calls"), failed.len(), failed.is_empty());
    let p99 = format!("{changes} table changes: p99 at most {wanted} x quiet");
    must(&p99, format!("{ratio:.2} x"), ratio <= wanted);
    let mut complaints = Vec::new();
    if let Some(first) = failed.first() {
        complaints.push(format!("{} calls failed, the first with {first}", failed.len()));
    }
    // A time without calls has no p99, and no ratio either.
    if ratio.is_nan() || ratio > size.bounds.changing {
        complaints.push(format!("p99 while the table changes is {ratio:.2} of what it is while it rests"));
    }
    complaints
}

/// How long the calls of some windows took.
struct Times {
    what: &'static str,
    sorted: Vec<Duration>,
    /// The p99 of each window, sorted.
    windows: Vec<Duration>,
}

impl Times {
    fn of<'a>(what: &'static str, windows: impl Iterator<Item = &'a Window>, calls: &[Call]) -> Self {
        let (mut all, mut each) = (Vec::new(), Vec::new());
        for window in windows {
            let within = calls.iter().filter(|call| (window.begun..window.ended).contains(&call.sent));
            let mut times: Vec<_> = within.map(|call| call.took).collect();
            times.sort();
            each.push(share(&times, 0.99));
            all.append(&mut times);
        }
        all.sort();
        each.sort();
        Self { what, sorted: all, windows: each }
    }

    fn at(&self, place: f64) -> Duration {
        share(&self.sorted, place)
    }

    fn print(&self) {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|place| self.at(place));
        let (count, median) = (self.sorted.len(), share(&self.windows, 0.5));
        println!(
            "  {:<12} {count} calls, p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, median p99 of windows {median:?}",
            self.what
        );
    }
}

/// The time below which this share of the calls is.
fn share(sorted: &[Duration], place: f64) -> Duration {
    sorted.get((sorted.len() as f64 * place) as usize).copied().unwrap_or_default()
}

/// Takes one endpoint from the service that is called, never the same twice running, and alters some others.
fn alter(table: &mut Table, size: &Size, turn: u32, ports: &[u16]) {
    let missing = ports[turn as usize % ports.len()];
    let left = ports.iter().copied().filter(|port| *port != missing);
    table.services.insert(key("called"), listed(left));
    for touched in 0..TOUCHED.min(size.services) {
        let number = (turn * TOUCHED + touched) % size.services;
        let count = ENDPOINTS - 1 + (turn % 2) as u16;
        table.services.insert(key(&format!("listed-{number}")), listed(1_024..1_024 + count));
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::parse("", "", name).unwrap()
}

fn listed(ports: impl IntoIterator<Item = u16>) -> Arc<[Listed]> {
    ports.into_iter().map(|port| listed::listed("east", "127.0.0.1", port, &[])).collect()
}
