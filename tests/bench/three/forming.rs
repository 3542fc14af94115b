//! From the start of the first of three members, in any order, to the first persistent write that is answered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use landbridge_tests::{etcd::Etcd, http, wait::within};

use super::{Scale, ms, percentile, verdict};

/// Every order there is.
const ORDERS: [[u16; 3]; 6] = [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 2], [3, 1, 2], [2, 1, 3]];

/// A region that takes longer never forms.
const FORMED_WITHIN: Duration = Duration::from_secs(60);

/// The must of the targets.
const MUST: Duration = Duration::from_secs(3);

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for place in 0..scale.starts {
        ours.push(formed(ORDERS[place % ORDERS.len()]).await?);
        let begun = Instant::now();
        if let Some(etcd) = Etcd::start()? {
            etcd.formed().await?;
            theirs.push(begun.elapsed());
        }
    }
    let (median, worst) = (percentile(&mut ours, 50), percentile(&mut ours, 100));
    println!(
        "start of three members in any order, until the first write: median {:.0} ms, worst {:.0} ms of {} (<= 3 s: {})",
        ms(median),
        ms(worst),
        ours.len(),
        verdict(worst <= MUST)
    );
    match theirs.is_empty() {
        true => println!("  etcd: unavailable"),
        false => println!("  etcd: median {:.0} ms", ms(percentile(&mut theirs, 50))),
    }
    Ok(())
}

async fn formed(order: [u16; 3]) -> Result<Duration> {
    let mut region = super::region()?;
    let begun = Instant::now();
    for member in order {
        region.start(member)?;
    }
    let path = "/nacos/v1/ns/instance?serviceName=first&ip=10.0.0.1&port=80&ephemeral=false";
    let written = async || {
        let (status, _) = http::ask(region.http(order[0]), "POST", path).await?;
        (status == 200).then(|| begun.elapsed())
    };
    let took = within(FORMED_WITHIN, written).await;
    took.with_context(|| format!("the order {order:?} never formed:\n{}", region.log(order[0])))
}
