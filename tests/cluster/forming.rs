//! Members find each other, whatever comes first, and show what any of them took.

use std::time::Duration;

use anyhow::{Result, ensure};
use landbridge_tests::{
    region::Region,
    sdk::{ask_well, connect, enrolment, service},
    wait::{until_async, within},
};
use landbridge_wire::nacos::grpc::ask;

use crate::clients::{count, persisted, register, shown};

/// A change reaches every member within this, on a machine that does other things too.
pub const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Waits until every member that runs shows exactly these instances.
pub async fn all_show(region: &Region, name: &str, instances: &[String]) {
    for member in region.members().into_iter().filter(|member| region.runs(*member)) {
        let seen =
            within(SEEN_WITHIN, async || region.shown(member, name).await.filter(|seen| seen == instances))
                .await;
        if seen.is_none() {
            let shown = region.shown(member, name).await;
            let told = region.tell_all().await;
            panic!("member {member} shows {shown:?} of {name}, not {instances:?}\n{told}");
        }
    }
}

/// Many instances reach every member within this.
const MANY_WITHIN: Duration = Duration::from_secs(300);

/// Waits until every member that runs shows exactly so many instances of each service.
pub async fn all_are_seen(region: &Region, wanted: &[(String, usize)]) {
    for member in region.members().into_iter().filter(|member| region.runs(*member)) {
        for (service, live) in wanted {
            let seen = async || count(region.http(member), service).await.filter(|shown| shown == live);
            if within(MANY_WITHIN, seen).await.is_none() {
                let shown = count(region.http(member), service).await;
                panic!("member {member} shows {shown:?} of {live} of {service}\n{}", region.tell_all().await);
            }
        }
    }
}

/// A region of three that is ready.
pub async fn three() -> Result<Region> {
    let mut region = Region::new(3)?;
    region.start_all()?;
    region.all_ready().await;
    Ok(region)
}

pub async fn three_members_form_in_any_order() -> Result<()> {
    let mut region = Region::new(3)?;
    region.start(3)?;
    region.start(1)?;
    region.ready(1).await;
    region.ready(3).await;
    persisted(region.http(1), "first", 1).await;

    region.start(2)?;
    region.ready(2).await;

    all_show(&region, "first", &[shown(1)]).await;
    until_async("all three vote", SEEN_WITHIN, async || {
        let members = region.page(2, "members").await?;
        let parts: Vec<_> = members.as_array()?.iter().map(|row| row["raft"].clone()).collect();
        (parts.iter().filter(|part| *part == "voter").count() == 2
            && parts.iter().any(|part| part == "leader"))
        .then_some(())
    })
    .await;
    until_async("one region has one era", SEEN_WITHIN, async || {
        let mut eras = Vec::new();
        for member in region.members() {
            eras.push(region.page(member, "regions").await?[0]["era"].clone());
        }
        eras.iter().all(|era| *era == eras[0] && era.is_u64()).then_some(())
    })
    .await;
    Ok(())
}

pub async fn a_member_that_comes_back_at_another_address_is_found_there_and_nothing_else_changes()
-> Result<()> {
    let mut region = three().await?;
    persisted(region.http(1), "stays", 1).await;

    region.kill(3)?;
    // Other ports, the same disk; the others read of it in the list while they run.
    region.seat(3)?;
    region.start(3)?;
    region.ready(3).await;

    persisted(region.http(3), "stays", 2).await;
    all_show(&region, "stays", &[shown(1), shown(2)]).await;
    let there = region.http(3).to_string();
    until_async("member 1 finds member 3 there, a voter as before", SEEN_WITHIN, async || {
        let rows = region.page(1, "members").await?;
        let rows = rows.as_array().filter(|rows| rows.len() == 3)?;
        let votes = rows.iter().all(|row| row["raft"] == "voter" || row["raft"] == "leader");
        (votes && rows[2]["address"] == there && rows[2]["state"] == "UP").then_some(())
    })
    .await;
    Ok(())
}

pub async fn what_is_registered_at_one_is_seen_at_the_others() -> Result<()> {
    let region = three().await?;

    for member in region.members() {
        register(&region, member, "beats", u32::from(member)).await?;
        persisted(region.http(member), "stays", u32::from(member)).await;
    }
    let mut connection = connect(region.grpc(2)).await?;
    let instances = [enrolment(1), enrolment(2)];
    ask_well(&mut connection.requests, ask::register_batch(&service("sessions"), &instances)).await?;

    let numbers = [shown(1), shown(2), shown(3)];
    all_show(&region, "beats", &numbers).await;
    all_show(&region, "stays", &numbers).await;
    let named = instances.map(|held| format!("{}:{}", held.key.ip, held.key.port));
    all_show(&region, "sessions", &named).await;
    drop(connection);
    all_show(&region, "sessions", &[]).await;
    Ok(())
}

pub async fn a_list_that_leaves_this_member_out_is_refused() -> Result<()> {
    let mut region = Region::new(2)?;
    region.sets.push("member=7".to_owned());

    region.start(1)?;

    let status = until_async("it ends", SEEN_WITHIN, async || region.ended_by_itself(1).ok().flatten()).await;
    ensure!(!status.success(), "it served although nobody would have found it");
    ensure!(region.log(1).contains("is not listed"), "it said:\n{}", region.log(1));
    Ok(())
}

pub async fn a_list_that_is_empty_founds_no_region_of_its_own() -> Result<()> {
    let mut region = Region::new(3)?;
    let file = region.data(9);
    std::fs::write(&file, "# somebody is about to write\n")?;
    region.sets.push(format!("cluster.members_file={}", file.display()));

    region.start(1)?;

    let status = until_async("it ends", SEEN_WITHIN, async || region.ended_by_itself(1).ok().flatten()).await;
    ensure!(!status.success(), "it stands alone and takes writes that the others never see");
    ensure!(region.log(1).contains("nobody is listed"), "it said:\n{}", region.log(1));
    Ok(())
}
