//! A gateway whose registries are all dead, killed and started again: it serves the table it last knew.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use landbridge_model::ServiceKey;
use landbridge_tests::{http::ask, region::Region, wait::until_async};

use crate::{endpoint::Endpoint, house::page, process::Gate, size::Size};

/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls of which none may fail, once the gateway knows its table.
const CALLS: usize = 50;

/// Kills the region's registry and its gateway, and starts the gateway alone.
pub(crate) fn serves_without_registries(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.unwrap(), restart()).unwrap();
}

async fn restart() -> Result<()> {
    let mut region = Region::new(1)?;
    region.start_all()?;
    let endpoints = [Endpoint::start("east/a/1")?, Endpoint::start("east/a/2")?];
    let folder = tempfile::tempdir()?;
    let keepsake = folder.path().join("keepsake");
    let (_, feeds) = region.inner_ports(1);
    let files = region.authority().files("demo/east/gateway/1");
    let registry = format!(
        "[registry]\naddresses = [\"127.0.0.1:{feeds}\"]\nkeepsake = {keepsake:?}\n\
         tls = {{ certificate = {:?}, key = {:?}, authority = {:?} }}\n",
        files.certificate, files.key, files.authority
    );
    region.ready(1).await;
    for endpoint in &endpoints {
        let port = endpoint.address.port();
        let path =
            format!("/nacos/v1/ns/instance?serviceName=orders&ip=127.0.0.1&port={port}&ephemeral=false");
        until_async("the registration is taken", PATIENCE, async || {
            (region.ask(1, "POST", &path).await.0 == 200).then_some(())
        })
        .await;
    }
    let mut gate = Gate::start(folder.path(), &page(&[], &registry)).await?;
    let both = endpoints.each_ref().map(|one| one.name.clone()).into_iter().collect();
    all_answer(&gate, &both).await;
    until_async("the table is kept", PATIENCE, async || kept(&keepsake).filter(|count| *count == 2)).await;

    region.kill(1)?;
    ensure!(region.ask(1, "GET", "/readyz").await.0 == 0, "the registry is dead");
    never_fails(&gate).await?;
    gate.kill_and_start().await?;

    all_answer(&gate, &both).await;
    never_fails(&gate).await?;
    let listed = gate.told("/landbridge/v1/endpoints?service=public@@DEFAULT_GROUP@@orders").await;
    let listed: serde_json::Value = serde_json::from_str(&listed.context("operators are answered")?)?;
    let listed = listed["endpoints"].as_array().context("a list")?;
    ensure!(listed.len() == 2, "{listed:?}");
    ensure!(listed.iter().all(|one| one["unverified"] == true), "nobody vouches for any: {listed:?}");
    gate.told("/readyz").await.context("it says that it is ready")?;
    Ok(())
}

async fn call(gate: &Gate) -> Option<(u16, String)> {
    ask(gate.address, "GET", "/svc/orders/").await
}

/// Waits until each of these has answered.
async fn all_answer(gate: &Gate, names: &BTreeSet<String>) {
    let mut heard = BTreeSet::new();
    until_async("every endpoint answers", PATIENCE, async || {
        heard.extend(call(gate).await.filter(|(status, _)| *status == 200).map(|(_, name)| name));
        (heard == *names).then_some(())
    })
    .await;
}

async fn never_fails(gate: &Gate) -> Result<()> {
    for number in 0..CALLS {
        let answer = call(gate).await;
        ensure!(answer.as_ref().is_some_and(|(status, _)| *status == 200), "call {number}: {answer:?}");
    }
    Ok(())
}

/// How many endpoints of the service are in the file.
fn kept(file: &Path) -> Option<usize> {
    let table = landbridge_client::keepsake::unpack(&fs::read(file).ok()?, 0).ok()?;
    Some(table.endpoints(&ServiceKey::parse("", "", "orders").ok()?).len())
}
