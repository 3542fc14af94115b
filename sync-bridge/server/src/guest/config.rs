//! The part of a bridge's page that makes it the host of a guest.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use landbridge_bridge_core::guest::{Settings, Task};
use landbridge_model::{KeyGlob, Region};
use serde::Deserialize;

use super::{ledger::TaskPage, line::Pace, login::User};

/// `[guest]` as written; `configs/bridge.toml` gives the reasons.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestPage {
    servers: Vec<String>,
    protocol: Protocol,
    username: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    tasks: Vec<TaskPage>,
    #[serde(default)]
    exports: BTreeMap<String, Vec<String>>,
    nacos_sync_stamps: bool,
    list_ms: u64,
    call_ms: u64,
    settle_ms: u64,
    hold_max_ms: u64,
    mass_window_ms: u64,
    mass_share_percent: usize,
    mass_instances_min: usize,
    instances_max: usize,
    services_max: usize,
}

impl GuestPage {
    /// Where the guest is, as written; empty: there is none.
    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }
}

/// What a guest speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// As SDKs of 2.x and 3.x do: changes are pushed.
    Grpc,
    /// As those of 1.x do: it is asked again and again.
    Http,
}

/// A guest, as it is told once.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    pub(crate) servers: Vec<String>,
    pub(crate) protocol: Protocol,
    pub(crate) user: Option<User>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) exports: BTreeMap<Region, Vec<KeyGlob>>,
    pub(crate) nacos_sync_stamps: bool,
    pub(crate) pace: Pace,
    pub(crate) settings: Settings,
}

/// Checks the page; none if it names no server. Mistakes go to `wrong`, each with its place.
pub(crate) fn page_of(page: GuestPage, wrong: &mut Vec<String>) -> Option<GuestConfig> {
    if page.servers.is_empty() {
        return None;
    }
    let user = user_of(&page, wrong);
    let mut tasks: Vec<Task> = Vec::new();
    for task in &page.tasks {
        match task.task() {
            Ok(task) if tasks.iter().any(|known| known.name == task.name) => {
                wrong.push(format!("guest.tasks: two are named {}", task.name));
            }
            Ok(task) => tasks.push(task),
            Err(why) => wrong.push(format!("guest.tasks: {}: {why}", task.name.escape_default())),
        }
    }
    let mut exports = BTreeMap::new();
    for (name, globs) in &page.exports {
        let place = |why: landbridge_model::InvalidName| format!("guest.exports.{name}: {why}");
        let globs: Result<Vec<KeyGlob>, _> = globs.iter().map(|glob| KeyGlob::parse(glob)).collect();
        match (Region::parse(name), globs) {
            (Ok(region), Ok(globs)) => drop(exports.insert(region, globs)),
            (Err(why), _) | (_, Err(why)) => wrong.push(place(why)),
        }
    }
    let least = [
        ("list_ms", page.list_ms, 100),
        ("call_ms", page.call_ms, 10),
        ("mass_instances_min", page.mass_instances_min as u64, 2),
        ("instances_max", page.instances_max as u64, 1),
        ("services_max", page.services_max as u64, 1),
    ];
    for (name, value, floor) in least {
        if value < floor {
            wrong.push(format!("guest.{name} is {value}: write at least {floor}"));
        }
    }
    if page.hold_max_ms < page.settle_ms {
        let settle_ms = page.settle_ms;
        wrong.push(format!("guest.hold_max_ms is {}, below settle_ms ({settle_ms})", page.hold_max_ms));
    }
    Some(GuestConfig {
        user,
        tasks,
        exports,
        nacos_sync_stamps: page.nacos_sync_stamps,
        pace: Pace { list: Duration::from_millis(page.list_ms), call: Duration::from_millis(page.call_ms) },
        settings: Settings {
            settle_ms: page.settle_ms,
            hold_max_ms: page.hold_max_ms,
            mass_window_ms: page.mass_window_ms,
            mass_share_percent: page.mass_share_percent,
            mass_instances_min: page.mass_instances_min,
            instances_max: page.instances_max,
            services_max: page.services_max,
            // Between two questions a server may have come and gone.
            notices: page.protocol == Protocol::Grpc,
        },
        protocol: page.protocol,
        servers: page.servers,
    })
}

fn user_of(page: &GuestPage, wrong: &mut Vec<String>) -> Option<User> {
    match (&page.username, &page.password_file) {
        (None, None) => None,
        (Some(name), Some(file)) => match std::fs::read_to_string(file) {
            Ok(text) => Some(User { name: name.clone(), password: Arc::from(text.trim_end()) }),
            Err(error) => {
                wrong.push(format!("guest.password_file: {}: {error}", file.display()));
                None
            }
        },
        (Some(_), None) | (None, Some(_)) => {
            wrong.push("guest.username and guest.password_file belong together".to_owned());
            None
        }
    }
}
