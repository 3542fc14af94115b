//! What the region's notes say to this member: namespaces and switches, read once for each change of the notes.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use arc_swap::ArcSwap;
use landbridge_store::{Notes, Store};
use serde::{Deserialize, Serialize};

use crate::auth::book::Book;

/// The note that holds the switches.
pub(crate) const SWITCHES: &str = "switches";

/// Notes of namespaces begin so; the id follows.
pub(crate) const NAMESPACE: &str = "namespace/";

/// Notes of users, roles and permissions begin so.
const AUTH: &str = "auth/";

/// Notes of address lists begin so; the list's name follows.
pub(crate) const ADDRESSES: &str = "addresses/";

/// Findings of probes in a row that flip an instance, unless a switch says otherwise (Nacos: the same).
const CHECK_TIMES: u32 = 3;

/// A namespace that somebody created.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NamespaceNote {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
}

/// Nacos's switches that mean something here; the others are kept and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switches {
    /// What a registration is that does not say.
    pub(crate) default_instance_ephemeral: bool,
    /// How often a client is told to beat.
    pub(crate) client_beat_interval_ms: u64,
    /// Whether a client is told that light beats will do.
    pub(crate) light_beat_enabled: bool,
    /// Whether subscribers are told of changes.
    pub(crate) push_enabled: bool,
    /// Whether persistent instances are probed.
    pub(crate) health_check_enabled: bool,
    /// So many findings of probes in a row flip an instance.
    pub(crate) check_times: u32,
    /// What the health probe of SDKs is told instead of the truth.
    pub(crate) overridden_status: Option<String>,
}

impl Switches {
    fn read(said: &BTreeMap<String, String>) -> Self {
        let flag = |name: &str| said.get(name).is_none_or(|value| value != "false");
        let status = said.get("overriddenServerStatus").filter(|status| !status.is_empty());
        Self {
            default_instance_ephemeral: flag("defaultInstanceEphemeral"),
            client_beat_interval_ms: said
                .get("clientBeatInterval")
                .and_then(|value| value.parse().ok())
                .unwrap_or(5_000),
            light_beat_enabled: flag("lightBeatEnabled"),
            push_enabled: flag("pushEnabled"),
            // The first is how Nacos's own page names the switch when it is set.
            health_check_enabled: flag("check") && flag("healthCheckEnabled"),
            check_times: ["healthCheckTimes", "checkTimes"]
                .into_iter()
                .find_map(|name| said.get(name)?.parse().ok())
                .map_or(CHECK_TIMES, |times: u32| times.max(1)),
            overridden_status: status.cloned(),
        }
    }
}

/// The notes of one moment, and what they mean.
pub(crate) struct Desk {
    notes: Notes,
    said: BTreeMap<String, String>,
    switches: Switches,
    book: Book,
}

impl Desk {
    fn of(notes: Notes) -> Self {
        let said: BTreeMap<String, String> =
            notes.get(SWITCHES).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let switches = Switches::read(&said);
        let mut desk = Self { notes, said, switches, book: Book::default() };
        desk.book = Book::read(desk.below(AUTH));
        desk
    }

    /// Users, roles and permissions.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// The switches that mean something.
    pub(crate) fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Every switch that somebody set, as it was written.
    pub(crate) fn switches_said(&self) -> &BTreeMap<String, String> {
        &self.said
    }

    /// The namespaces that somebody created, by id.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = (&str, NamespaceNote)> {
        self.under(NAMESPACE).map(|(id, text)| (id, serde_json::from_str(text).unwrap_or_default()))
    }

    /// The note of this name.
    pub(crate) fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(|text| text.as_str())
    }

    /// The notes whose names begin so, by the rest of the name.
    pub(crate) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.below(prefix).filter_map(move |(name, text)| Some((name.strip_prefix(prefix)?, text)))
    }

    /// The notes whose names begin so, by their whole names.
    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let after = self.notes.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let of = after.take_while(move |(name, _)| name.starts_with(prefix));
        of.map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

/// Reads the desk again when the notes differ; a writer that was answered finds its own note.
pub(crate) struct Desks {
    store: Store,
    newest: ArcSwap<Desk>,
}

impl Desks {
    /// The desk of a store.
    pub(crate) fn new(store: Store) -> Self {
        let newest = ArcSwap::from_pointee(Desk::of(store.notes()));
        Self { store, newest }
    }

    /// The desk as it stands.
    pub(crate) fn newest(&self) -> Arc<Desk> {
        let known = self.newest.load_full();
        let notes = self.store.notes();
        if Arc::ptr_eq(&known.notes, &notes) {
            return known;
        }
        let read = Arc::new(Desk::of(notes));
        self.newest.store(Arc::clone(&read));
        read
    }
}
