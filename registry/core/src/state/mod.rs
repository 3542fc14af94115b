//! The region's Raft state machine: what all members apply in the same order and hold alike.
//!
//! Invariant: applying is a function of the state, the index and the command; it looks at nothing else.
//! Invariant: notes are kept beside the records and never become changes, so that no feed can hold one.
//! Invariant: the position moves only with a change, so a log entry that changes nothing is no news to a holder.

mod command;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_model::{
    Change, DirectoryEntry, Era, ExportPolicy, FeedId, Instance, InstanceKey, Mutant, Overlay, Position,
    Record, RecordKey, Region, ServiceKey, planted,
};

use ecow::EcoString;

pub use command::{Command, NOTE_BYTES_MAX, NOTE_NAME_BYTES_MAX, NOTES_MAX, Reply};

/// What the region has decided so far.
#[derive(Clone, Debug, PartialEq)]
pub struct RaftState {
    region: Region,
    position: Position,
    records: BTreeMap<RecordKey, Record>,
    notes: BTreeMap<EcoString, EcoString>,
}

impl RaftState {
    /// A group that has decided nothing; it has no era before [`Command::Found`].
    pub fn new(region: Region) -> Self {
        Self { region, position: Position::NONE, records: BTreeMap::new(), notes: BTreeMap::new() }
    }

    /// The state that a snapshot holds.
    pub fn restore(
        region: Region,
        position: Position,
        records: impl IntoIterator<Item = (RecordKey, Record)>,
    ) -> Self {
        Self { region, position, records: records.into_iter().collect(), notes: BTreeMap::new() }
    }

    /// The same state with these notes, as a snapshot or a backup holds them.
    pub fn with_notes(self, notes: impl IntoIterator<Item = (EcoString, EcoString)>) -> Self {
        Self { notes: notes.into_iter().collect(), ..self }
    }

    /// A group that starts over from a backup under a greater era: nobody is listed, no bridge either, and it is settling (R16).
    pub fn reborn(
        region: Region,
        position: Position,
        backup: impl IntoIterator<Item = (RecordKey, Record)>,
    ) -> Self {
        let kept =
            |(key, _): &(RecordKey, Record)| !matches!(key, RecordKey::Directory(_) | RecordKey::Bridge(_));
        let mut records: BTreeMap<_, _> = backup.into_iter().filter(kept).collect();
        records.insert(RecordKey::Settling, Record::Settling);
        Self { region, position, records, notes: BTreeMap::new() }
    }

    /// The era, and the log index of the last change.
    pub fn position(&self) -> Position {
        self.position
    }

    /// All it holds, in key order.
    pub fn records(&self) -> &BTreeMap<RecordKey, Record> {
        &self.records
    }

    /// The notes that the region keeps for itself, by name.
    pub fn notes(&self) -> &BTreeMap<EcoString, EcoString> {
        &self.notes
    }

    /// Applies the command at this log index; the changes are what the Raft feed shows of it.
    pub fn apply(&mut self, index: u64, command: &Command) -> (Reply, Vec<Change>) {
        let founded = self.position.era != Era(0);
        if let Command::Found { era } = command {
            if !founded {
                self.position = Position { era: *era, seq: index };
            }
            return (Reply::Done, Vec::new());
        }
        if !founded {
            return (Reply::Unfounded, Vec::new());
        }
        if let Command::Note { name, text } = command {
            return (self.note(name, text.as_ref()), Vec::new());
        }
        let (reply, changes) = self.decide(index, command);
        for Change { key, record } in &changes {
            match record {
                Some(record) => self.records.insert(key.clone(), record.clone()),
                None => self.records.remove(key),
            };
        }
        if !changes.is_empty() {
            self.position.seq = index;
        }
        (reply, changes)
    }

    /// What a command would be answered if it changes nothing as things stand; none if it would.
    pub fn known(&self, command: &Command) -> Option<Reply> {
        if self.position.era == Era(0) {
            return None;
        }
        if let Command::Note { name, text } = command {
            let same = self.notes.get(name) == text.as_ref();
            return same.then_some(if text.is_some() { Reply::Done } else { Reply::NotFound });
        }
        let (reply, changes) = self.decide(self.position.seq, command);
        changes.is_empty().then_some(reply)
    }

    fn decide(&self, index: u64, command: &Command) -> (Reply, Vec<Change>) {
        match command {
            Command::Found { .. } | Command::Note { .. } => (Reply::Done, Vec::new()),
            Command::Open { member, address, nonce } => {
                if let Some(feed) = self.listed(*nonce) {
                    return (Reply::Opened(feed), Vec::new());
                }
                let feed = FeedId::Member { region: self.region.clone(), era: self.position.era, index };
                let (member, address, nonce) = (*member, address.clone(), *nonce);
                let entry = DirectoryEntry { member, address, nonce, need: 0 };
                let key = RecordKey::Directory(feed.clone());
                (Reply::Opened(feed), put(key, Record::Directory(entry)))
            }
            Command::Close { feed, cursor } => self.close(feed, cursor),
            Command::Settle { cursor } => {
                if !self.records.contains_key(&RecordKey::Settling) {
                    return (Reply::NotFound, Vec::new());
                }
                let mut changes = vec![Change { key: RecordKey::Settling, record: None }];
                self.raise_needs(cursor, None, &mut changes);
                (Reply::Done, changes)
            }
            Command::SetPolicy { peer, policy } => self.set_policy(index, peer, policy.as_deref()),
            Command::SetLink { region, order: Some(order) } => {
                self.put_changed(RecordKey::Link(region.clone()), Record::Link(*order))
            }
            Command::SetImport { region, policy: Some(policy) } => {
                self.put_changed(RecordKey::Import(region.clone()), Record::Import(policy.clone()))
            }
            Command::SetImport { region, policy: None } => self.take(RecordKey::Import(region.clone())),
            Command::SetBridge { id, hears: Some(hears) } => {
                self.put_changed(RecordKey::Bridge(id.clone()), Record::Bridge(hears.clone()))
            }
            Command::SetBridge { id, hears: None } => self.take(RecordKey::Bridge(id.clone())),
            Command::SetLink { region, order: None } => self.take(RecordKey::Link(region.clone())),
            Command::Define { service, definition } => self
                .put_changed(RecordKey::Definition(service.clone()), Record::Definition(definition.clone())),
            Command::Undefine { service } => self.take(RecordKey::Definition(service.clone())),
            Command::PutPersistent { service, key, instance } => self.put_changed(
                RecordKey::Persistent(service.clone(), key.clone()),
                Record::Persistent(instance.clone()),
            ),
            Command::DeletePersistent { service, key } => {
                self.take(RecordKey::Persistent(service.clone(), key.clone()))
            }
            Command::SetHealth { flips } => (Reply::Done, self.flip(flips)),
            Command::SetOverlay { service, key, overlay } => self.lay(service, key, overlay),
            Command::ClearOverlay { service, key, seen } => {
                let key = RecordKey::Overlay(service.clone(), key.clone());
                let newer = |seen| self.records.get(&key) != Some(&Record::Overlay(Arc::clone(seen)));
                if seen.as_ref().is_some_and(newer) {
                    return (Reply::NotFound, Vec::new());
                }
                self.take(key)
            }
            Command::AssignPort { service, range } => self.assign_port(service, *range),
            Command::ReleasePort { service } => self.take(RecordKey::Port(service.clone())),
        }
    }

    fn note(&mut self, name: &EcoString, text: Option<&EcoString>) -> Reply {
        match text {
            Some(_) if self.notes.len() >= NOTES_MAX && !self.notes.contains_key(name) => Reply::NotFound,
            Some(text) => {
                self.notes.insert(name.clone(), text.clone());
                Reply::Done
            }
            None if self.notes.remove(name).is_some() => Reply::Done,
            None => Reply::NotFound,
        }
    }

    fn listed(&self, nonce: u64) -> Option<FeedId> {
        self.directory().find(|(_, entry)| entry.nonce == nonce).map(|(feed, _)| feed.clone())
    }

    /// The open feeds.
    pub fn directory(&self) -> impl Iterator<Item = (&FeedId, &DirectoryEntry)> {
        self.records.iter().filter_map(|(key, record)| {
            let (RecordKey::Directory(feed), Record::Directory(entry)) = (key, record) else { return None };
            Some((feed, entry))
        })
    }

    fn close(&self, feed: &FeedId, cursor: &BTreeMap<FeedId, u64>) -> (Reply, Vec<Change>) {
        let key = RecordKey::Directory(feed.clone());
        if !self.records.contains_key(&key) {
            return (Reply::NotFound, Vec::new());
        }
        let mut changes = vec![Change { key, record: None }];
        self.raise_needs(cursor, Some(feed), &mut changes);
        (Reply::Done, changes)
    }

    fn raise_needs(
        &self,
        cursor: &BTreeMap<FeedId, u64>,
        leaving: Option<&FeedId>,
        changes: &mut Vec<Change>,
    ) {
        for (feed, entry) in self.directory().filter(|(feed, _)| Some(*feed) != leaving) {
            let need = cursor.get(feed).copied().unwrap_or(0);
            if need > entry.need && !planted(Mutant::CloseWithoutCursor) {
                let entry = DirectoryEntry { need, ..entry.clone() };
                let key = RecordKey::Directory(feed.clone());
                changes.push(Change { key, record: Some(Record::Directory(entry)) });
            }
        }
    }

    /// A policy taken back becomes one that lets nothing out: its peers must see a newer view, not an older one.
    fn set_policy(&self, index: u64, peer: &Region, policy: Option<&ExportPolicy>) -> (Reply, Vec<Change>) {
        let key = RecordKey::Policy(peer.clone());
        let ExportPolicy { allow, deny, .. } = policy.cloned().unwrap_or_default();
        if let Some(Record::Policy(before)) = self.records.get(&key)
            && (&before.allow, &before.deny) == (&allow, &deny)
        {
            return (Reply::Done, Vec::new());
        }
        let since = Position { seq: index, ..self.position };
        (Reply::Done, put(key, Record::Policy(Arc::new(ExportPolicy { since, allow, deny }))))
    }

    fn flip(&self, flips: &[(ServiceKey, InstanceKey, bool)]) -> Vec<Change> {
        let latest: BTreeMap<_, _> = flips.iter().map(|(s, k, healthy)| ((s, k), *healthy)).collect();
        let flipped = |((service, key), healthy): (_, bool)| {
            let key = RecordKey::Persistent(ServiceKey::clone(service), InstanceKey::clone(key));
            let Some(Record::Persistent(instance)) = self.records.get(&key) else { return None };
            let flipped = Instance { healthy, ..(**instance).clone() };
            let record = Some(Record::Persistent(Arc::new(flipped)));
            (instance.healthy != healthy).then_some(Change { key, record })
        };
        latest.into_iter().filter_map(flipped).collect()
    }

    fn lay(&self, service: &ServiceKey, key: &InstanceKey, edits: &Overlay) -> (Reply, Vec<Change>) {
        let key = RecordKey::Overlay(service.clone(), key.clone());
        let before = if let Some(Record::Overlay(overlay)) = self.records.get(&key) {
            (**overlay).clone()
        } else {
            Overlay::default()
        };
        let overlay = Overlay {
            weight: edits.weight.or(before.weight),
            enabled: edits.enabled.or(before.enabled),
            metadata: edits.metadata.clone().or(before.metadata),
        };
        // Said even where it is the same: who writes edits again wants them to stay.
        (Reply::Done, put(key, Record::Overlay(Arc::new(overlay))))
    }

    /// The lowest port that no service has; one that a service has stays its own while the range holds it.
    fn assign_port(&self, service: &ServiceKey, (first, last): (u16, u16)) -> (Reply, Vec<Change>) {
        let key = RecordKey::Port(service.clone());
        // In the order of keys, ports are what stands right before the bridges.
        let before_bridges = self.records.range(..RecordKey::Bridge(EcoString::new()));
        let ports = before_bridges.rev().map_while(|(key, record)| match (key, record) {
            (RecordKey::Port(service), Record::Port(port)) => Some((service, *port)),
            _ => None,
        });
        let mut taken = BTreeSet::new();
        for (holder, port) in ports {
            if holder == service && (first..=last).contains(&port) {
                return (Reply::Done, Vec::new());
            }
            taken.insert(port);
        }
        match (first..=last).find(|port| !taken.contains(port)) {
            Some(port) => (Reply::Done, put(key, Record::Port(port))),
            None => (Reply::NotFound, Vec::new()),
        }
    }

    fn put_changed(&self, key: RecordKey, record: Record) -> (Reply, Vec<Change>) {
        let same = self.records.get(&key) == Some(&record);
        (Reply::Done, if same { Vec::new() } else { put(key, record) })
    }

    fn take(&self, key: RecordKey) -> (Reply, Vec<Change>) {
        if self.records.contains_key(&key) {
            (Reply::Done, vec![Change { key, record: None }])
        } else {
            (Reply::NotFound, Vec::new())
        }
    }
}

fn put(key: RecordKey, record: Record) -> Vec<Change> {
    vec![Change { key, record: Some(record) }]
}

#[cfg(test)]
mod tests;
