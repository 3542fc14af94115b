//! Two regions of two zones of two endpoints under open load, half of it idempotent, while one thing breaks at a time.
//!
//! Wanted in every case: no idempotent call fails, and none leaves the region while one of its zones is well.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landbridge_tests::wait::until_async;

use crate::{
    bounds::{self, Bounds, SLOW_AFTER, must},
    cases::{Fault, Scope, Struck, strike},
    endpoint::Endpoint,
    house::{House, at, page},
    load::{CALL_WITHIN, Call, Load},
    size::Size,
    threads,
};

/// Nothing is waited for longer than this, beyond what a run was asked to watch.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls that were answered before anything breaks.
const WARM_CALLS: usize = 60;

/// Callers of a gateway with several threads: so many connections are not all given to one of them.
const CALLERS: usize = 16;

/// A core that serves calls spends more than this in a case.
const SERVES: Duration = Duration::from_millis(2);

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
    /// Requests that arrived at a slow endpoint once the gateway had a second to learn, tries and hedges included, and
    /// the calls that were sent meanwhile.
    met: Option<(u64, u64)>,
    /// Threads of the gateway that served calls.
    cores: usize,
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

/// A zone dies behind a gateway of two threads, both of which serve calls and know what the other one learned.
pub(crate) fn two_threads(size: &Size) {
    let size = Size { threads: 2, ..*size };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    println!("{}", Seen::HEAD);
    let played = tokio::task::LocalSet::new()
        .block_on(&runtime.unwrap(), play_until_judged(size, Fault::Kill, Scope::Zone));
    let (_, complaints) = played.unwrap();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Plays every case, prints the table, and complains about all that went wrong at once.
fn play_all(size: &Size, faults: &[Fault]) {
    let played = faults.iter().filter(|fault| size.fault.is_none_or(|only| only == **fault));
    let cases = played.flat_map(|fault| Scope::ALL.map(|scope| (*fault, scope)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    // Cases hold handles of processes, which stay on one thread; loads and gateways run on others.
    let (seen, complaints) = tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
        let (mut all, mut complaints) = (Vec::new(), Vec::new());
        let (mut running, mut left) = (tokio::task::JoinSet::new(), cases.collect::<Vec<_>>().into_iter());
        println!("{}", Seen::HEAD);
        loop {
            while running.len() < size.jobs
                && let Some((fault, scope)) = left.next()
            {
                running.spawn_local(play_until_judged(*size, fault, scope));
            }
            let Some(ended) = running.join_next().await else { return (all, complaints) };
            let (seen, wrong) = ended.unwrap().unwrap();
            complaints.extend(wrong);
            all.push(seen);
        }
    });
    if !seen.is_empty() {
        tell_musts(&seen);
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Plays a case and gives what was wrong. A case that went wrong while the machine stood still tells nothing of the
/// gateway: calls left late and in crowds, and whoever waited looked dead. It is played again, as the table shows.
async fn play_until_judged(size: Size, fault: Fault, scope: Scope) -> Result<(Seen, Vec<String>)> {
    let mut plays = 1;
    loop {
        let seen = play(size, fault, scope).await?;
        let complaints = seen.complaints(size.bounds, size.threads);
        let again = !complaints.is_empty() && seen.late > bounds::STILL && plays < bounds::PLAYS;
        println!("{}{}", seen.row(), if again { " played again |" } else { "" });
        if !again {
            return Ok((seen, complaints));
        }
        plays += 1;
    }
}

/// Says what is wanted of all cases together, and whether it holds.
fn tell_musts(seen: &[Seen]) {
    let mut told: Vec<_> = seen.iter().map(|one| format!("{:?}", one.fault)).collect();
    told.sort();
    told.dedup();
    let faults = told.join(", ");
    let failed: usize = seen.iter().map(|one| one.failed().count()).sum();
    must(&format!("{faults}: 0 idempotent calls failed"), failed, failed == 0);
    let local = seen.iter().filter(|one| one.scope != Scope::Region);
    let left: u64 = local.map(|one| one.left_region).sum();
    must(&format!("{faults}: 0 requests left the region while a zone was well"), left, left == 0);
    let Bounds { slowest, slow_share, out, .. } = Bounds::WANTED;
    if let Some(found) = seen.iter().filter(|one| one.fault.hangs()).map(Seen::slowest).max() {
        must(
            &format!("what hangs among them: slowest call at most {slowest:?}"),
            format!("{found:?}"),
            found <= slowest,
        );
    }
    let swallowing = seen.iter().filter(|one| one.fault.swallows());
    if let Some(found) = swallowing.map(|one| one.out_after.unwrap_or(Duration::MAX)).max() {
        must(
            &format!("what swallows calls among them: out of rotation within {out:?}"),
            format!("{found:?}"),
            found <= out,
        );
    }
    for scope in [Scope::Endpoint, Scope::Zone] {
        let slow = seen.iter().find(|one| one.fault == Fault::Slow && one.scope == scope);
        if let Some(share) = slow.and_then(Seen::slow_share) {
            let what = format!("Slow {scope:?}: requests that meet it after a second below {slow_share}");
            must(&what, format!("{share:.3}"), share < slow_share);
        }
    }
}

async fn play(size: Size, fault: Fault, scope: Scope) -> Result<Seen> {
    let mut endpoints = Vec::new();
    for (region, zone, number) in PLACES {
        endpoints.push(Endpoint::start(&format!("{region}/{zone}/{number}"))?);
    }
    let lines: Vec<_> =
        PLACES.iter().zip(&endpoints).map(|((region, zone, _), one)| at(one.address, region, zone)).collect();
    let others = threads::spent(threads::CORES)?;
    let house = House::of_threads(size.threads, &page(&lines, "")).await?;
    let callers = if size.threads > 1 { CALLERS } else { 1 };
    let load = Load::of_callers(callers, house.address, "web.test", "/", size.rate);
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
    let (mut out_after, mut learned) = (None, None);
    let patience = PATIENCE + Duration::from_secs(size.watch_s.into());
    until_async("enough calls were sent after the fault", patience, async || {
        if out_after.is_none() && are_out(&house, &addresses).await.unwrap_or(false) {
            out_after = Some(struck_at.elapsed());
        }
        if fault == Fault::Slow && learned.is_none() && struck_at.elapsed() >= SLOW_AFTER {
            learned = seen_by(&mut hit).ok().map(|seen| (seen, load.sent()));
        }
        (load.sent() >= sent + watched).then_some(())
    })
    .await;
    load.stop();
    let met =
        learned.map(|(seen, sent)| Ok::<_, anyhow::Error>((seen_by(&mut hit)? - seen, load.sent() - sent)));
    let met = met.transpose()?;
    let calls =
        until_async("every idempotent call has ended", PATIENCE + CALL_WITHIN, async || load.settled());
    let calls = calls.await;
    let left_region = of_other_region(&mut endpoints)? - before;
    let serving = threads::spent(threads::CORES)?;
    let cores = serving.iter().filter(|(id, spent)| **spent > SERVES && !others.contains_key(id)).count();
    drop(struck);
    Ok(Seen { fault, scope, calls, struck_at, left_region, met, cores, out_after, late: load.latest() })
}

/// How many requests the other region has seen; it is never struck, so it can be asked.
fn of_other_region(endpoints: &mut [Endpoint]) -> Result<u64> {
    endpoints.iter_mut().filter(|one| one.name.starts_with("west/")).map(Endpoint::seen).sum()
}

/// How many requests these have seen.
fn seen_by(endpoints: &mut [&mut Endpoint]) -> Result<u64> {
    endpoints.iter_mut().map(|one| one.seen()).sum()
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

    /// Requests that a slow endpoint saw, for each call, once the gateway had a second to learn.
    fn slow_share(&self) -> Option<f64> {
        self.met.map(|(met, sent)| met as f64 / sent.max(1) as f64)
    }

    fn row(&self) -> String {
        let times = self.times();
        let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        let others = self.calls.iter().filter(|call| !call.idempotent);
        let others: Vec<_> = others.map(|call| call.outcome.is_err()).collect();
        let mark = |good: bool| if good { "" } else { " !" };
        let slow = self.slow_share().map(|share| {
            let held = share < Bounds::WANTED.slow_share || self.scope == Scope::Region;
            format!("{:.1} %{}", share * 100.0, mark(held))
        });
        let out = self.fault.swallows().then(|| match self.out_after {
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

    fn complaints(&self, bounds: Bounds, threads: usize) -> Vec<String> {
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
        // Where a whole region is slow, nobody is better.
        if self.scope != Scope::Region
            && self.fault == Fault::Slow
            && self.slow_share().is_none_or(|share| share >= bounds.slow_share)
        {
            complain(format!("{:?} requests for each call met a slow endpoint", self.slow_share()));
        }
        if self.fault.swallows() && self.out_after.is_none_or(|out| out > bounds.out) {
            complain(format!("what swallows calls was out of rotation after {:?}", self.out_after));
        }
        if self.cores < threads {
            complain(format!("{} of the gateway's {threads} threads served calls", self.cores));
        }
        complaints
    }
}
