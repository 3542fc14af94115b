//! Persistent writes to three members: CPU of all three together for each, and how many a second.

use std::{future::Future, sync::Arc, time::Instant};

use anyhow::Result;
use landbridge_tests::{
    etcd::Etcd,
    process::Process,
    sdk::{Connection, ask_well, connect, enrolment, service},
};
use landbridge_wire::nacos::{
    Enrolment,
    grpc::{RequestClient, ask},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::transport::Channel;

use super::{Scale, etcd::Client, verdict};
use crate::grpc::median;

/// Writes that are on their way at once.
const IN_FLIGHT: usize = 64;

/// Connections to each member.
const CONNECTIONS: usize = 2;

/// Persistent instances of one service.
const PER_SERVICE: usize = 10;

/// What an instance weighs in the log, about; etcd's values are as long.
const VALUE_BYTES: usize = 256;

/// What rounds have found.
#[derive(Default)]
struct Found {
    cpu_us: Vec<f64>,
    a_second: Vec<f64>,
}

/// Measures and prints.
pub async fn measure(scale: &Scale) -> Result<()> {
    let region = super::ready().await?;
    let mut connections: Vec<Connection> = Vec::new();
    for member in region.members().into_iter().cycle().take(3 * CONNECTIONS) {
        connections.push(connect(region.grpc(member)).await?);
    }
    let ours: Vec<RequestClient<Channel>> = connections.iter().map(|held| held.requests.clone()).collect();
    let members = region.members().into_iter().map(|member| region.process(member));
    let members = members.collect::<Result<Vec<&Process>>>()?;
    let etcd = Etcd::start()?;
    let mut theirs = Vec::new();
    if let Some(etcd) = &etcd {
        etcd.formed().await?;
        for member in etcd.members().into_iter().cycle().take(3 * CONNECTIONS) {
            theirs.push(Client::dial(etcd.address(member)).await?);
        }
    }

    let [mut found, mut beside] = [Found::default(), Found::default()];
    for round in 0..scale.rounds {
        let write = |mut client: RequestClient<Channel>, place: usize| async move {
            let name = format!("kept-{round}-{}", place / PER_SERVICE);
            let instance = Enrolment { ephemeral: false, ..enrolment(place as u32) };
            ask_well(&mut client, ask::register(&service(&name), &instance)).await.map(drop)
        };
        found.round(&members, &ours, scale.writes, write).await?;
        if let Some(etcd) = &etcd {
            let put = |mut client: Client, place: usize| async move {
                client.put(format!("kept-{round}/{place}"), vec![b'x'; VALUE_BYTES]).await
            };
            beside.round(&etcd.processes(), &theirs, scale.writes, put).await?;
        }
    }
    found.tell(&beside);
    drop(connections);
    Ok(())
}

impl Found {
    /// One round of writes, over all connections in turn.
    async fn round<C, W>(
        &mut self,
        servers: &[&Process],
        clients: &[C],
        calls: usize,
        write: impl Fn(C, usize) -> W,
    ) -> Result<()>
    where
        C: Clone,
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let cpu_s = || servers.iter().map(|server| server.cpu_s()).sum::<Result<f64>>();
        let (before, begun) = (cpu_s()?, Instant::now());
        let seats = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut writes = JoinSet::new();
        for place in 0..calls {
            let seat = Arc::clone(&seats).acquire_owned().await?;
            let written = write(clients[place % clients.len()].clone(), place);
            writes.spawn(async move {
                let written = written.await;
                drop(seat);
                written
            });
            while let Some(done) = writes.try_join_next() {
                done??;
            }
        }
        while let Some(done) = writes.join_next().await {
            done??;
        }
        self.a_second.push(calls as f64 / begun.elapsed().as_secs_f64());
        self.cpu_us.push((cpu_s()? - before) * 1e6 / calls as f64);
        Ok(())
    }

    fn tell(self, beside: &Self) {
        let (cpu_us, a_second) = (median(self.cpu_us), median(self.a_second));
        println!("persistent write, 3 members: {cpu_us:6.0} CPU us summed, {a_second:6.0} a second");
        if beside.cpu_us.is_empty() {
            println!("  etcd: unavailable");
            return;
        }
        let (their_us, their_second) = (median(beside.cpu_us.clone()), median(beside.a_second.clone()));
        println!(
            "  etcd in the same run:      {their_us:6.0} CPU us summed, {their_second:6.0} a second; {:.2} x its CPU ({}), \
             {:.2} x its writes a second ({})",
            cpu_us / their_us,
            verdict(cpu_us <= their_us),
            a_second / their_second,
            verdict(a_second >= their_second)
        );
    }
}
