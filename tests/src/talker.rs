//! A process that is spoken to: orders go in by its standard input, one line each, and one line answers each.
//!
//! Invariant: no such process outlives the one that started it: it ends when its standard input closes.

use std::{
    io::{self, BufRead, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// What a kernel can do to a process besides ending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It stands still; its sockets stay open.
    Stop,
    /// It goes on.
    Continue,
    /// It is asked to end.
    Terminate,
}

/// A process that says where it listens, and then answers orders. Killed when it goes out of sight.
pub struct Talker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Talker {
    /// Starts a program that says its address first.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the process cannot be started")?;
        let orders = child.stdin.take().context("its input is piped")?;
        let mut answers = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let address = line.trim().parse();
        let address = address.with_context(|| format!("it said {line:?} instead of its address"))?;
        Ok(Self { child, orders, answers, address })
    }

    /// Starts this program again in another role: its first argument is `serve-ROLE`.
    pub fn again(role: &str, arguments: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("serve-{role}")).args(arguments);
        Self::start(command)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says a line and waits for the answer. A process that stands still never answers.
    pub fn ask(&mut self, order: &str) -> Result<String> {
        writeln!(self.orders, "{order}")?;
        self.orders.flush()?;
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "it ended instead of answering {order:?}");
        Ok(line.trim().to_owned())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let name = match signal {
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
            Signal::Terminate => "TERM",
        };
        // The standard library knows no signal but the one that kills; the shell of every Unix does.
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("/bin/sh").args(["-c", &kill]).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "no signal {name}: {status}");
        Ok(())
    }

    /// Ends it as a power failure would.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// The other side: says the address, answers each line, ends the process when nobody speaks any more.
pub fn listen_to_orders(address: SocketAddr, mut answer: impl FnMut(&str) -> String) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{address}")?;
    out.flush()?;
    for order in io::stdin().lock().lines() {
        writeln!(out, "{}", answer(order?.trim()))?;
        out.flush()?;
    }
    Ok(())
}
