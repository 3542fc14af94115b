//! What a guest is told once, and the tasks that say what crosses.

use ecow::EcoString;
use landbridge_model::{Group, InvalidName, KeyGlob, Namespace, Region, ServiceKey};

/// The bounds of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// After a connection was made, what the guest lacks is held for so long: its own clients come back within it.
    pub settle_ms: u64,
    /// What is held back as a mass loss goes after so long in any case.
    pub hold_max_ms: u64,
    /// The time in which losses count together.
    pub mass_window_ms: u64,
    /// Above this share of all instances, in percent, a loss is held back,
    pub mass_share_percent: usize,
    /// if it is of at least so many; after an interruption of at least two.
    pub mass_instances_min: usize,
    /// Instances taken at most; further ones are not shown.
    pub instances_max: usize,
    /// Services watched at most; further ones are not followed.
    pub services_max: usize,
    /// Whether a restart of the guest is noticed for sure, by its connection. Else whatever goes waits for `settle_ms`.
    pub notices: bool,
}

/// How a guest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody answers. What was known stands, and is stale.
    Silent,
    /// It answers, and not all has been heard yet.
    Gathering,
    /// All has been heard, and changes are written as they come.
    Open,
}

impl State {
    /// As operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Gathering => "gathering",
            Self::Open => "open",
        }
    }
}

/// A list of service names that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// In this namespace,
    pub namespace: Namespace,
    /// of this group.
    pub group: Group,
}

impl Place {
    /// Whether a service is of this place.
    pub fn holds(&self, service: &ServiceKey) -> bool {
        *service.namespace() == self.namespace && *service.group() == self.group
    }
}

/// Which services a task is about: those of one place that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    place: Place,
    glob: KeyGlob,
}

impl Selection {
    /// Parses `namespace/group/service`; only the service may hold stars, and `*` or `ALL` means all of them.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        let (namespace, group, service) = (part(), part(), part());
        let service = if service == "ALL" { "*" } else { service };
        let place = Place { namespace: Namespace::parse(namespace)?, group: Group::parse(group)? };
        let glob = KeyGlob::parse(&format!("{}/{}/{service}", place.namespace, place.group))?;
        Ok(Self { place, glob })
    }

    /// Where its services are.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Whether it is about this service.
    pub fn selects(&self, service: &ServiceKey) -> bool {
        self.glob.matches(service)
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.glob.fmt(f)
    }
}

/// Which way a task carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the guest into the federation.
    In,
    /// From a region into the guest.
    Out(Region),
}

/// One task: what crosses, which way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// Its name.
    pub name: EcoString,
    /// Which way.
    pub way: Way,
    /// What.
    pub selection: Selection,
    /// Whether everything stays as it is for now: nothing follows, nothing is deleted.
    pub paused: bool,
}
