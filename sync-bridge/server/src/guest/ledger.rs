//! What a guest's host must never forget: its era, how often it was started, and its tasks. One small file, synced.
//!
//! Invariant: a start is counted on disk before anything is written under its number, so no two starts use the same.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use landbridge_bridge_core::guest::{Selection, Task, Way};
use landbridge_model::{Era, Region};
use serde::{Deserialize, Serialize};

/// The file in the bridge's data folder.
const FILE: &str = "guest.json";

/// The page as it stands on disk.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Page {
    version: u32,
    era: u64,
    starts: u32,
    tasks: Vec<TaskPage>,
}

/// The version of the page.
const VERSION: u32 = 1;

/// A task as operators and the disk write it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskPage {
    #[serde(default)]
    pub name: String,
    /// `namespace/group/service`; the service may hold stars.
    pub services: String,
    /// The region whose services go out; none: the guest's come in.
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub paused: bool,
}

impl TaskPage {
    pub fn of(task: &Task) -> Self {
        let from = match &task.way {
            Way::In => None,
            Way::Out(region) => Some(region.to_string()),
        };
        let services = task.selection.to_string();
        Self { name: task.name.to_string(), services, from, paused: task.paused }
    }

    /// The task it means.
    pub fn task(&self) -> Result<Task, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(plain) {
            return Err(format!("a task's name is 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"));
        }
        let way = match &self.from {
            None => Way::In,
            Some(region) => Way::Out(Region::parse(region).map_err(|why| why.to_string())?),
        };
        let selection = Selection::parse(&self.services).map_err(|why| why.to_string())?;
        Ok(Task { name: self.name.as_str().into(), way, selection, paused: self.paused })
    }
}

/// The longest name of a task, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The file, and what stands in it.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    page: Page,
}

impl Ledger {
    /// Counts a start. Without a file a new era begins, and `seeds` are the tasks. Blocks.
    pub fn open(folder: &Path, unix_ms: u64, seeds: &[Task]) -> Result<Self, String> {
        let path = folder.join(FILE);
        let broken = |why: String| format!("{}: {why}", path.display());
        let page = match fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Page>(&text).map_err(|error| broken(error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let tasks = seeds.iter().map(TaskPage::of).collect();
                Page { version: VERSION, era: unix_ms, starts: 0, tasks }
            }
            Err(error) => return Err(broken(error.to_string())),
        };
        if page.version != VERSION {
            return Err(broken(format!("version {} is not {VERSION}", page.version)));
        }
        let page = Page { starts: page.starts + 1, ..page };
        let ledger = Self { path, page };
        ledger.write(&ledger.page)?;
        Ok(ledger)
    }

    pub fn era(&self) -> Era {
        Era(self.page.era)
    }

    /// The number of this start, from 1.
    pub fn starts(&self) -> u32 {
        self.page.starts
    }

    /// The tasks; one that cannot be read is an error.
    pub fn tasks(&self) -> Result<Vec<Task>, String> {
        self.page.tasks.iter().map(TaskPage::task).collect()
    }

    /// Remembers these tasks; an error changes nothing. Blocks.
    pub fn keep(&mut self, tasks: &[Task]) -> Result<(), String> {
        let tasks = tasks.iter().map(TaskPage::of).collect();
        let page = Page { version: VERSION, tasks, ..self.page };
        self.write(&page)?;
        self.page = page;
        Ok(())
    }

    fn write(&self, page: &Page) -> Result<(), String> {
        let write = || -> std::io::Result<()> {
            let new = self.path.with_extension("new");
            let mut file = fs::File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(page)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
        };
        write().map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_never_counted_twice_and_tasks_and_era_stay() {
        let folder = tempfile::tempdir().unwrap();
        let page = |name: &str, from: Option<&str>| TaskPage {
            name: name.to_owned(),
            services: "public/shop/*".to_owned(),
            from: from.map(str::to_owned),
            paused: false,
        };
        let seeds = vec![page("in", None).task().unwrap()];

        let mut first = Ledger::open(folder.path(), 7, &seeds).unwrap();
        assert_eq!((first.era(), first.starts(), first.tasks().unwrap()), (Era(7), 1, seeds.clone()));
        let tasks = vec![page("out", Some("west")).task().unwrap()];
        first.keep(&tasks).unwrap();
        let second = Ledger::open(folder.path(), 9, &seeds).unwrap();

        assert_eq!((second.era(), second.starts(), second.tasks().unwrap()), (Era(7), 2, tasks));
    }

    #[test]
    fn a_page_that_cannot_be_read_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{}").unwrap();

        assert!(Ledger::open(folder.path(), 7, &[]).is_err());
    }
}
