//! The same deaths of leaders in an etcd of three members, so that a gap between writes has something to be held against.

use std::{net::SocketAddr, time::Instant};

use anyhow::Result;
use landbridge_tests::etcd::{Etcd, put};

use crate::{
    NotRun,
    crashing::{CLIENTS, Gap, more_are_answered, patient},
    writers::Writing,
};

async fn put_patiently(at: SocketAddr, number: u32) -> bool {
    patient(put(at, number)).await
}

/// Kills etcd's leader so often; what each death cost.
pub async fn gaps(rounds: u32) -> Result<Vec<Gap>> {
    let Some(mut etcd) = Etcd::start()? else {
        let why = "etcd unavailable: Debian's package etcd-server is not installed";
        return Err(NotRun(why.to_owned()).into());
    };
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        let leader = etcd.leader().await;
        let rest = etcd.members().into_iter().filter(|member| *member != leader);
        let rest: Vec<_> = rest.map(|member| etcd.address(member)).collect();
        let writing = Writing::with(&rest, CLIENTS, put_patiently);
        more_are_answered(&writing).await;
        let killed = Instant::now();
        etcd.kill(leader)?;
        more_are_answered(&writing).await;
        gaps.push(Gap::of(&writing, killed).await);
        writing.stop();
        etcd.start_one(leader)?;
    }
    Ok(gaps)
}
