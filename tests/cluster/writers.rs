//! Clients that write persistent instances all the time, and what of them must be shown in the end.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Result, bail};
use landbridge_tests::{region::Region, wait::within, writing::Writing};

use crate::clients::{persist, shown};

/// Instances of one service.
const PER_SERVICE: u32 = 500;

/// What was answered by any member is shown by all others within this.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);

/// One client for each of these members, which waits for each answer.
pub fn keeping(members: &[SocketAddr]) -> Writing {
    Writing::start(members, 1, keep)
}

/// Ends it, and holds that every member comes to show everything that was answered: one that follows applies an entry a
/// little after the member that answered for it.
pub async fn all_kept(writing: Writing, region: &Region) -> Result<usize> {
    let numbers = writing.end();
    let services: BTreeSet<String> = numbers.iter().map(|number| service_of(*number)).collect();
    for member in region.members() {
        let mut lost = numbers.clone();
        let all_here = within(APPLIED_WITHIN, async || {
            for service in &services {
                let here = region.shown(member, service).await.unwrap_or_default();
                lost.retain(|number| here.binary_search(&shown(*number)).is_err());
            }
            lost.is_empty().then_some(())
        });
        if all_here.await.is_none() {
            let first: Vec<_> = lost.iter().take(10).collect();
            let told = region.tell_all().await;
            bail!("member {member} lost {} of {}: {first:?}\n{told}", lost.len(), numbers.len());
        }
    }
    Ok(numbers.len())
}

/// Writes one persistent instance; whether it was answered.
pub async fn keep(at: SocketAddr, number: u32) -> bool {
    persist(at, &service_of(number), number).await
}

fn service_of(number: u32) -> String {
    format!("stays-{}", number / PER_SERVICE)
}
