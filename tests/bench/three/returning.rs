//! kill -9 of one member and of all, with thousands of instances: how soon who was killed shows all of them, and that nobody who
//! answers ever lacks one. Half of the instances belong to connections, the other half to clients that beat all the time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{
    http,
    region::Region,
    sdk::{Connection, ask_well, connect, enrolment, service},
    wait::{until_async, within},
};
use landbridge_wire::nacos::grpc::ask;
use serde_json::Value;
use tokio::{task::JoinHandle, time::interval};

use super::{Scale, ms, verdict};

/// Services over which instances are spread.
const SERVICES: u32 = 50;

/// Copies reach the disk within this after the last change, with room.
const CHECKPOINTED: Duration = Duration::from_millis(1_000);

/// Everything is shown within this, or never.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);

/// Each client beats once in this; SDKs beat every 5 s, and a lease lasts 30 s.
const BEATS_EVERY: Duration = Duration::from_secs(8);

/// The must of the targets.
const MUST: Duration = Duration::from_millis(1_300);

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    let mut region = super::ready().await?;
    let whole = (scale.instances / SERVICES) as usize;
    let _connections = fill(&region, whole as u32).await?;
    let _beating = Beating::start(&region, whole as u32);
    for member in region.members() {
        all_shown(&region, member, whole).await?;
    }
    checkpointed().await;
    for killed in [vec![2], region.members()] {
        for member in &killed {
            region.kill(*member)?;
        }
        let begun = Instant::now();
        for member in &killed {
            region.start(*member)?;
        }
        let mut took = Duration::ZERO;
        for member in &killed {
            all_shown(&region, *member, whole).await?;
            took = took.max(begun.elapsed());
        }
        println!(
            "kill -9 of {} of three with {} instances: all shown again after {:.0} ms, no answer without them \
             (<= 1.3 s: {})",
            killed.len(),
            whole as u32 * SERVICES,
            ms(took),
            verdict(took <= MUST)
        );
        checkpointed().await;
    }
    Ok(())
}

/// Registers so many instances of each service: at each member a third of the services, half of each over HTTP with beats.
async fn fill(region: &Region, each: u32) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for place in 0..SERVICES {
        let member = 1 + (place % 3) as u16;
        let mut connection = connect(region.grpc(member)).await?;
        let set: Vec<_> = (place * each..place * each + each / 2).map(enrolment).collect();
        ask_well(&mut connection.requests, ask::register_batch(&service(&name(place)), &set)).await?;
        connections.push(connection);
        for number in beating(place, each) {
            let said = http::ask(region.http(member), "POST", &about("instance", place, number)).await;
            ensure!(said.as_ref().is_some_and(|(status, _)| *status == 200), "not registered: {said:?}");
        }
    }
    Ok(connections)
}

/// The instances of a service that live by beats.
fn beating(place: u32, each: u32) -> std::ops::Range<u32> {
    place * each + each / 2..(place + 1) * each
}

fn about(what: &str, place: u32, number: u32) -> String {
    let held = enrolment(number).key;
    format!("/nacos/v1/ns/{what}?serviceName={}&ip={}&port={}", name(place), held.ip, held.port)
}

/// The clients that beat, each at the member that it knows first, else at the next; ends when it goes out of sight.
struct Beating(JoinHandle<()>);

impl Beating {
    fn start(region: &Region, each: u32) -> Self {
        let members = region.members().into_iter().map(|member| region.http(member)).collect::<Vec<_>>();
        let all = move |place: u32| beating(place, each).map(move |number| (place, number));
        let clients: Vec<(u32, u32)> = (0..SERVICES).flat_map(all).collect();
        Self(tokio::spawn(async move {
            let mut pace = interval(BEATS_EVERY / clients.len().max(1) as u32);
            for (place, number) in clients.iter().copied().cycle() {
                pace.tick().await;
                let path = about("instance/beat", place, number);
                for step in 0..members.len() {
                    let at = members[(place as usize + step) % members.len()];
                    if http::ask(at, "PUT", &path).await.is_some_and(|(status, _)| status == 200) {
                        break;
                    }
                }
            }
        }))
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn name(place: u32) -> String {
    format!("svc-{place}")
}

async fn checkpointed() {
    let registered = Instant::now();
    let saved = async || (registered.elapsed() >= CHECKPOINTED).then_some(());
    until_async("the copies are on disk", 2 * CHECKPOINTED, saved).await;
}

/// Waits until a member shows every service whole. While it was never killed a short list may be shown; afterwards not.
async fn all_shown(region: &Region, member: u16, whole: usize) -> Result<()> {
    for place in 0..SERVICES {
        let path = format!("/nacos/v1/ns/instance/list?serviceName={}", name(place));
        let shown = async || {
            let (status, text) = http::ask(region.http(member), "GET", &path).await?;
            let list: Value = (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()?;
            Some(list["hosts"].as_array()?.len())
        };
        let shown = within(SHOWN_WITHIN, shown).await;
        let shown =
            shown.with_context(|| format!("member {member} never answers:\n{}", region.log(member)))?;
        ensure!(shown == whole, "member {member} shows {shown} of {whole} of {}", name(place));
    }
    Ok(())
}
