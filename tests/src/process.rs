//! A server in a process of its own, and what it has used so far.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// Kernel ticks a second in `/proc/PID/stat`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server must answer after this.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// A server process; killed when it goes out of sight.
pub struct Process(Child);

impl Process {
    /// Starts this program again as a server: its first argument is `serve-ROLE`.
    pub fn start(role: &str, arguments: &[String]) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg(format!("serve-{role}"))
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .context("the server process cannot be started")?;
        Ok(Self(child))
    }

    /// As [`Self::start`], with what it says appended to a file.
    pub fn start_logged(role: &str, arguments: &[String], log: &Path) -> Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(std::env::current_exe()?)
            .arg(format!("serve-{role}"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the server process cannot be started")?;
        Ok(Self(child))
    }

    /// Sends it a signal, such as `TERM` or `STOP`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status()?;
        ensure!(sent.success(), "the process does not take {name}");
        Ok(())
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Starts any program; an error says that it is not there.
    pub fn of(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn()?))
    }

    /// CPU seconds so far, user and system.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, after_name) = stat.rsplit_once(')').context("stat has a name in parentheses")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks =
            |place: usize| -> Result<f64> { Ok(fields.get(place).context("stat is short")?.parse()?) };
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }

    /// Resident memory, MiB.
    pub fn rss_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("status has VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Ends it as a power failure would.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// Ports that were given out by this process, so that two servers which have not started yet do not get the same.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A free port that nobody else in this process was given.
///
/// The kernel gives ports to those that listen and to those that dial from two halves of its range (odd and even, Linux
/// since 4.2), so such a port stays free while its server is restarted, unless dialling connections have used up theirs.
pub fn free_port() -> Result<u16> {
    block_from(&|port| Some(vec![port]))
}

/// A port such that it and the ports that are computed from it for SDKs and for Raft are free.
pub fn free_base() -> Result<u16> {
    block_from(&|port| {
        let beside = [port.checked_sub(1000)?, port, port.checked_add(1000)?, port.checked_add(1001)?];
        (port < 60_000).then(|| beside.to_vec())
    })
}

fn block_from(block: &dyn Fn(u16) -> Option<Vec<u16>>) -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..64 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let free =
            |port: &u16| !given.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        if let Some(ports) = block(port).filter(|ports| ports.iter().all(free)) {
            given.extend(ports);
            return Ok(port);
        }
    }
    anyhow::bail!("no free block of ports was found")
}

/// Waits until something accepts on a port.
pub async fn accepts(address: SocketAddr) -> Result<()> {
    let begun = std::time::Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        ensure!(begun.elapsed() < ANSWERS_WITHIN, "{address} does not accept");
        tokio::task::yield_now().await;
    }
    Ok(())
}
