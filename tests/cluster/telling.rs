//! What members tell operators of each other, also when they have no majority.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landbridge_tests::{http, region::Region, wait::until_async};
use serde_json::Value;

use crate::{
    clients::{persisted, shown},
    forming::{SEEN_WITHIN, all_show, three},
    refilling::all_vote,
};

/// How old a list must be said to be before it counts as marked stale.
const OLD_MS: u64 = 5_000;

/// Silence is noticed, and grows that old, within this on a machine that does other things too.
const TOLD_WITHIN: Duration = Duration::from_secs(120);

async fn row(region: &Region, asked: u16, of: u16) -> Option<Value> {
    let rows = region.page(asked, "members").await?;
    rows.as_array()?.iter().find(|row| row["member"] == of).cloned()
}

/// What a member answers of a service: the staleness that it tells, and the instances.
async fn list(region: &Region, member: u16, service: &str) -> Option<(u64, Value)> {
    let at = region.http(member);
    let request = format!(
        "GET /nacos/v1/ns/instance/list?serviceName={service} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n"
    );
    let answer = http::say(at, request.as_bytes()).await?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let told = head.lines().find_map(|line| line.strip_prefix("landbridge-staleness-ms: "))?;
    let body: Value = serde_json::from_str(body.get(body.find('{')?..=body.rfind('}')?)?).ok()?;
    Some((told.parse().ok()?, body))
}

pub async fn members_tell_who_is_where_who_leads_and_who_lags_and_what_is_stale_without_a_majority()
-> Result<()> {
    let mut region = three().await?;
    all_vote(&region, 3).await;
    persisted(region.http(1), "stays", 1).await;
    all_show(&region, "stays", &[shown(1)]).await;
    for asked in region.members() {
        until_async("all are up, ready and level, and one leads", SEEN_WITHIN, async || {
            let rows = region.page(asked, "members").await?;
            let rows = rows.as_array().filter(|rows| rows.len() == 3)?;
            let well = |row: &&Value| {
                let at = region.http(row["member"].as_u64().unwrap_or_default() as u16).to_string();
                let known = row["state"] == "UP" && row["phase"] == "ready" && row["address"] == at;
                known && row["lag"] == 0 && row["disk"] == "ok"
            };
            let leads = rows.iter().filter(|row| row["raft"] == "leader").count();
            (rows.iter().filter(well).count() == 3 && leads == 1).then_some(())
        })
        .await;
    }
    let leader = region.leader().await;
    let (left, gone) = (1 + leader % 3, 1 + (leader + 1) % 3);

    region.process(gone)?.signal("STOP")?;
    until_async("one that stands still is suspected first", SEEN_WITHIN, async || {
        let row = row(&region, left, gone).await?;
        (row["state"] == "SUSPICIOUS" || row["state"] == "DOWN").then_some(())
    })
    .await;
    region.kill(gone)?;
    region.kill(leader)?;

    until_async("both are down and nobody leads", TOLD_WITHIN, async || {
        for member in [leader, gone] {
            let row = row(&region, left, member).await?;
            if row["state"] != "DOWN" || row["raft"] != "voter" || !row["lag"].is_null() {
                return None;
            }
        }
        (row(&region, left, left).await?["raft"] == "voter").then_some(())
    })
    .await;
    until_async("what is shown is marked stale", TOLD_WITHIN, async || {
        list(&region, left, "stays").await.filter(|(staleness_ms, _)| *staleness_ms > OLD_MS)
    })
    .await;
    let (_, body) = list(&region, left, "stays").await.context("it answers")?;
    let host = &body["hosts"][0];
    ensure!(
        host["healthy"] == true && host["ephemeral"] == false,
        "it does not keep its last health: {body}"
    );
    Ok(())
}
