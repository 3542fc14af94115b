//! nginx and MariaDB as Debian packages them, each with a folder of its own.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use landbridge_tests::{process::Process, wait::until_async};
use tempfile::TempDir;

/// A database is made and answers within this.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A program that says nothing here.
fn silent(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// An nginx with pages that answer differently; stopped when it goes out of sight.
pub struct Nginx {
    pub port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Nginx {
    pub fn start() -> Result<Self> {
        Self::start_at(free_port()?)
    }

    /// One process, so that who is killed is gone.
    pub fn start_at(port: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path().display();
        let pages = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/errors;
             events {{ worker_connections 512; }}
             http {{
               access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c;
               uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;
               server {{
                 listen 0.0.0.0:{port};
                 location = /health {{ if ($http_x_probe != yes) {{ return 404; }} return 200 well; }}
                 location = /empty {{ return 204; }}
                 location = /busy {{ return 503; }}
               }}
             }}"
        );
        let page = folder.path().join("nginx.conf");
        fs::write(&page, pages)?;
        let process = Process::of(silent("nginx").arg("-p").arg(folder.path()).arg("-c").arg(page))?;
        Ok(Self { port, _process: process, _folder: folder })
    }
}

/// A MariaDB with a user who may ask.
pub struct MariaDb {
    pub port: u16,
    process: Option<Process>,
    folder: TempDir,
}

impl MariaDb {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let made = silent("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(option("datadir", &folder.path().join("data")))
            .args(as_root())
            .status()?;
        ensure!(made.success(), "no database was made: {made}");
        let mut maria = Self { port: free_port()?, process: None, folder };
        maria.start_again()?;
        let answers = async || maria.says("SELECT 1").ok();
        until_async("MariaDB answers", ANSWERS_WITHIN, answers).await;
        maria.says("CREATE USER probe@'%' IDENTIFIED BY 'secret'")?;
        Ok(maria)
    }

    pub fn start_again(&mut self) -> Result<()> {
        let at = self.folder.path();
        let process = Process::of(
            silent("mariadbd")
                .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"])
                .arg(format!("--port={}", self.port))
                .arg(option("datadir", &at.join("data")))
                .arg(option("socket", &at.join("socket")))
                .arg(option("pid-file", &at.join("pid")))
                .args(as_root()),
        )?;
        self.process = Some(process);
        Ok(())
    }

    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("it runs")?.kill()
    }

    /// Says something as its owner.
    pub fn says(&self, sql: &str) -> Result<()> {
        let said = silent("mariadb")
            .args(["--no-defaults", "-uroot", "-e", sql])
            .arg(option("socket", &self.folder.path().join("socket")))
            .status()?;
        ensure!(said.success(), "{sql}: {said}");
        Ok(())
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// Who runs this is who owns the files; MariaDB wants that said for root.
fn as_root() -> Option<&'static str> {
    fs::metadata("/root").is_ok_and(|_| fs::read_dir("/root").is_ok()).then_some("--user=root")
}
