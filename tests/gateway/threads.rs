//! What the threads of this process have spent, by the kernel's own count.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};

/// What the gateway calls the threads that serve calls.
pub(crate) const CORES: &str = "calls-";

/// CPU time of every thread whose name begins so, by its number.
pub(crate) fn spent(name: &str) -> Result<BTreeMap<u32, Duration>> {
    let mut spent = BTreeMap::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        // A thread may end while it is looked at.
        let Ok(called) = fs::read_to_string(thread.path().join("comm")) else { continue };
        let Ok(schedule) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        if called.starts_with(name) {
            let id = thread.file_name().to_string_lossy().parse()?;
            let ns = schedule.split_whitespace().next().context("schedstat begins with a number")?.parse()?;
            spent.insert(id, Duration::from_nanos(ns));
        }
    }
    Ok(spent)
}

/// CPU time of all of them together.
pub(crate) fn total(name: &str) -> Result<Duration> {
    Ok(spent(name)?.into_values().sum())
}
