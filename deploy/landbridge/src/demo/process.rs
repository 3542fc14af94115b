//! The demo's processes: started from this very program, watched, and killed as a failure would kill them.
//!
//! Invariant: no process outlives the demo, however the demo ends: each one reads its standard input, which only the demo
//! holds open, and exits when it closes.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use landbridge_runtime::config::ENVIRONMENT_PREFIX;

/// A process that was asked to end gets so long before it is killed.
const END_WITHIN: Duration = Duration::from_secs(15);

/// How long the wait for an end rests between two looks.
const END_REST: Duration = Duration::from_millis(20);

/// How much of a log is shown when its process ended by itself, in lines.
const LOG_LINES_SHOWN: usize = 12;

/// What a process whose parent is gone exits with.
const ORPHAN_STATUS: i32 = 1;

/// One process of the demo.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts this program with other arguments, its log in a file.
    pub(super) fn start(name: &str, arguments: Vec<String>, log: &Path) -> io::Result<Self> {
        let mut process = Self { name: name.to_owned(), arguments, log: log.to_owned(), child: None };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again after a kill.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--end-with-parent")
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // An interrupt typed at the terminal is for the demo, which then ends the others in order.
            .process_group(0);
        // What is set for the person's own processes means nothing to these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX) {
                command.env_remove(name);
            }
        }
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Ends it as a power failure would: SIGKILL, no word of farewell.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that ended by itself cannot be killed, and that is as well; a killed one is waited for in no time.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end in order; tells what went wrong if it does not, or not well.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        terminate(child.id());
        let begun = Instant::now();
        while begun.elapsed() < END_WITHIN {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(format!("{} was asked to end and ended with {status}", self.name));
                }
                Ok(None) => tokio::time::sleep(END_REST).await,
                Err(error) => return Err(format!("{}: {error}", self.name)),
            }
        }
        self.kill();
        Err(format!("{} did not end within {} s and was killed", self.name, END_WITHIN.as_secs()))
    }

    /// Why it is not running although nobody killed it: a sentence, and the end of its log on the lines after. It is told
    /// once.
    pub(super) fn fault(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        Some(format!("{} ended by itself: {status}\nthe end of {}:\n{end}", self.name, self.log.display()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends SIGTERM.
fn terminate(id: u32) {
    // The standard library has no gentle signal; the shell of every Unix has.
    let kill = format!("kill -TERM {id}");
    let _ = Command::new("/bin/sh").args(["-c", &kill]).stdin(Stdio::null()).status();
}

/// Ends this process as soon as its parent is gone: then nobody holds its standard input open any more.
pub(crate) fn end_with_parent() -> io::Result<()> {
    let watch = || {
        let mut nothing = [0; 64];
        // The parent never writes; an error is an end too.
        while matches!(io::stdin().read(&mut nothing), Ok(1..)) {}
        std::process::exit(ORPHAN_STATUS);
    };
    std::thread::Builder::new().name("parent-watch".to_owned()).spawn(watch).map(drop)
}
