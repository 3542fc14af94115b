//! Members whose disk was emptied or damaged: they do not vote with what is left, and the others refill them.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{
    region::Region,
    sim::dice::Dice,
    wait::{until_async, within},
};
use serde_json::{Value, json};

use crate::{
    clients::{persist, shown},
    comparing::Copied,
    crashing::times,
    forming::{all_show, three},
};

/// A write is taken within this, and a member refilled, on a machine that does other things too.
pub const SOON: Duration = Duration::from_secs(60);

/// A majority of one and a stranger must not decide; it is given so long to do it.
const TEMPTED_FOR: Duration = Duration::from_secs(3);

/// Damages, unless `DAMAGES` says otherwise: the first two are done to manifests, the next two to whatever else lies there.
const DAMAGES: u32 = 4;

/// Zeroed at once: a sector, as file systems have them.
const SECTOR: u64 = 4096;

/// Writes until it is taken: leadership may be moving.
pub async fn persist_at_last(region: &Region, member: u16, service: &str, number: u32) {
    let taken = async || persist(region.http(member), service, number).await.then_some(());
    if within(SOON, taken).await.is_none() {
        panic!("member {member} does not take a write\n{}", region.tell_all().await);
    }
}

/// What a member says of the group.
pub async fn group(region: &Region, member: u16) -> Option<Value> {
    region.page(member, "raft").await
}

/// Waits until the leader counts so many voters, all refilled and noted, and no change of them is under way.
pub async fn all_vote(region: &Region, voters: usize) {
    let whole = async || {
        let leader = region.leader().await;
        let group = group(region, leader).await.filter(|group| group["halfway"] == false)?;
        let rows = group["members"].as_array()?;
        let settled = rows
            .iter()
            .filter(|row| row["part"] != "learner" && row["refilled"] == false && row["disk"].is_string());
        (settled.count() == voters && rows.len() == voters).then_some(())
    };
    if within(SOON, whole).await.is_none() {
        panic!("not all vote again\n{}", region.tell_all().await);
    }
}

fn raft_dir(region: &Region, member: u16) -> PathBuf {
    region.data(member).join("raft")
}

fn names(numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut names: Vec<_> = numbers.map(shown).collect();
    names.sort();
    names
}

pub async fn an_emptied_member_helps_nobody_to_forget_what_was_answered() -> Result<()> {
    let mut region = three().await?;
    all_vote(&region, 3).await;
    let leader = region.leader().await;
    let rest: Vec<u16> = region.members().into_iter().filter(|member| *member != leader).collect();
    let (emptied, lags) = (rest[0], rest[1]);
    persist_at_last(&region, leader, "stays", 0).await;
    // What is answered while one is away stands at the leader and at the member that is about to lose its disk.
    region.kill(lags)?;
    for number in 1..5 {
        persist_at_last(&region, leader, "stays", number).await;
    }
    region.kill(leader)?;
    region.kill(emptied)?;
    fs::remove_dir_all(region.data(emptied))?;

    region.start(emptied)?;
    region.start(lags)?;
    // Of a service of its own: a write that nobody was answered may yet happen when the leader is back.
    let decided =
        within(TEMPTED_FOR, async || persist(region.http(lags), "tempts", 9).await.then_some(())).await;
    ensure!(decided.is_none(), "an empty disk voted for a member that lacks answered writes");
    let waits = group(&region, emptied).await.context("it answers its operators")?;
    ensure!(waits["admitted"] == false, "nobody could admit it: {waits}");

    region.start(leader)?;
    region.all_ready().await;
    all_show(&region, "stays", &names(0..5)).await;
    all_vote(&region, 3).await;
    persist_at_last(&region, emptied, "stays", 5).await;
    all_show(&region, "stays", &names(0..6)).await;
    Ok(())
}

/// All files of a member's log and state but locks, with their sizes; a journal counts as far as it is written.
fn files(dir: &Path, into: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let aside = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("damaged-"));
        if path.is_dir() && !aside {
            files(&path, into)?;
        } else if path.is_file() && !path.ends_with("lock") {
            let size = written(&path)?;
            into.extend((size > 0).then_some((path, size)));
        }
    }
    Ok(())
}

/// How far a file is written; journals are allocated far beyond.
fn written(path: &Path) -> Result<u64> {
    let mut file = fs::File::open(path)?;
    let (mut piece, mut at, mut end) = (vec![0; 1 << 16], 0, 0);
    loop {
        let read = file.read(&mut piece)?;
        match piece[..read].iter().rposition(|byte| *byte != 0) {
            Some(last) => end = at + last as u64 + 1,
            None => return Ok(end),
        }
        at += read as u64;
    }
}

/// Whether a file is a manifest that its database goes by: damage there must be noticed, whatever it is.
fn is_manifest(path: &Path) -> bool {
    let named = |folder: &Path| {
        let number = fs::read(folder.join("current")).ok()?.first_chunk().copied().map(u64::from_le_bytes)?;
        Some(path.file_name()?.to_str()? == format!("v{number}"))
    };
    path.ends_with("current") || path.parent().and_then(named).unwrap_or_default()
}

/// A damage that was done.
struct Hit {
    /// The file, as seen from the member's store.
    file: String,
    how: String,
    must_be_noticed: bool,
}

/// Damages one of a member's files, in the first rounds one of its manifests, then none of them; says how.
fn damage(region: &Region, member: u16, round: u32, dice: &mut Dice) -> Result<Hit> {
    let mut all = Vec::new();
    files(&raft_dir(region, member), &mut all)?;
    all.retain(|(path, _)| match round {
        0 => path.ends_with("current"),
        1 => is_manifest(path) && !path.ends_with("current"),
        2 | 3 => !is_manifest(path),
        _ => true,
    });
    all.sort();
    ensure!(!all.is_empty(), "member {member} has no such file");
    let (path, size) = all[(dice.roll() % all.len() as u64) as usize].clone();
    let must_be_noticed = is_manifest(&path);
    let at = dice.roll() % size;
    let mut file = fs::File::options().read(true).write(true).open(&path)?;
    file.seek(SeekFrom::Start(at))?;
    let how = match dice.roll() % 3 {
        0 => {
            let mut byte = [0];
            file.read_exact(&mut byte)?;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&[byte[0] ^ 1 << (dice.roll() % 8)])?;
            "a bit was flipped"
        }
        1 => {
            let from = at - at % SECTOR;
            file.seek(SeekFrom::Start(from))?;
            file.write_all(&vec![0; SECTOR.min(size - from) as usize])?;
            "a sector was zeroed"
        }
        _ => {
            file.set_len(at)?;
            "it was cut short"
        }
    };
    let file = path.strip_prefix(raft_dir(region, member))?.display().to_string();
    Ok(Hit { file, how: format!("byte {at} of {size}: {how}"), must_be_noticed })
}

/// Every file of a member's copy that was set aside.
fn set_aside(region: &Region, member: u16) -> usize {
    region.log(member).matches("raft_set_aside").count()
}

pub async fn damaged_members_are_refilled_and_nothing_answered_is_lost() -> Result<()> {
    let seed = u64::from(times("DAMAGE_SEED", 1));
    let (mut dice, mut region) = (Dice::new(seed), three().await?);
    all_vote(&region, 3).await;
    let mut hits: BTreeMap<String, (u32, u32)> = BTreeMap::new();

    for round in 0..times("DAMAGES", DAMAGES) {
        let victim = 1 + (dice.roll() % 3) as u16;
        let alive = 1 + victim % 3;
        persist_at_last(&region, victim, "stays", 2 * round).await;
        region.kill(victim)?;
        let (whole, before) = (Copied::of(&region, victim)?, set_aside(&region, victim));
        let hit = damage(&region, victim, round, &mut dice)?;
        let damaged = Copied::of(&region, victim)?;
        persist_at_last(&region, alive, "stays", 2 * round + 1).await;
        region.start(victim)?;
        region.ready(victim).await;
        all_vote(&region, 3).await;
        let noticed = set_aside(&region, victim) > before;
        if !noticed {
            harmless(whole, damaged).await.with_context(|| format!("{}, {}", hit.file, hit.how))?;
        }
        let how = if noticed { "found, refilled" } else { "harmless: all that is held compares equal" };
        println!("  member {victim}, {}, {}: {how}", hit.file, hit.how);
        ensure!(noticed || !hit.must_be_noticed, "{} was damaged, and nobody noticed", hit.file);
        let (found, harmless) = hits.entry(hit.file).or_default();
        *found += u32::from(noticed);
        *harmless += u32::from(!noticed);
        // The other two hold what was answered; the refilled one must too, with one of them gone.
        region.kill(alive)?;
        all_show(&region, "stays", &names(0..2 * round + 2)).await;
        region.start(alive)?;
        region.ready(alive).await;
    }

    for (file, (found, harmless)) in &hits {
        println!("  {file}: {found} found and refilled, {harmless} compared equal");
    }
    let (found, harmless) = hits.values().fold((0, 0), |sum, hit| (sum.0 + hit.0, sum.1 + hit.1));
    println!(
        "  seed {seed}: {found} damages found and refilled, {harmless} compared equal, 0 answered writes lost"
    );
    Ok(())
}

/// Holds that a damage that nobody noticed changes nothing of what a disk holds.
async fn harmless(whole: Copied, damaged: Copied) -> Result<()> {
    let whole = whole.held().await.context("reading the disk as it was")?;
    let damaged = damaged.held().await.context("the member did not notice it, and who reads all does")?;
    ensure!(whole == damaged, "nobody noticed, and the disk holds {damaged:?}, not {whole:?}");
    Ok(())
}

/// Asks a member to give an order; what it said if it did not.
async fn order(region: &Region, asked: u16, member: u16, page: &Value) -> Result<Value, String> {
    let admin = landbridge_client::Admin::new(&region.http(asked).to_string(), None, 20_000);
    let path = format!("/landbridge/v1/raft/members/{member}");
    admin.write::<Value>(http::Method::PUT, &path, page).await.map_err(|error| error.to_string())
}

async fn at_last(region: &Region, asked: u16, member: u16, page: Value) {
    let mut said = String::new();
    let done = async || match order(region, asked, member, &page).await {
        Ok(_) => Some(()),
        Err(why) => {
            said = why;
            None
        }
    };
    if within(SOON, done).await.is_none() {
        panic!("{page} is not carried out: {said}\n{}", region.tell_all().await);
    }
}

async fn refused(region: &Region, asked: u16, member: u16, page: Value, part: &str) -> Result<()> {
    let mut said = String::new();
    let as_expected = async || {
        said = order(region, asked, member, &page).await.err().unwrap_or_default();
        said.contains(part).then_some(())
    };
    let told = within(SOON, as_expected).await;
    ensure!(told.is_some(), "{page} of {member} should say {part:?}, and says {said:?}");
    Ok(())
}

pub async fn a_member_takes_the_place_of_another_by_orders_that_are_refused_while_unsafe() -> Result<()> {
    let mut region = three().await?;
    all_vote(&region, 3).await;
    let leader = region.leader().await;
    let asked = 1 + leader % 3;
    let old = 1 + asked % 3;
    refused(&region, asked, 4, json!({ "order": "add" }), "no address of member 4").await?;
    refused(&region, asked, 4, json!({ "order": "promote" }), "no learner").await?;
    refused(&region, asked, leader, json!({ "order": "remove" }), "leads").await?;
    at_last(&region, asked, asked, json!({ "order": "transfer" })).await;
    until_async("leadership is handed over", SOON, async || (region.leader().await == asked).then_some(()))
        .await;
    region.seat(4)?;
    region.start(4)?;
    for member in 1..=3 {
        region.process(member)?.signal("HUP")?;
    }
    at_last(&region, asked, 4, json!({ "order": "add" })).await;
    refused(&region, asked, 4, json!({ "order": "add" }), "in the group already").await?;
    at_last(&region, asked, old, json!({ "order": "replace", "with": 4 })).await;
    all_vote(&region, 3).await;
    region.ready(4).await;
    persist_at_last(&region, 4, "stays", 1).await;
    // Who left may follow again, be given a vote, and somebody else may leave.
    at_last(&region, asked, old, json!({ "order": "add" })).await;
    at_last(&region, asked, old, json!({ "order": "promote" })).await;
    all_vote(&region, 4).await;
    at_last(&region, asked, 4, json!({ "order": "remove" })).await;
    all_vote(&region, 3).await;
    region.kill(4)?;
    region.kill(leader)?;
    persist_at_last(&region, old, "stays", 2).await;
    all_show(&region, "stays", &names(1..3)).await;
    let audit = region.page(asked, "audit").await.unwrap_or_default();
    ensure!(audit.to_string().contains("raft transfer"), "the audit says {audit}");
    Ok(())
}
