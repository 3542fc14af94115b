//! A region of three members probes a real nginx and a real MariaDB, which are stopped, changed and started again.
//!
//! `tests/probes/run` installs what is missing and runs this.

mod servers;
mod shop;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use landbridge_tests::region::Region;

use crate::{
    servers::{MariaDb, Nginx},
    shop::Shop,
};

/// Nacos's own question whether a server takes writes.
const READ_ONLY: &str = "show global variables where variable_name='read_only'";

/// Instances of the service that is probed by connecting; enough that each member has some.
const MANY: u8 = 24;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve-registry") {
        return landbridge_tests::serve::registry(&words[1..]);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let begun = Instant::now();
    let done = runtime.block_on(probe());
    let took = begun.elapsed().as_secs_f64();
    match done {
        Ok(()) => {
            println!("probes: all sentences held ({took:.1} s)");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("probes: FAILED ({took:.1} s): {why:#}");
            ExitCode::FAILURE
        }
    }
}

async fn probe() -> Result<()> {
    let mut region = Region::new(3)?;
    region.sets.retain(|set| !set.starts_with("probes."));
    region.sets.push("probes.allow_local=true".to_owned());
    region.start_all()?;
    let (nginx, maria) = (Nginx::start()?, MariaDb::start().await?);
    region.all_ready().await;
    let shop = Shop(&region);

    pages(&shop, nginx.port).await?;
    queries(&shop, maria.port).await?;
    shop.register("nobody-asks", "127.0.0.1", nginx.port).await;
    shop.checker("nobody-asks", r#"{"type":"NONE"}"#).await?;
    everybody_is_well(&shop).await;
    what_is_wrong_is_seen(&shop).await;
    maria_takes_no_writes_for_a_while(&shop, &maria).await?;
    let (nginx, _maria) = servers_stop_and_come_back(&shop, nginx, maria).await?;
    nobody_asks_and_somebody_says(&shop).await?;

    region.kill(3)?;
    drop(nginx);
    Shop(&region).shows("many", usize::from(MANY), 0).await;
    println!("a killed member's share is taken over: all {MANY} of a stopped server are unhealthy ... ok");
    println!("{}", Shop(&region).counted(1).await);
    Ok(())
}

async fn pages(shop: &Shop<'_>, port: u16) -> Result<()> {
    for (service, checker) in [
        ("page", r#"{"type":"HTTP","path":"/health","headers":"X-Probe:yes","expectedResponseCode":200}"#),
        ("page-204", r#"{"type":"HTTP","path":"/empty","expectedResponseCode":204}"#),
        ("page-wrong", r#"{"type":"HTTP","path":"/empty","expectedResponseCode":200}"#),
        ("page-lost", r#"{"type":"HTTP","path":"/health","expectedResponseCode":200}"#),
        ("page-busy", r#"{"type":"HTTP","path":"/busy","expectedResponseCode":200}"#),
    ] {
        shop.register(service, "127.0.0.1", port).await;
        shop.checker(service, checker).await?;
    }
    for host in 1..=MANY {
        shop.register("many", &format!("127.0.0.{host}"), port).await;
    }
    Ok(())
}

async fn queries(shop: &Shop<'_>, port: u16) -> Result<()> {
    for (service, password, command) in [
        ("primary", "secret", READ_ONLY),
        ("counting", "secret", "select count(*) from information_schema.tables"),
        ("greeted", "secret", ""),
        ("stranger", "wrong", ""),
        ("mistaken", "secret", "select * from nowhere.nothing"),
    ] {
        shop.register(service, "127.0.0.1", port).await;
        let checker =
            serde_json::json!({ "type": "MYSQL", "user": "probe", "pwd": password, "cmd": command });
        shop.checker(service, &checker.to_string()).await?;
    }
    Ok(())
}

async fn everybody_is_well(shop: &Shop<'_>) {
    shop.shows("many", 0, usize::from(MANY)).await;
    for service in ["page", "page-204", "primary", "counting", "greeted", "nobody-asks"] {
        shop.shows(service, 0, 1).await;
    }
    println!("who answers as expected is healthy: a connection, a page with its header, 204, a query ... ok");
}

async fn what_is_wrong_is_seen(shop: &Shop<'_>) {
    for service in ["page-wrong", "page-lost", "page-busy", "stranger", "mistaken"] {
        shop.shows(service, 1, 0).await;
    }
    println!(
        "another code, a page without its header, 503, a wrong password and a failing query are unhealthy ... ok"
    );
}

async fn maria_takes_no_writes_for_a_while(shop: &Shop<'_>, maria: &MariaDb) -> Result<()> {
    maria.says("SET GLOBAL read_only = 1")?;
    shop.shows("primary", 1, 0).await;
    shop.shows("counting", 0, 1).await;
    maria.says("SET GLOBAL read_only = 0")?;
    shop.shows("primary", 0, 1).await;
    println!("a database that takes no writes is unhealthy where that was asked, and comes back ... ok");
    Ok(())
}

async fn servers_stop_and_come_back(
    shop: &Shop<'_>,
    nginx: Nginx,
    mut maria: MariaDb,
) -> Result<(Nginx, MariaDb)> {
    let port = nginx.port;
    drop(nginx);
    maria.stop()?;
    let stopped = Instant::now();
    shop.shows("many", usize::from(MANY), 0).await;
    shop.shows("page", 1, 0).await;
    shop.shows("primary", 1, 0).await;
    println!("servers that were stopped are unhealthy after {:.1} s ... ok", stopped.elapsed().as_secs_f64());
    let nginx = Nginx::start_at(port)?;
    maria.start_again()?;
    let started = Instant::now();
    shop.shows("many", 0, usize::from(MANY)).await;
    shop.shows("page", 0, 1).await;
    shop.shows("primary", 0, 1).await;
    println!("and healthy {:.1} s after they were started again ... ok", started.elapsed().as_secs_f64());
    Ok((nginx, maria))
}

async fn nobody_asks_and_somebody_says(shop: &Shop<'_>) -> Result<()> {
    shop.shows("nobody-asks", 0, 1).await;
    shop.says("nobody-asks", false).await?;
    shop.shows("nobody-asks", 1, 0).await;
    println!("without a checker a stopped server stays healthy until somebody says otherwise ... ok");
    Ok(())
}
