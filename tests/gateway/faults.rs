//! Two regions of two zones of two endpoints under open load, half of it idempotent, while one thing breaks at a time.
//!
//! Wanted in every case: no idempotent call fails, and none leaves the region while one of its zones is well.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landbridge_tests::wait::until_async;

use crate::{
    bounds::{self, Bounds, SLOW_AFTER},
    cases::{Fault, Scope, Struck, strike},
    endpoint::Endpoint,
    house::{House, at, page},
    load::{CALL_WITHIN, Call, Load},
    size::Size,
};

/// Nothing is waited for longer than this, beyond what a run was asked to watch.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls that were answered before anything breaks.
const WARM_CALLS: usize = 60;

/// Every endpoint: region, zone, number.
const PLACES: [(&str, &str, u32); 8] = [
    ("east", "a", 1),
    ("east", "a", 2),
    ("east", "b", 1),
    ("east", "b", 2),
    ("west", "a", 1),
    ("west", "a", 2),
    ("west", "b", 1),
    ("west", "b", 2),
];

/// What one case showed.
struct Seen {
    fault: Fault,
    scope: Scope,
    calls: Vec<Call>,
    struck_at: Instant,
    /// Requests that arrived in the other region, tries and hedges included.
    left_region: u64,
    /// When operators were told that every struck endpoint was out of rotation.
    out_after: Option<Duration>,
    /// The latest that a call left after its time: so long the machine itself stood still.
    late: Duration,
}

/// Every fault that shows.
pub(crate) fn whatever_breaks(size: &Size) {
    play_all(size, &Fault::TOLD);
}

/// Every fault that only silence shows.
pub(crate) fn whatever_hangs(size: &Size) {
    play_all(size, &Fault::SILENT);
}

/// Plays every case, prints the table, and complains about all that went wrong at once.
fn play_all(size: &Size, faults: &[Fault]) {
    let cases = faults.iter().flat_map(|fault| Scope::ALL.map(|scope| (*fault, scope)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    // Cases hold handles of processes, which stay on one thread; loads and gateways run on others.
    let complaints = tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
        let mut complaints = Vec::new();
        let (mut running, mut left) = (tokio::task::JoinSet::new(), cases.collect::<Vec<_>>().into_iter());
        println!("{}", Seen::HEAD);
        loop {
            while running.len() < size.jobs
                && let Some((fault, scope)) = left.next()
            {
                running.spawn_local(play_until_judged(*size, fault, scope));
            }
            let Some(ended) = running.join_next().await else { return complaints };
            complaints.extend(ended.unwrap().unwrap());
        }
    });
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Plays a case and gives what was wrong. A case that went wrong while the machine stood still tells nothing of the
/// gateway: calls left late and in crowds, and whoever waited looked dead. It is played again, as the table shows.
async fn play_until_judged(size: Size, fault: Fault, scope: Scope) -> Result<Vec<String>> {
    let mut plays = 1;
    loop {
        let seen = play(size, fault, scope).await?;
        let complaints = seen.complaints(size.bounds);
        let again = !complaints.is_empty() && seen.late > bounds::STILL && plays < bounds::PLAYS;
        println!("{}{}", seen.row(), if again { " played again |" } else { "" });
        if !again {
            return Ok(complaints);
        }
        plays += 1;
    }
}

async fn play(size: Size, fault: Fault, scope: Scope) -> Result<Seen> {
    let mut endpoints = Vec::new();
    for (region, zone, number) in PLACES {
        endpoints.push(Endpoint::start(&format!("{region}/{zone}/{number}"))?);
    }
    let lines: Vec<_> =
        PLACES.iter().zip(&endpoints).map(|((region, zone, _), one)| at(one.address, region, zone)).collect();
    let house = House::open(&page(&lines, "")).await?;
    let load = Load::start(house.address, "web.test", "/", size.rate);
    until_async("the first calls are answered", PATIENCE, async || {
        (load.answered() >= WARM_CALLS).then_some(())
    })
    .await;

    let before = of_other_region(&mut endpoints)?;
    let mut hit: Vec<_> = endpoints.iter_mut().filter(|one| scope.takes(&one.name)).collect();
    let addresses: Vec<_> = hit.iter().map(|one| one.address.to_string()).collect();
    let struck_at = Instant::now();
    let struck: Struck = strike(fault, &mut hit)?;
    let (sent, watched) = (load.sent(), u64::from(size.rate) * u64::from(size.watch_s));
    let mut out_after = None;
    let patience = PATIENCE + Duration::from_secs(size.watch_s.into());
    until_async("enough calls were sent after the fault", patience, async || {
        if out_after.is_none() && are_out(&house, &addresses).await.unwrap_or(false) {
            out_after = Some(struck_at.elapsed());
        }
        (load.sent() >= sent + watched).then_some(())
    })
    .await;
    load.stop();
    let calls =
        until_async("every idempotent call has ended", PATIENCE + CALL_WITHIN, async || load.settled());
    let calls = calls.await;
    let left_region = of_other_region(&mut endpoints)? - before;
    drop(struck);
    Ok(Seen { fault, scope, calls, struck_at, left_region, out_after, late: load.latest() })
}

/// How many requests the other region has seen; it is never struck, so it can be asked.
fn of_other_region(endpoints: &mut [Endpoint]) -> Result<u64> {
    endpoints.iter_mut().filter(|one| one.name.starts_with("west/")).map(Endpoint::seen).sum()
}

/// Whether operators are told that all of these are out of rotation.
async fn are_out(house: &House, addresses: &[String]) -> Result<bool> {
    let path = "/landbridge/v1/endpoints?service=static:web";
    let (_, text) =
        landbridge_tests::http::ask(house.admin, "GET", path).await.context("the admin page answers")?;
    let told: serde_json::Value = serde_json::from_str(&text)?;
    let out = |address: &String| {
        let listed = told["endpoints"].as_array().into_iter().flatten();
        listed
            .filter(|one| one["address"] == **address)
            .any(|one| one["ejected_for_ms"].as_u64().is_some_and(|left| left > 0))
    };
    Ok(addresses.iter().all(out))
}

impl Seen {
    const HEAD: &'static str = "| fault | of | idempotent failed / sent | others failed / ended | slowest ms | p99 ms | \
                                left the region | saw the slow one | out after ms | machine still ms |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

    fn idempotent(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.idempotent)
    }

    fn failed(&self) -> impl Iterator<Item = &String> {
        self.idempotent().filter_map(|call| call.outcome.as_ref().err())
    }

    /// The slowest idempotent call that had not ended when the fault came.
    fn times(&self) -> Vec<Duration> {
        let after = self.idempotent().filter(|call| call.sent + call.took >= self.struck_at);
        let mut times: Vec<_> = after.map(|call| call.took).collect();
        times.sort();
        times
    }

    fn slowest(&self) -> Duration {
        self.times().last().copied().unwrap_or_default()
    }

    /// The share of idempotent calls that a struck endpoint answered once the gateway had a second to learn.
    fn slow_share(&self) -> f64 {
        let late: Vec<_> =
            self.idempotent().filter(|call| call.sent >= self.struck_at + SLOW_AFTER).collect();
        let met = late.iter().filter(|call| call.outcome.as_ref().is_ok_and(|who| self.scope.takes(who)));
        met.count() as f64 / late.len().max(1) as f64
    }

    fn row(&self) -> String {
        let times = self.times();
        let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        let others = self.calls.iter().filter(|call| !call.idempotent);
        let others: Vec<_> = others.map(|call| call.outcome.is_err()).collect();
        let mark = |good: bool| if good { "" } else { " !" };
        let measured = self.fault == Fault::Slow && self.scope == Scope::Endpoint;
        let slow = measured.then(|| {
            let share = self.slow_share();
            format!("{:.1} %{}", share * 100.0, mark(share < Bounds::WANTED.slow_share))
        });
        let out = (self.fault == Fault::BlackHole).then(|| match self.out_after {
            Some(out) => format!("{}{}", out.as_millis(), mark(out <= Bounds::WANTED.out)),
            None => "never !".to_owned(),
        });
        format!(
            "| {:?} | {:?} | {} / {} | {} / {} | {}{} | {} | {} | {} | {} | {} |",
            self.fault,
            self.scope,
            self.failed().count(),
            self.idempotent().count(),
            others.iter().filter(|failed| **failed).count(),
            others.len(),
            self.slowest().as_millis(),
            mark(self.slowest() <= Bounds::WANTED.slowest),
            p99.as_millis(),
            self.left_region,
            slow.unwrap_or_default(),
            out.unwrap_or_default(),
            self.late.as_millis(),
        )
    }

    fn complaints(&self, bounds: Bounds) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut complain =
            |what: String| complaints.push(format!("{:?} of {:?}: {what}", self.fault, self.scope));
        if let Some(first) = self.failed().next() {
            complain(format!("{} idempotent calls failed, the first with {first}", self.failed().count()));
        }
        if self.scope != Scope::Region && self.left_region > 0 {
            complain(format!("{} requests left the region while a zone of it was well", self.left_region));
        }
        if self.fault.hangs() && self.slowest() > bounds.slowest {
            complain(format!("the slowest idempotent call took {:?}", self.slowest()));
        }
        let alone = self.scope == Scope::Endpoint;
        if alone && self.fault == Fault::Slow && self.slow_share() > bounds.slow_share {
            complain(format!("{:.2} of the calls saw the slow endpoint", self.slow_share()));
        }
        if self.fault == Fault::BlackHole && self.out_after.is_none_or(|out| out > bounds.out) {
            complain(format!("the black hole was out of rotation after {:?}", self.out_after));
        }
        complaints
    }
}
