//! A member that joins a region with many instances: it is ready soon, shows all of them at once, and nobody is evicted.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use landbridge_tests::{
    http,
    region::Region,
    sdk::{Connection, ask_well, connect, enrolment, service},
    wait::{until_async, within},
};
use landbridge_wire::nacos::grpc::ask;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::interval,
};

use crate::{
    clients::{Beating, Looking, count},
    crashing::times,
};

/// Instances that the region has, unless `JOIN_INSTANCES` says otherwise.
const INSTANCES: u32 = 2_000;

/// Instances of one service.
const PER_SERVICE: u32 = 100;

/// Connections that publish them.
const CONNECTIONS: u32 = 8;

/// A member that joins is ready after this at most, with up to [`FEW`] instances.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// See [`READY_WITHIN`].
const FEW: u64 = 100_000;

/// Beyond these each so many may take a second more.
const INSTANCES_A_SECOND: u64 = 20_000;

/// Clients that beat meanwhile; whoever is evicted would be missed.
const BEATS: u32 = 20;

/// All instances are shown by the first two members within this.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(600);

/// Between two looks at the metrics of a member.
const LOOK_EVERY: Duration = Duration::from_millis(250);

fn name(place: u32) -> String {
    format!("crowd-{place}")
}

/// Publishes all instances at the first two members.
async fn publish(region: &Region, services: u32) -> Result<Vec<Connection>> {
    let mut publishing = JoinSet::new();
    for number in 0..CONNECTIONS {
        let at = region.grpc(1 + number as u16 % 2);
        publishing.spawn(async move {
            let mut connection = connect(at).await?;
            for place in (number..services).step_by(CONNECTIONS as usize) {
                let set: Vec<_> = (place * PER_SERVICE..(place + 1) * PER_SERVICE).map(enrolment).collect();
                let batch = ask::register_batch(&service(&name(place)), &set);
                ask_well(&mut connection.requests, batch).await?;
            }
            anyhow::Ok(connection)
        });
    }
    publishing.join_all().await.into_iter().collect()
}

/// What a member's metrics say of who is there and who was sent away.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Census {
    /// Instances shown.
    shown: u64,
    /// Leases that ended by silence, and SDK connections that ended.
    evicted: u64,
}

impl Census {
    async fn take(at: SocketAddr) -> Option<Self> {
        let (status, page) = http::ask(at, "GET", "/metrics").await?;
        let sum = |metric: &str| -> u64 {
            let of = |line: &&str| {
                line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
            };
            let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
            page.lines().filter(of).filter_map(value).sum::<f64>() as u64
        };
        let ended = sum("landbridge_registry_connections_closed_total");
        let evicted = sum("landbridge_registry_lapses_total") + ended;
        (status == 200).then(|| Self { shown: sum("landbridge_registry_instances"), evicted })
    }
}

/// Looks at the metrics of members all the time.
struct Counting {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Census>>,
}

impl Counting {
    fn start(members: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (mut seen, mut pause) = (Vec::new(), interval(LOOK_EVERY));
            while !ended.load(Ordering::Relaxed) {
                pause.tick().await;
                for member in &members {
                    seen.extend(Census::take(*member).await);
                }
            }
            seen
        });
        Self { stop, task }
    }

    /// The fewest that were shown, and the most that were evicted.
    async fn end(self) -> Result<Census> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.task.await?;
        ensure!(!seen.is_empty(), "nobody counted");
        let (shown, evicted) =
            (seen.iter().map(|seen| seen.shown).min(), seen.iter().map(|seen| seen.evicted).max());
        Ok(Census { shown: shown.unwrap_or_default(), evicted: evicted.unwrap_or_default() })
    }
}

pub async fn a_member_that_joins_shows_everything_at_once_and_nobody_is_evicted() -> Result<()> {
    let mut region = Region::new(3)?;
    region.start(1)?;
    region.start(2)?;
    region.all_ready().await;
    let services = times("JOIN_INSTANCES", INSTANCES).div_ceil(PER_SERVICE);
    let all = Census { shown: u64::from(services * PER_SERVICE + BEATS), evicted: 0 };
    let begun = Instant::now();
    let connections = publish(&region, services).await?;
    let http = [1, 2].map(|member| region.http(member)).to_vec();
    let beating = Beating::start(http.clone(), "orders", 0..BEATS, Duration::from_secs(4));
    for member in &http {
        let seen = async || Census::take(*member).await.filter(|seen| *seen == all).map(drop);
        if within(PUBLISHED_WITHIN, seen).await.is_none() {
            let seen = Census::take(*member).await;
            panic!("{member} shows {seen:?}, not {all:?}\n{}", region.tell_all().await);
        }
    }
    println!("  {} instances were published and shown by two members in {:?}", all.shown, begun.elapsed());
    let wanted = [("orders".to_owned(), BEATS as usize), (name(services - 1), PER_SERVICE as usize)];
    let (looking, counting) = (Looking::start(&region, wanted.to_vec()), Counting::start(http));

    let begun = Instant::now();
    region.start(3)?;
    region.ready(3).await;
    let ready = begun.elapsed();

    for place in 0..services {
        let shown = until_async("it answers", Duration::from_secs(60), async || {
            count(region.http(3), &name(place)).await
        });
        ensure!(shown.await == PER_SERVICE as usize, "{} lacks somebody when it is ready", name(place));
    }
    let (seen, counted) = (looking.end().await?, counting.end().await?);
    println!(
        "  READY after {:.2} s with all of them; evicted meanwhile {}, shown never fewer than {}; {} whole answers",
        ready.as_secs_f64(),
        counted.evicted,
        counted.shown,
        seen.whole
    );
    let more = Duration::from_secs(all.shown.saturating_sub(FEW) / INSTANCES_A_SECOND);
    let bound = READY_WITHIN + more;
    ensure!(ready <= bound, "{ready:?} until READY with {} instances, not {bound:?}", all.shown);
    ensure!(counted == all, "the members counted {counted:?}, not {all:?}");
    beating.stop().await;
    drop(connections);
    Ok(())
}
