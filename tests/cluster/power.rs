//! The power is cut: members live on a loop device, and go on from a copy of what had reached it.
//!
//! `POWER_CUTS=N` asks for it; it needs root and loop devices. All members are stopped in the middle of their writes, the
//! device's image is copied (twice, until both copies are the same: then nothing was written meanwhile), the members are
//! killed, and start again from the copy. What only the kernel's cache held is gone, as with the power.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{region::Region, wait::within};

use crate::{
    NotRun,
    crashing::times,
    writers::{all_kept, keeping},
};

/// The size of the device, in bytes; the image has holes where nothing was written.
const DEVICE_BYTES: u64 = 1 << 30;

/// Two copies of the image are the same within this; longer only if something goes on writing.
const STILL_WITHIN: Duration = Duration::from_secs(60);

/// Runs a program of this machine; what it said, or why it failed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let done =
        Command::new(program).args(arguments).output().with_context(|| format!("{program} is not here"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A file system on a loop device on a file in memory; gone when it goes out of sight.
struct Device {
    folder: tempfile::TempDir,
    lives: u32,
    device: Option<String>,
}

impl Device {
    fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        ensure!(memory.is_dir(), "there is no file system in memory at {}", memory.display());
        let mut device = Self { folder: tempfile::tempdir_in(memory)?, lives: 0, device: None };
        fs::create_dir(device.root())?;
        fs::File::create(device.image())?.set_len(DEVICE_BYTES)?;
        run("mkfs.ext4", &["-q", "-F", text(&device.image())])?;
        device.mount()?;
        Ok(device)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// What has reached the device in this life of it.
    fn image(&self) -> PathBuf {
        self.folder.path().join(format!("image-{}", self.lives))
    }

    fn mount(&mut self) -> Result<()> {
        let device = run("losetup", &["--find", "--show", text(&self.image())])?;
        self.device = Some(device.clone());
        run("mount", &[&device, text(&self.root())]).map(|_| ())
    }

    fn take_apart(&mut self) -> Result<()> {
        if let Some(device) = self.device.take() {
            run("umount", &[text(&self.root())])?;
            run("losetup", &["--detach", &device])?;
        }
        Ok(())
    }

    /// Copies the image while nobody writes to it, and tells how often it had to be copied.
    async fn copy(&self) -> Result<(PathBuf, u32)> {
        let copies = ["copy-a", "copy-b"].map(|name| self.folder.path().join(name));
        let mut copied = 1;
        run("cp", &["--sparse=always", text(&self.image()), text(&copies[0])])?;
        let still = within(STILL_WITHIN, async || {
            copied += 1;
            let (one, other) = (&copies[(copied % 2) as usize], &copies[((copied + 1) % 2) as usize]);
            run("cp", &["--sparse=always", text(&self.image()), text(other)]).ok()?;
            run("cmp", &[text(one), text(other)]).ok().map(|_| ())
        });
        ensure!(still.await.is_some(), "something goes on writing to the device");
        Ok((copies[0].clone(), copied))
    }

    /// Goes on from a copy of the image.
    fn go_on_from(&mut self, copy: &Path) -> Result<()> {
        self.take_apart()?;
        fs::remove_file(self.image())?;
        self.lives += 1;
        fs::rename(copy, self.image())?;
        self.mount()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Err(error) = self.take_apart() {
            eprintln!("the loop device stays behind: {error:#}");
        }
    }
}

pub async fn no_answered_write_is_lost_when_the_power_is_cut() -> Result<()> {
    let cuts = times("POWER_CUTS", 0);
    if cuts == 0 {
        return Err(NotRun("POWER_CUTS=N asks for it, as root".to_owned()).into());
    }
    let device = Device::new();
    let mut device = device.map_err(|error| NotRun(format!("no device can be made here: {error:#}")))?;
    let mut region = Region::new(3)?;
    for member in region.members() {
        let data = device.root().join(format!("data-{member}"));
        fs::create_dir(&data)?;
        std::os::unix::fs::symlink(&data, region.data(member))?;
    }
    region.start_all()?;
    region.all_ready().await;
    let members: Vec<_> = region.members().into_iter().map(|member| region.http(member)).collect();
    let writing = keeping(&members);
    let (begun, mut copies) = (Instant::now(), 0);

    for _ in 0..cuts {
        writing.goes_on().await;
        for member in region.members() {
            region.process(member)?.signal("STOP")?;
        }
        let (copy, copied) = device.copy().await?;
        copies += copied;
        for member in region.members() {
            region.kill(member)?;
        }
        device.go_on_from(&copy)?;
        region.start_all()?;
        writing.goes_on().await;
    }
    region.all_ready().await;

    let (_, refused) = writing.counts();
    let answered = all_kept(writing, &region).await?;
    let took = begun.elapsed().as_secs_f64();
    println!(
        "  {cuts} power cuts ({copies} copies): {answered} answered, 0 lost, {refused} refused, {took:.0} s"
    );
    for member in region.members() {
        region.kill(member)?;
    }
    Ok(())
}
