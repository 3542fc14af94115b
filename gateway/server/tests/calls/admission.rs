//! More calls than endpoints can work on: what is answered all the same, and who is sent away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use http::Response;
use http_body_util::BodyExt;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::harness::{Endpoint, House, full};

const ADAPTIVE: &str = "[admission]\nadaptive = true\n";

/// Calls that the endpoint works on at once.
const WORKERS: usize = 8;

/// What it works on each.
const WORK: Duration = Duration::from_millis(50);

/// Calls a second that it can do at best.
const BEST: u32 = 8 * 20;

/// Nothing is waited for longer: learning takes thousands of answers, and machines may be busy.
const LONG: Duration = Duration::from_secs(90);

/// An answer that comes later is worth nothing.
const WORTH: Duration = Duration::from_secs(3);

/// What came of the calls that were sent so far.
#[derive(Default)]
struct Heap {
    good: AtomicU64,
    late: AtomicU64,
    shed: AtomicU64,
}

/// An endpoint that queues what it cannot work on; tells how many it has answered.
async fn busy() -> (Endpoint, Arc<AtomicU64>) {
    let (workers, answered) = (Arc::new(Semaphore::new(WORKERS)), Arc::<AtomicU64>::default());
    let count = answered.clone();
    let endpoint = Endpoint::start(move |_| {
        let (workers, answered) = (workers.clone(), answered.clone());
        async move {
            let _worker = workers.acquire().await.unwrap();
            sleep(WORK).await;
            answered.fetch_add(1, SeqCst);
            Response::new(full("done"))
        }
    });
    (endpoint.await, count)
}

/// Sends calls at their pace, whatever comes of earlier ones, until it is dropped.
fn load(house: Arc<House>, heap: Arc<Heap>, per_second: u32) -> JoinSet<()> {
    let mut pacing = JoinSet::new();
    pacing.spawn(async move {
        let mut calls = JoinSet::new();
        let mut pace = interval(Duration::from_secs(1) / per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            pace.tick().await;
            while calls.try_join_next().is_some() {}
            let (house, heap) = (house.clone(), heap.clone());
            calls.spawn(async move {
                let begun = Instant::now();
                let answer = house.send(house.request("POST", "/").body(full("")).unwrap()).await;
                let (status, after) = (answer.status(), answer.headers().contains_key("retry-after"));
                let read = timeout(WORTH * 20, answer.into_body().collect()).await;
                let count = match (status.as_u16(), read) {
                    (200, Ok(Ok(_))) if begun.elapsed() <= WORTH => &heap.good,
                    (503, _) if after => &heap.shed,
                    _ => &heap.late,
                };
                count.fetch_add(1, SeqCst);
            });
        }
    });
    pacing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_are_called_three_times_too_often_go_on_answering_in_time() {
    let (endpoint, answered) = busy().await;
    let house =
        Arc::new(House::before(&[&endpoint], &format!("{ADAPTIVE}[hedging]\ndelay_max_ms = 0\n")).await);
    let heap = Arc::<Heap>::default();
    let quiet = load(house.clone(), heap.clone(), BEST / 2);
    until_counted("the quiet is known", || answered.load(SeqCst) >= 250).await;
    drop(quiet);
    let pacing = load(house.clone(), heap.clone(), BEST * 3);
    until_counted("calls are sent away", || heap.shed.load(SeqCst) >= 500).await;

    let learnt = answered.load(SeqCst) + 400;
    until_counted("the limit is learnt", || answered.load(SeqCst) >= learnt).await;
    let told = || (heap.good.load(SeqCst), answered.load(SeqCst));
    let (good, done) = told();
    until_counted("the endpoint has answered for a while", || answered.load(SeqCst) >= done + 500).await;
    let (good, done) = (told().0 - good, told().1 - done);
    let metrics = house.ask("/metrics").await;
    drop(pacing);

    println!("{good} answers in time of {done} that the endpoint gave");
    // Of what the endpoint did at all, so that a busy machine counts for neither side.
    assert!(good * 10 >= done * 8, "{good} answers in time of {done} that the endpoint gave");
    assert!(metrics.contains("landbridge_gateway_admission_shed_total{criticality=\"normal\"}"), "{metrics}");
}

async fn until_counted(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn nobody_is_sent_away_while_the_endpoints_keep_up() {
    let (endpoint, answered) = busy().await;
    let house = House::before(&[&endpoint], ADAPTIVE).await;
    let mut statuses = Vec::new();

    for _ in 0..20 {
        let calls = (0..WORKERS).map(|_| house.call("GET", "/", ""));
        let answers = futures_join(calls).await;
        statuses.extend(answers.into_iter().map(|(status, _)| status));
    }

    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert!(answered.load(SeqCst) >= 160);
}

/// Waits for all of them, side by side.
async fn futures_join<F: Future>(calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut going: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|cx| {
        for (call, answer) in &mut going {
            if answer.is_none()
                && let std::task::Poll::Ready(given) = call.as_mut().poll(cx)
            {
                *answer = Some(given);
            }
        }
        if going.iter().all(|(_, answer)| answer.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    going.into_iter().filter_map(|(_, answer)| answer).collect()
}
