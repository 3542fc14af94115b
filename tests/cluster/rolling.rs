//! Members restarted in order while clients of both kinds live, one after the other and all at once: nobody alive is
//! ever missing, and no subscriber is told that they are.

use std::time::{Duration, Instant};

use anyhow::Result;
use landbridge_tests::{region::Region, wait::until_async};

use crate::{
    clients::{Beating, Looking},
    crashing::times,
    forming::{all_are_seen, three},
    sessions::Sessions,
};

/// Clients over gRPC and clients that beat, unless `ROLLING_SESSIONS` and `ROLLING_BEATS` say otherwise.
const CLIENTS: u32 = 20;

/// Times that all members are restarted at once, unless `ROLLING_ALL` says otherwise.
const ALL_AT_ONCE: u32 = 1;

/// The lists are looked at for long enough within this.
const LOOKED_WITHIN: Duration = Duration::from_secs(300);

/// The service of clients that beat.
const BEATS: &str = "orders";

/// Clients of both kinds, known to every member, and somebody who looks.
struct Crowd {
    sessions: Sessions,
    beating: Beating,
    looking: Looking,
}

impl Crowd {
    async fn gather(region: &Region) -> Self {
        let (sessions, beats) = (times("ROLLING_SESSIONS", CLIENTS), times("ROLLING_BEATS", CLIENTS));
        let members = region.members();
        let http: Vec<_> = members.iter().map(|member| region.http(*member)).collect();
        let grpc: Vec<_> = members.iter().map(|member| region.grpc(*member)).collect();
        let sessions = Sessions::start(&grpc, sessions);
        let beating = Beating::start(http, BEATS, 0..beats, Duration::from_secs(4));
        let mut services = sessions.services();
        services.push((BEATS.to_owned(), beats as usize));
        let begun = Instant::now();
        all_are_seen(region, &services).await;
        println!("  all clients were there after {:?}", begun.elapsed());
        sessions.watch();
        Self { sessions, beating, looking: Looking::start(region, services) }
    }

    async fn end(self) -> Result<()> {
        let seen = self.looking.end().await?;
        let told = self.sessions.end()?;
        self.beating.stop().await;
        println!(
            "  {} whole answers, {} refused; {told} lists told, none lacked many",
            seen.whole, seen.refused
        );
        Ok(())
    }
}

pub async fn nobody_alive_is_missing_while_every_member_is_restarted_in_turn() -> Result<()> {
    let mut region = three().await?;
    let crowd = Crowd::gather(&region).await;

    for member in region.members() {
        let begun = Instant::now();
        region.ask_to_end(member)?;
        region.ended(member).await?;
        let ended = begun.elapsed();
        region.start(member)?;
        region.ready(member).await;
        println!("  member {member} ended after {ended:?} and was ready after {:?}", begun.elapsed());
    }

    crowd.end().await
}

pub async fn nobody_alive_is_missing_when_all_members_are_restarted_at_once() -> Result<()> {
    let mut region = three().await?;
    let crowd = Crowd::gather(&region).await;

    for _ in 0..times("ROLLING_ALL", ALL_AT_ONCE) {
        let begun = Instant::now();
        for member in region.members() {
            region.ask_to_end(member)?;
        }
        for member in region.members() {
            region.ended(member).await?;
        }
        let ended = begun.elapsed();
        region.start_all()?;
        region.all_ready().await;
        println!("  all had ended after {ended:?} and were ready after {:?}", begun.elapsed());
        // Clients come back meanwhile; what they left behind must stay until they have.
        until_async("the lists are looked at", LOOKED_WITHIN, async || {
            (begun.elapsed() > 2 * ended.max(Duration::from_secs(1))).then_some(())
        })
        .await;
    }

    crowd.end().await
}
