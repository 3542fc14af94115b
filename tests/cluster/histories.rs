//! Writes and linearizable reads of persistent instances at every member, while leaders are killed, stand still and are cut
//! off: what was answered must be what one register for each key could have answered.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{
    gate::Gate,
    history::{Asked, History},
    http,
    region::Region,
    wait::{until_async, within},
};
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{interval, timeout},
};

use crate::{crashing::times, parting::doors};

/// Rounds of a kill, a stand-still and a cut, unless `HISTORY_ROUNDS` says otherwise.
const ROUNDS: u32 = 1;

/// Registers that are written and read at a time; each round has new ones.
const KEYS: u64 = 3;

/// Readers at each member, beside one writer.
const READERS: u64 = 2;

/// Between two questions of one client.
const PACE: Duration = Duration::from_millis(25);

/// Whoever is not answered within this asks something else; what it asked may yet happen.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Questions that are answered between two faults.
const ANSWERS_BETWEEN: usize = 40;

/// A fault passes within this, on a machine that does other things too.
const PASSES_WITHIN: Duration = Duration::from_secs(60);

/// A member that stands still or is cut off is left so for this long after another one leads: longer than an election.
const LEFT_FOR: Duration = Duration::from_millis(1_200);

/// What a question asks for in this header.
const CONSISTENCY: &str = "landbridge-consistency";

fn service(key: u64) -> String {
    format!("register-{key}")
}

/// Sets a register; whether that was answered.
async fn write(at: SocketAddr, key: u64, value: u64) -> bool {
    let service = service(key);
    let path = format!(
        "/nacos/v1/ns/instance?serviceName={service}&ip=10.9.0.1&port=80&ephemeral=false&metadata=value%3D{value}"
    );
    let said = timeout(ANSWERED_WITHIN, http::ask(at, "POST", &path)).await;
    said.ok().flatten().is_some_and(|(status, _)| status == 200)
}

/// Asks for a register; none without an answer.
async fn read(at: SocketAddr, key: u64, consistency: &str) -> Option<u64> {
    let path = format!("/nacos/v1/ns/instance/list?serviceName={}", service(key));
    let headers = [(CONSISTENCY, consistency)];
    let (status, text) =
        timeout(ANSWERED_WITHIN, http::send(at, "GET", &path, &headers, "")).await.ok().flatten()?;
    let said: Value = (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()?;
    match said["hosts"].as_array()?.first() {
        Some(host) => host["metadata"]["value"].as_str()?.parse().ok(),
        None => Some(0),
    }
}

/// What all clients share.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<History>>);

impl Record {
    fn open(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, at: SocketAddr, key: u64) -> bool {
        let (place, value) = {
            let mut history = self.open();
            let value = history.value();
            (history.ask(key, Asked::Write(value)), value)
        };
        let answered = write(at, key, value).await;
        if answered {
            self.open().answer(place, None);
        }
        answered
    }

    async fn read(&self, at: SocketAddr, key: u64, consistency: &str) -> bool {
        let place = self.open().ask(key, Asked::Read(0));
        let seen = read(at, key, consistency).await;
        if let Some(seen) = seen {
            self.open().answer(place, Some(seen));
        }
        seen.is_some()
    }

    /// Whether one register for each key could have answered so.
    fn judge(&self) -> Result<()> {
        let history = self.open();
        let wrong = history.wrong();
        let first = wrong.first().map(|key| history.told(*key)).unwrap_or_default();
        ensure!(wrong.is_empty(), "no register answers so:\n{first}");
        Ok(())
    }
}

/// Clients that write and read the registers of a round at every member, until they are dropped.
struct Clients(Vec<JoinHandle<()>>);

impl Clients {
    fn start(region: &Region, record: &Record, round: u32) -> Self {
        let first = u64::from(round) * KEYS;
        let mut tasks = Vec::new();
        for member in region.members() {
            for client in 0..=READERS {
                let (at, record) = (region.http(member), record.clone());
                tasks.push(tokio::spawn(async move {
                    let mut pace = interval(PACE);
                    for turn in 0_u64.. {
                        pace.tick().await;
                        let key = first + (turn + client) % KEYS;
                        if client == 0 {
                            record.write(at, key).await;
                        } else {
                            record.read(at, key, "linearizable").await;
                        }
                    }
                }));
            }
        }
        Self(tasks)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn more_are_answered(record: &Record) {
    let before = record.open().counts().1;
    until_async("questions are answered", PASSES_WITHIN, async || {
        (record.open().counts().1 >= before + ANSWERS_BETWEEN).then_some(())
    })
    .await;
}

/// Waits until another member leads than one that cannot.
async fn another_leads(region: &Region, than: u16) {
    let others: Vec<u16> = region.members().into_iter().filter(|member| *member != than).collect();
    until_async("another member leads", PASSES_WITHIN, async || {
        for member in &others {
            let status = region.page(*member, "status").await;
            if status.is_some_and(|status| status["leads"] == true) {
                return Some(());
            }
        }
        None
    })
    .await;
}

/// Waits, the new leader at work, for longer than an election takes.
async fn a_while() {
    let begun = Instant::now();
    until_async("a while", PASSES_WITHIN, async || (begun.elapsed() > LEFT_FOR).then_some(())).await;
}

/// What goes wrong with a leader.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    StandsStill,
    CutOff,
}

async fn befall(
    region: &mut Region,
    gates: &[((u16, u16), Gate)],
    record: &Record,
    fault: Fault,
) -> Result<()> {
    let leader = region.leader().await;
    let cut = |open: bool| {
        let own = gates.iter().filter(|((from, to), _)| *from == leader || *to == leader);
        own.for_each(|(_, gate)| gate.set(open));
    };
    match fault {
        Fault::Killed => region.kill(leader)?,
        Fault::StandsStill => region.process(leader)?.signal("STOP")?,
        Fault::CutOff => cut(false),
    }
    another_leads(region, leader).await;
    a_while().await;
    more_are_answered(record).await;
    match fault {
        Fault::Killed => region.start(leader)?,
        Fault::StandsStill => region.process(leader)?.signal("CONT")?,
        Fault::CutOff => cut(true),
    }
    more_are_answered(record).await;
    Ok(())
}

/// A member that is cut off does not know what was written since: a read of what is there is stale, one that must not be is
/// refused, and the check sees the difference.
async fn a_stale_read_is_caught(region: &Region, gates: &[((u16, u16), Gate)]) -> Result<()> {
    let record = Record::default();
    let leader = region.leader().await;
    let far = region.members().into_iter().find(|member| *member != leader).context("another member")?;
    let key = u64::MAX;
    let written = within(PASSES_WITHIN, async || record.write(region.http(far), key).await.then_some(()));
    ensure!(written.await.is_some(), "a register cannot be written");

    let own = gates.iter().filter(|((from, to), _)| *from == far || *to == far);
    own.for_each(|(_, gate)| gate.set(false));
    let written = within(PASSES_WITHIN, async || record.write(region.http(leader), key).await.then_some(()));
    ensure!(written.await.is_some(), "a majority takes no writes");
    let sure = read(region.http(far), key, "linearizable").await;
    ensure!(sure.is_none(), "who is cut off answers for everybody: {sure:?}");
    record.judge()?;
    let answered = record.read(region.http(far), key, "local").await;
    ensure!(answered, "who is cut off does not even say what it knows");
    ensure!(
        record.judge().is_err(),
        "a stale read passed for a linearizable one:\n{}",
        record.open().told(key)
    );
    Ok(())
}

pub async fn reads_are_linearizable_while_leaders_die_stand_still_and_are_cut_off() -> Result<()> {
    let mut region = Region::new(3)?;
    let pairs = [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)];
    let gates = doors(&mut region, &pairs).await?;
    region.start_all()?;
    region.all_ready().await;
    let (record, rounds, begun) = (Record::default(), times("HISTORY_ROUNDS", ROUNDS), Instant::now());

    for round in 0..rounds {
        let _clients = Clients::start(&region, &record, round);
        for fault in [Fault::Killed, Fault::StandsStill, Fault::CutOff] {
            more_are_answered(&record).await;
            befall(&mut region, &gates, &record, fault).await?;
        }
    }
    let (asked, answered) = record.open().counts();
    record.judge()?;

    println!(
        "  {rounds} rounds of a kill, a stand-still and a cut: {answered} of {asked} questions answered, all as one register \
         for each key would, {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    a_stale_read_is_caught(&region, &gates).await
}
