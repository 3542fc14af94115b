//! The same deaths of leaders in an etcd of three members, so that a gap between writes has something to be held against.

use anyhow::Result;
use landbridge_tests::etcd::Etcd;

use crate::{
    NotRun,
    crashing::{CLIENTS, Gap},
};

/// Kills etcd's leader so often; what each death cost.
pub async fn gaps(rounds: u32) -> Result<Vec<Gap>> {
    let Some(mut etcd) = Etcd::start()? else {
        let why = "etcd unavailable: Debian's package etcd-server is not installed";
        return Err(NotRun(why.to_owned()).into());
    };
    etcd.deaths(rounds as usize, CLIENTS, async |writing, killed| Gap::of(writing, killed).await).await
}
