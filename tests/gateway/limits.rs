//! Two gateways of a region and one limit: together they let pass what it allows, wherever the calls come in.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use landbridge_client::{Endpoint as Listed, Table};
use landbridge_model::ServiceKey;
use landbridge_tests::{authority::Authority, listed, wait::until_async};

use crate::{
    endpoint::Endpoint,
    house::{House, at, page},
    load::Load,
    size::Size,
};

/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls a second that the limit allows.
const LIMIT: u32 = 50;

/// How often each crowd comes, at most.
const PLAYS: usize = 5;

/// How long calls are counted.
const WATCHED: Duration = Duration::from_millis(2_500);

/// Rounds after which the parts must follow what is asked.
const SETTLED: Duration = Duration::from_millis(1_500);

/// Calls at two gateways at different paces, and counts what passes.
pub(crate) fn shared(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(share()).unwrap();
}

async fn share() -> Result<()> {
    let endpoint = Endpoint::start("east/a/1")?;
    let authority = Authority::new();
    let one = House::open(&neighbour(&authority, "one", endpoint.address)).await?;
    let two = House::open(&neighbour(&authority, "two", endpoint.address)).await?;
    let both = table(&[&one, &two])?;
    for house in [&one, &two] {
        house.tables.send_replace(both.clone());
    }
    until_async("both gateways know of each other", PATIENCE, async || {
        let known =
            async |house: &House| told(house.admin).await.is_some_and(|told| told.contains("\"gateways\":2"));
        (known(&one).await && known(&two).await).then_some(())
    })
    .await;

    let crowds = |passed: &[f64]| passed[0] > passed[1];
    settles("two crowds", &[(&one, 3 * LIMIT), (&two, 3 * LIMIT / 2)], crowds).await;
    settles("one crowd", &[(&one, 3 * LIMIT), (&two, LIMIT / 10)], crowds).await;

    drop(two);
    one.tables.send_replace(table(&[&one])?);
    until_async("the other gateway is forgotten", PATIENCE, async || {
        told(one.admin).await.filter(|told| told.contains("\"gateways\":1"))
    })
    .await;
    settles("one alone", &[(&one, 2 * LIMIT)], |_| true).await;
    Ok(())
}

/// Waits until what passes together is the limit, give or take a tenth, and is spread as it must be. Parts that are wrong
/// stay wrong; where the machine stood still and gateways missed each other, the next play is right.
async fn settles(what: &str, asked: &[(&House, u32)], is_spread: impl Fn(&[f64]) -> bool) {
    for play in 1..=PLAYS {
        let passed = pass(asked).await;
        let rates: Vec<_> = asked.iter().map(|(_, rate)| rate).collect();
        println!("limits: {what}, {LIMIT}/s, asked {rates:?}: {passed:?}");
        if (0.9..1.1).contains(&passed.iter().sum()) && is_spread(&passed) {
            return;
        }
        assert!(play < PLAYS, "{what}: of the limit passed {passed:?}, after {PLAYS} plays");
    }
}

/// Calls each gateway so many times a second, and tells what share of the limit passes once the parts have settled.
async fn pass(asked: &[(&House, u32)]) -> Vec<f64> {
    let loads: Vec<_> =
        asked.iter().map(|(house, rate)| Load::start(house.address, "web.test", "/", *rate)).collect();
    let from = Instant::now() + SETTLED;
    let until = from + WATCHED;
    // Counted is what is called within a time, so somebody has to wait until it is over.
    until_async("the time is over", PATIENCE, async || (Instant::now() > until).then_some(())).await;
    let mut passed = Vec::new();
    for load in &loads {
        load.stop();
        let calls = until_async("every call has ended", PATIENCE, async || load.settled()).await;
        let good = calls.iter().filter(|call| (from..until).contains(&call.sent) && call.outcome.is_ok());
        passed.push(good.count() as f64 / (WATCHED.as_secs_f64() * f64::from(LIMIT)));
    }
    passed
}

/// What a gateway tells of its parts.
async fn told(admin: SocketAddr) -> Option<String> {
    let (_, told) = landbridge_tests::http::ask(admin, "GET", "/landbridge/v1/limits").await?;
    Some(told)
}

/// A gateway that others of its region find, with a limit of its service.
fn neighbour(authority: &Authority, name: &str, endpoint: SocketAddr) -> String {
    let tls = authority.files(&format!("demo/east/gateway/{name}"));
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let (certificate, key, ca) = (quoted(&tls.certificate), quoted(&tls.key), quoted(&tls.authority));
    let tls = format!("tls = {{ certificate = {certificate}, key = {key}, authority = {ca} }}");
    let keepsake = quoted(&authority.folder().join(name));
    let more = format!(
        "name = \"{name}\"\n[registry]\naddresses = [\"127.0.0.1:9\"]\nkeepsake = {keepsake}\n{tls}\n\
         [presence]\naddress = \"127.0.0.1\"\nregistries = [\"127.0.0.1:9\"]\nlisten = \"127.0.0.1\"\n\
         [relay]\nlisten = \"127.0.0.1:0\"\n{tls}\n\
         [limit_sharing]\nevery_ms = 250\nkept_ms = 3000\n\
         [[limits]]\nby = \"service\"\nrequests_per_second = {LIMIT}\nburst = {LIMIT}\n"
    );
    page(&[at(endpoint, "east", "a")], &more)
}

/// A table that lists these gateways, as their registry would.
fn table(houses: &[&House]) -> Result<Arc<Table>> {
    let listed = |house: &&House| -> Result<Listed> {
        let relay = house.relay.context("it listens for other gateways")?.port().to_string();
        let metadata = [("landbridge.relay-port", relay.as_str())];
        Ok(listed::listed("east", "127.0.0.1", house.address.port(), &metadata))
    };
    let listed = houses.iter().map(listed).collect::<Result<Arc<[Listed]>>>()?;
    let gateways = ServiceKey::parse("", "", "landbridge-gateway")?;
    Ok(Arc::new(Table { services: [(gateways, listed)].into(), ..Table::default() }))
}
