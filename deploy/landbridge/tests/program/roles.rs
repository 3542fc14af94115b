//! Tests of roles as processes: they start without questions, say what is wrong, and end when told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{landbridge, program, stderr, stdout};

/// No test waits longer for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A role that runs, and its log.
pub(crate) struct Running {
    process: Child,
    log: Option<BufReader<ChildStderr>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut process = program(arguments).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        Self { process, log: Some(log) }
    }

    /// Starts a role that is not listened to: its log goes to a file.
    pub(crate) fn silent(arguments: &[&str], log: &Path) -> Self {
        let to_file = std::fs::File::create(log).expect("a log file");
        let started = program(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(to_file).spawn();
        let process = started.expect("the program starts");
        Self { process, log: None }
    }

    fn standalone(data: &Path) -> Self {
        let data = data.to_str().expect("a readable path");
        Self::start(&["registry", "--standalone", "--data", data, "--listen", "127.0.0.1:0"])
    }

    /// Reads the log up to the line that holds all parts.
    fn line(&mut self, parts: &[&str]) -> String {
        loop {
            let mut line = String::new();
            let read =
                self.log.as_mut().expect("its log is piped").read_line(&mut line).expect("a log of text");
            assert_ne!(read, 0, "the process ended before it said {parts:?}");
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    /// The address of a port, from the event that tells it.
    fn address(&mut self, what: &str) -> String {
        let line = self.line(&["\"event\":\"listening\"", &format!("\"what\":\"{what}\"")]);
        let (_, rest) = line.split_once("\"address\":\"").expect("the event tells the address");
        rest.split('"').next().expect("it ends somewhere").to_owned()
    }

    fn tell(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.process.id());
        let told = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(told.success());
    }

    /// Waits for the end while reading the log, so that a full pipe stops nobody.
    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.log.as_mut().expect("its log is piped").read_to_string(&mut rest).expect("a log of text");
        (self.process.wait().expect("it was started"), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks a verb until it prints what is wanted.
pub(crate) fn until(arguments: &[&str], wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = landbridge(arguments);
        if stdout(&output).contains(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "no {wanted:?} in {:?} {:?}", stdout(&output), stderr(&output));
    }
}

#[test]
fn a_lone_member_starts_without_a_file_and_ends_on_sigterm() {
    let data = tempfile::tempdir().unwrap();
    let mut member = Running::standalone(&data.path().join("new"));
    let http = member.address("http");

    until(&["check", "--at", &http], "\nready\n");
    until(&["status", "--at", &http], "registry");
    member.tell("TERM");

    let (status, log) = member.end();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("\"event\":\"ended\""), "{log}");
}

#[test]
fn an_instance_registered_by_hand_is_there_until_interrupted() {
    let data = tempfile::tempdir().unwrap();
    let mut member = Running::standalone(data.path());
    let http = member.address("http");
    until(&["check", "--at", &http], "\nready\n");

    let mut instance =
        Running::start(&["register", "orders", "192.0.2.7:8080", "-m", "zone=b", "--at", &http]);
    instance.line(&["is registered"]);
    until(&["services", "-o", "name", "--at", &http], "orders");
    until(&["instances", "orders", "--at", &http], "192.0.2.7  8080  DEFAULT  local   b ");
    instance.tell("INT");

    let (status, said) = instance.end();
    assert!(status.success() && said.contains("is taken away"), "{status}: {said}");
    until(&["instances", "orders", "-o", "json", "--at", &http], "[]");
}

#[test]
fn a_backup_of_a_running_member_starts_its_region_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().expect("a readable path").to_owned();
    let (file, data) = (path("region.backup"), format!("data_dir={}", path("new")));
    let mut member = Running::standalone(&dir.path().join("old"));
    let http = member.address("http");
    until(&["check", "--at", &http], "\nready\n");
    until(&["policy", "export", "west", "--allow", "*/*/*", "--at", &http, "-o", "json"], "seq");

    let made = landbridge(&["backup", &file, "--at", &http, "-o", "name"]);
    assert_eq!(stdout(&made).trim(), file, "{}", stderr(&made));
    assert_eq!(landbridge(&["backup", &file, "--at", &http]).status.code(), Some(5), "it was overwritten");
    let unsure = landbridge(&["restore", &file, "--set", &data]);
    assert_eq!(unsure.status.code(), Some(4), "{}", stderr(&unsure));
    let done = landbridge(&["restore", &file, "--set", &data, "--confirm", "local", "-o", "name"]);
    assert_eq!(stdout(&done).trim(), "local", "{}", stderr(&done));

    let mut again = Running::standalone(&dir.path().join("new"));
    let http = again.address("http");
    until(&["policy", "list", "--at", &http], "west");
    let twice = landbridge(&["restore", &file, "--set", &data, "--confirm", "local"]);
    assert_eq!(twice.status.code(), Some(1), "a running member was overwritten: {}", stdout(&twice));
}

#[test]
fn a_busy_port_is_told_in_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let data = tempfile::tempdir().unwrap();
    // gRPC would be 1000 above, which may lie beyond the last port.
    let (port, data) =
        (format!("listen.http_port={}", address.port()), data.path().to_str().unwrap().to_owned());
    let sets = ["--set", &port, "--set", "listen.grpc_port=0", "--set", "listen.feeds_port=0"];

    let output = landbridge(&[&["registry", "--standalone", "--data", &data][..], &sets].concat());

    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains(&address.to_string()) && told.contains("another process listens there"), "{told}");
}

#[test]
fn garbage_on_every_port_stops_nobody() {
    let data = tempfile::tempdir().unwrap();
    let mut member = Running::standalone(data.path());
    let http = member.address("http");
    let grpc = member.address("grpc");
    until(&["check", "--at", &http], "\nready\n");

    for address in [&http, &grpc] {
        for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"\0\0\0\0\r\n\r\n", &[0xff; 4_096]] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(garbage).unwrap();
            // The peer may have closed already.
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let closed = stream.read_to_end(&mut answer);
            assert!(
                closed.is_ok()
                    || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
            );
        }
    }

    until(&["check", "--at", &http], "\nready\n");
    member.tell("TERM");
    let (status, log) = member.end();
    assert!(status.success() && !log.contains("panic"), "{status}: {log}");
}
