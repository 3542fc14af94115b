//! Disks that are full and disks that fail: nothing answered is lost, and whoever has room goes on.
//!
//! Small file systems are mounted for it, which needs root. A sync that fails is a real one: an ext4 on a loop device whose image
//! lies, full of holes, in a memory that is then filled up; the kernel cannot write it back, and says so to whoever syncs.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{
    http,
    process::{Process, free_base},
    region::Region,
    wait::{until_async, within},
};

use crate::{
    NotRun,
    clients::{address, persisted, register, shown},
    forming::{SEEN_WITHIN, all_show},
    power::{run, text},
    refilling::{SOON, all_vote, persist_at_last},
    writers::{all_kept, keeping},
};

/// A file system in memory, in bytes.
const MEMORY_BYTES: u64 = 48 << 20;

/// The image of a device in such a memory, in bytes: it may promise more than there is.
const IMAGE_BYTES: u64 = 200 << 20;

/// What members of the first test keep free.
const RESERVE_BYTES: u64 = 8 << 20;

/// A member whose disk failed has ended within this, on a machine that does other things too.
const ENDED_WITHIN: Duration = Duration::from_secs(120);

/// What takes the room.
const FILLER: &str = "filler";

/// A file system that is mounted for as long as this is in sight.
struct Mounted(PathBuf);

impl Mounted {
    fn memory(at: PathBuf) -> Result<Self> {
        fs::create_dir(&at)?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={MEMORY_BYTES}"), "none", text(&at)])?;
        Ok(Self(at))
    }

    /// Adds to what was written before until nothing more fits, then gives so many bytes back: there is never more room meanwhile.
    fn fill(&self, back: u64) -> Result<()> {
        let mut filler = fs::File::options().create(true).append(true).open(self.0.join(FILLER))?;
        let piece = vec![7; 1 << 16];
        let full =
            std::iter::repeat_with(|| filler.write(&piece)).find_map(Result::err).context("endless")?;
        ensure!(full.kind() == ErrorKind::StorageFull, "the filler stopped at {full}");
        let length = filler.metadata()?.len();
        filler.set_len(length.saturating_sub(back)).map_err(Into::into)
    }

    fn empty(&self) -> Result<()> {
        fs::remove_file(self.0.join(FILLER)).map_err(Into::into)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &["-l", text(&self.0)]) {
            eprintln!("{} stays mounted: {error:#}", self.0.display());
        }
    }
}

/// An ext4 on a loop device on an image in a memory of its own. The parts go in this order.
struct Device {
    mounted: Option<Mounted>,
    device: String,
    memory: Mounted,
}

impl Device {
    fn new(folder: &Path) -> Result<Self> {
        let memory = Mounted::memory(folder.join("memory"))?;
        let image = memory.0.join("image");
        fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
        let whole = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-N", "512", "-m", "0", "-J", "size=4", "-E", whole, text(&image)])?;
        let device = run("losetup", &["--find", "--show", text(&image)])?;
        let mut made = Self { mounted: None, device, memory };
        fs::create_dir(folder.join("ext4"))?;
        made.mount(folder.join("ext4"))?;
        Ok(made)
    }

    fn mount(&mut self, at: PathBuf) -> Result<()> {
        run("mount", &[&self.device, text(&at)])?;
        self.mounted = Some(Mounted(at));
        Ok(())
    }

    /// Lets it write again, and has the file system look after itself as a start of the machine would.
    fn mend(&mut self) -> Result<()> {
        self.memory.empty()?;
        let at = self.mounted.take().context("it is mounted")?.0.clone();
        // 1 says that something was mended.
        let mended = std::process::Command::new("e2fsck").args(["-f", "-y", &self.device]).output()?;
        ensure!(mended.status.code().is_some_and(|code| code <= 1), "e2fsck: {mended:?}");
        self.mount(at)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.mounted = None;
        if let Err(error) = run("losetup", &["--detach", &self.device]) {
            eprintln!("{} stays: {error:#}", self.device);
        }
    }
}

fn unavailable(error: anyhow::Error) -> anyhow::Error {
    NotRun(format!("unavailable, for it needs root, mount and loop devices: {error:#}")).into()
}

/// Has a member's data lie there.
fn lies_at(region: &Region, member: u16, root: &Path) -> Result<()> {
    let data = root.join("data");
    fs::create_dir(&data)?;
    Ok(std::os::unix::fs::symlink(&data, region.data(member))?)
}

/// A persistent write at one member: status and text.
async fn put(region: &Region, member: u16, version: &str, number: u32) -> (u16, String) {
    change(region, member, "POST", version, number).await
}

async fn change(region: &Region, member: u16, method: &str, version: &str, number: u32) -> (u16, String) {
    let (ip, port) = address(number);
    let path = format!("/nacos/{version}/ns/instance?serviceName=stays&ip={ip}&port={port}&ephemeral=false");
    http::ask(region.http(member), method, &path).await.unwrap_or_default()
}

/// Waits until a member refuses a write for want of room, and holds that it names a member whose disk that is.
async fn refused(region: &Region, member: u16, whose: &[u16]) {
    let mut said = (0, String::new());
    let is_refused = async || {
        said = put(region, member, "v1", 99).await;
        let named = |whose: &u16| said.1.contains(&format!("the disk of member {whose} has too little room"));
        (said.0 == 507 && whose.iter().any(named)).then_some(())
    };
    if within(SEEN_WITHIN, is_refused).await.is_none() {
        panic!("member {member} said {said:?}\n{}", region.tell_all().await);
    }
}

/// Waits until a member's metrics say how much room it has.
async fn room_is(region: &Region, member: u16, level: u8) {
    until_async("the metrics tell of the disk", SEEN_WITHIN, async || {
        let (_, page) = region.ask(member, "GET", "/metrics").await;
        page.lines().any(|line| line == format!("landbridge_store_room {level}")).then_some(())
    })
    .await;
}

/// Fills a member's disk in two steps: whoever finds it full while it is about to write has ended otherwise.
async fn fill_up(region: &Region, member: u16, disk: &Mounted) -> Result<()> {
    disk.fill(RESERVE_BYTES / 8)?;
    room_is(region, member, 2).await;
    disk.fill(0)
}

fn names(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    let mut names: Vec<_> = numbers.into_iter().map(shown).collect();
    names.sort();
    names
}

pub async fn a_full_disk_refuses_decisions_says_so_and_takes_them_again_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = |member: u16| Mounted::memory(folder.path().join(format!("disk-{member}")));
    let disks: Vec<_> = (1..=3).map(disk).collect::<Result<_>>().map_err(unavailable)?;
    let of = |member: u16| &disks[usize::from(member) - 1];
    let mut region = Region::new(3)?;
    region.sets.push(format!("raft.reserve_bytes={RESERVE_BYTES}"));
    for member in 1..=3 {
        lies_at(&region, member, &of(member).0)?;
    }
    region.start_all()?;
    region.all_ready().await;
    all_vote(&region, 3).await;
    persist_at_last(&region, 1, "stays", 0).await;

    // One disk: its member leads no more, and the others go on.
    let leader = region.leader().await;
    let others: Vec<u16> = region.members().into_iter().filter(|member| *member != leader).collect();
    of(leader).fill(RESERVE_BYTES / 2)?;
    until_async("a member with room leads", SOON, async || {
        others.contains(&region.leader().await).then_some(())
    })
    .await;
    fill_up(&region, leader, of(leader)).await?;
    refused(&region, leader, &[leader]).await;
    persist_at_last(&region, others[0], "stays", 1).await;
    room_is(&region, leader, 2).await;
    until_async("the others are told of it", SEEN_WITHIN, async || {
        let rows = region.page(others[1], "members").await?;
        let row = rows.as_array()?.iter().find(|row| row["member"] == leader)?;
        (row["disk"] == "full" && row["lag"].as_u64()? > 0).then_some(())
    })
    .await;

    // All disks: nothing is decided, and everything else goes on.
    for member in others.iter().copied() {
        fill_up(&region, member, of(member)).await?;
    }
    for member in region.members() {
        refused(&region, member, &[1, 2, 3]).await;
        room_is(&region, member, 2).await;
        let (status, text) = change(&region, member, "DELETE", "v1", 0).await;
        ensure!(status == 507, "member {member} answered a delete with {status}: {text}");
        let (status, text) = put(&region, member, "v2", 99).await;
        ensure!(status == 507 && text.contains("\"code\""), "v2 said {status}: {text}");
        register(&region, member, "orders", 10 + u32::from(member)).await?;
        let here = region.shown(member, "stays").await.context("reads go on")?;
        ensure!(here.contains(&shown(0)), "member {member} shows {here:?}");
    }
    all_show(&region, "orders", &names(11..14)).await;

    // A little room: what frees more is decided.
    for member in region.members() {
        of(member).fill(RESERVE_BYTES / 2)?;
    }
    refused(&region, 1, &[1, 2, 3]).await;
    until_async("a delete is taken", SOON, async || {
        (change(&region, 2, "DELETE", "v1", 0).await.0 == 200).then_some(())
    })
    .await;
    for member in region.members() {
        of(member).empty()?;
    }
    for member in region.members() {
        persisted(region.http(member), "stays", 20 + u32::from(member)).await;
        room_is(&region, member, 0).await;
    }
    all_show(&region, "stays", &names([1, 21, 22, 23])).await;
    for member in region.members() {
        ensure!(region.ended_by_itself(member)?.is_none(), "member {member} ended:\n{}", region.log(member));
        let log = region.log(member);
        ensure!(log.contains("disk_full") && log.contains("disk_has_room"), "member {member} said:\n{log}");
    }
    Ok(())
}

/// Waits until a member has ended by itself, and holds that it said why in one line.
async fn ends_with(region: &mut Region, member: u16, reasons: &[&str]) -> Result<()> {
    let ended = until_async("the member whose disk failed ends", ENDED_WITHIN, async || {
        region.ended_by_itself(member).ok().flatten()
    });
    let ended = ended.await;
    let log = region.log(member);
    ensure!(ended.code() == Some(1), "member {member} ended with {ended}:\n{log}");
    let clear = log.lines().find(|line| {
        line.contains("the store failed: the disk failed during ")
            && reasons.iter().any(|why| line.contains(why))
    });
    println!("  member {member}: {}", clear.with_context(|| format!("no clear line:\n{log}"))?);
    region.kill(member)
}

pub async fn a_disk_that_fails_ends_its_member_with_a_clear_line_and_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let memory = Mounted::memory(folder.path().join("full")).map_err(unavailable)?;
    let mut device = Device::new(folder.path()).map_err(unavailable)?;
    let mut region = Region::new(3)?;
    // Nothing is kept free, so that writes and syncs do fail.
    region.sets.push("raft.reserve_bytes=0".to_owned());
    lies_at(&region, 1, &memory.0)?;
    lies_at(&region, 2, &device.mounted.as_ref().context("it is mounted")?.0)?;
    region.start_all()?;
    region.all_ready().await;
    all_vote(&region, 3).await;
    let members: Vec<_> = region.members().into_iter().map(|member| region.http(member)).collect();
    let writing = keeping(&members);
    writing.goes_on().await;

    memory.fill(0)?;
    ends_with(&mut region, 1, &["No space left on device"]).await?;
    writing.goes_on().await;
    memory.empty()?;
    region.start(1)?;
    region.ready(1).await;
    all_vote(&region, 3).await;

    device.memory.fill(0)?;
    ends_with(&mut region, 2, &["Input/output error", "Read-only file system"]).await?;
    writing.goes_on().await;
    device.mend()?;
    region.start(2)?;
    region.ready(2).await;
    all_vote(&region, 3).await;

    let answered = all_kept(writing, &region).await?;
    println!("  a full disk and a failed sync: {answered} answered, 0 lost");
    for member in region.members() {
        region.kill(member)?;
    }
    Ok(())
}

pub async fn a_second_process_on_a_data_folder_is_refused_and_the_first_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let start = |base: u16| {
        let sets = [format!("data_dir={}", data.display()), format!("listen.http_port={base}")];
        Process::start_logged("registry", &sets, &log)
    };
    let base = free_base()?;
    let at = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, base));
    let mut first = start(base)?;
    let ready = async || http::ask(at, "GET", "/readyz").await.filter(|(status, _)| *status == 200);
    until_async("the first is ready", SOON, ready).await;

    let mut second = start(free_base()?)?;
    let ended = until_async("the second ends", ENDED_WITHIN, async || second.ended().ok().flatten()).await;

    let said = fs::read_to_string(&log)?;
    let line = said.lines().find(|line| line.contains("another data_dir")).unwrap_or_default();
    ensure!(ended.code() == Some(1), "the second ended with {ended}:\n{said}");
    ensure!(
        line.contains(text(&data)) && line.contains(&format!("process {} uses", first.id())),
        "it does not name the folder and who uses it: {line:?}"
    );
    ensure!(first.ended()?.is_none(), "the first ended:\n{said}");
    persisted(at, "stays", 1).await;
    Ok(())
}
