//! Metrics of a process: the recorder all rooms write to, and the text a scraper reads.
//!
//! Invariant: every histogram has buckets (a summary cannot be added up over members); samples are drained by an
//! upkeep task even when nobody scrapes.

use std::fmt::Write as _;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::shutdown::Shutdown;

/// How often buffered histogram samples are put into their buckets.
const UPKEEP_MS: u64 = 5_000;

/// Upper bounds of every `_seconds` histogram: half a millisecond to a minute.
pub const SECONDS_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds of every `_bytes` histogram.
pub const BYTES_BUCKETS: [f64; 8] =
    [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// Upper bounds of every other histogram, which counts things.
pub const COUNT_BUCKETS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1_000.0, 10_000.0];

/// Clock ticks a second in `/proc`; fixed at 100 for everything Linux shows to user space.
const PROC_TICKS_PER_SECOND: f64 = 100.0;

/// The text a scraper reads.
#[derive(Clone, Debug)]
pub struct MetricsPage {
    handle: PrometheusHandle,
}

/// What a process is, told once as labels of `landbridge_build_info`.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The version of the program.
    pub version: &'static str,
    /// Which role runs.
    pub role: &'static str,
}

/// The page made by the first `install`; a process has one recorder.
static INSTALLED: Mutex<Option<MetricsPage>> = Mutex::new(None);

/// Installs the recorder; a second call in the same process gives the same page.
pub fn install(build: BuildInfo) -> Result<MetricsPage, String> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(page) = installed.as_ref() {
        return Ok(page.clone());
    }
    let handle = builder()
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("metrics cannot be recorded: {error}"))?;
    metrics::gauge!("landbridge_build_info", "version" => build.version, "role" => build.role).set(1.0);
    let page = MetricsPage { handle };
    *installed = Some(page.clone());
    Ok(page)
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&COUNT_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES_BUCKETS)
}

impl MetricsPage {
    /// The page in Prometheus's text format.
    pub fn render(&self) -> String {
        let mut page = self.handle.render();
        for line in process_lines().unwrap_or_default() {
            let Line { name, kind, help, value } = line;
            write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n")
                .expect("writing to a string cannot fail");
        }
        page
    }

    /// Starts the task that drains histogram samples until the process ends.
    pub fn keep_up(&self, shutdown: &Shutdown) {
        let handle = self.handle.clone();
        let ending = shutdown.clone();
        shutdown.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(UPKEEP_MS));
            loop {
                tokio::select! {
                    _ = ticks.tick() => handle.run_upkeep(),
                    () = ending.wait() => return,
                }
            }
        });
    }
}

/// One metric of the process as the kernel tells it.
struct Line {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: f64,
}

/// The usual `process_*` metrics; `None` where `/proc` is not what we know.
fn process_lines() -> Option<Vec<Line>> {
    let line = |name, kind, help, value| Line { name, kind, help, value };
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command name in parentheses may hold spaces; fields are counted after it, from field 3 on.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let cpu_seconds = (field(14)? + field(15)?) / PROC_TICKS_PER_SECOND;
    let kernel = fs::read_to_string("/proc/stat").ok()?;
    let boot_seconds: f64 = value_after(&kernel, "btime ")?;
    let started_seconds = boot_seconds + field(22)? / PROC_TICKS_PER_SECOND;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let fds_max: f64 = value_after(&limits, "Max open files").unwrap_or(f64::INFINITY);
    let fds = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(vec![
        line("process_cpu_seconds_total", "counter", "CPU time used, user and system.", cpu_seconds),
        line(
            "process_resident_memory_bytes",
            "gauge",
            "Memory in RAM.",
            value_after(&status, "VmRSS:")? * 1024.0,
        ),
        line(
            "process_virtual_memory_bytes",
            "gauge",
            "Address space.",
            value_after(&status, "VmSize:")? * 1024.0,
        ),
        line("process_open_fds", "gauge", "Open file descriptors.", fds as f64),
        line("process_max_fds", "gauge", "Limit of open file descriptors.", fds_max),
        line("process_threads", "gauge", "Threads of the process.", value_after(&status, "Threads:")?),
        line(
            "process_start_time_seconds",
            "gauge",
            "When the process started, in Unix seconds.",
            started_seconds,
        ),
    ])
}

/// The first number after `name` at the start of a line.
fn value_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> MetricsPage {
        install(BuildInfo { version: "0.0.0-test", role: "registry" }).unwrap()
    }

    #[test]
    fn the_page_tells_what_was_built_and_how_the_process_does() {
        let text = page().render();

        assert!(text.contains("landbridge_build_info{version=\"0.0.0-test\",role=\"registry\"} 1"), "{text}");
        for name in ["process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_threads"] {
            assert!(text.contains(&format!("\n{name} ")), "{name} is missing");
        }
    }

    #[test]
    fn memory_and_start_time_are_plausible() {
        let text = page().render();
        let started = value_after(&text, "process_start_time_seconds ").unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();

        assert!(value_after(&text, "process_resident_memory_bytes ").unwrap() > 1_000_000.0);
        assert!((now - started).abs() < 3_600.0, "started {started}, now {now}");
    }

    #[test]
    fn a_histogram_has_buckets_and_is_never_a_summary() {
        let page = page();

        metrics::histogram!("landbridge_runtime_test_seconds").record(0.004);
        let text = page.render();

        assert!(text.contains("landbridge_runtime_test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(!text.contains("quantile="), "{text}");
    }
}
