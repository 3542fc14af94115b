//! Clients that register ephemeral instances all the time: they need one living member each, and no majority.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use landbridge_tests::{http, writing::Writing};

use crate::{clients::address, crashing::times};

/// Instances that are registered at each member again and again, so that none runs out meanwhile.
const INSTANCES: u32 = 50;

/// Clients at each member.
const CLIENTS: usize = 2;

/// No client waits longer than this for an answer of any member, on a machine that does other things too; `GAP_MAX_MS` says less.
const WAIT_MAX_MS: u32 = 30_000;

/// Registers until it is ended.
pub struct Registering {
    begun: Instant,
    writing: Writing,
}

impl Registering {
    /// Some clients for each of these members.
    pub fn start(members: &[SocketAddr]) -> Self {
        Self { begun: Instant::now(), writing: Writing::start(members, CLIENTS, register) }
    }

    /// Ends it; a registration that was not taken is a failure, and so is a time without any. Tells how many were taken.
    pub fn end(self, what: &str) -> Result<usize> {
        let (taken, refused) = self.writing.counts();
        let longest = self.writing.longest_wait_since(self.begun);
        drop(self.writing);
        println!("  {taken} ephemeral registrations {what}, {refused} refused, longest wait {longest:?}");
        ensure!(refused == 0, "{refused} of {taken} ephemeral registrations {what} were not taken");
        ensure!(taken > 0, "nobody registered {what}");
        let judged = Duration::from_millis(times("GAP_MAX_MS", WAIT_MAX_MS).into());
        ensure!(longest <= judged, "nobody could register for {longest:?} {what}, not {judged:?}");
        Ok(taken)
    }
}

async fn register(at: SocketAddr, number: u32) -> bool {
    let (ip, port) = address(number % INSTANCES);
    let path = format!("/nacos/v1/ns/instance?serviceName=passes-{}&ip={ip}&port={port}", at.port());
    http::ask(at, "POST", &path).await.is_some_and(|(status, _)| status == 200)
}
