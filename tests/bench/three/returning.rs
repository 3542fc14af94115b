//! kill -9 of one member and of all, with thousands of instances: how soon who was killed shows all of them, and that nobody who
//! answers ever lacks one. After a kill of all, READY waits for the feeds of the lives before (R14), so that row has no must.

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

use super::{Scale, ms, verdict};

/// Services over which instances are spread.
const SERVICES: u32 = 50;

/// Copies reach the disk within this after the last change, with room.
const CHECKPOINTED: Duration = Duration::from_millis(1_000);

/// Everything is shown within this, or never.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);

/// The must of the targets.
const MUST: Duration = Duration::from_millis(1_300);

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    let mut region = super::ready().await?;
    let whole = (scale.instances / SERVICES) as usize;
    let _connections = fill(&region, whole as u32).await?;
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
        let must = match killed.len() {
            1 => format!("(<= 1.3 s: {})", verdict(took <= MUST)),
            _ => "(no must)".to_owned(),
        };
        println!(
            "kill -9 of {} of three with {} instances: all shown again after {:.0} ms, no answer without them {must}",
            killed.len(),
            whole as u32 * SERVICES,
            ms(took)
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
        for number in place * each + each / 2..(place + 1) * each {
            let held = enrolment(number).key;
            let path = format!(
                "/nacos/v1/ns/instance?serviceName={}&ip={}&port={}",
                name(place),
                held.ip,
                held.port
            );
            let said = http::ask(region.http(member), "POST", &path).await;
            ensure!(said.as_ref().is_some_and(|(status, _)| *status == 200), "not registered: {said:?}");
        }
    }
    Ok(connections)
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
