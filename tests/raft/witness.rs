//! What all members of one simulated region have said and shown, gathered in one place, and what is wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landbridge_model::{FeedId, Position, Record, RecordKey};
use landbridge_store::{Applied, Notes};
use landbridge_tests::history::{Asked, History};

/// What a member holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    pub position: Position,
    pub records: BTreeMap<RecordKey, Record>,
}

impl Held {
    /// Takes in what the member's state machine did.
    pub fn take(&mut self, applied: Applied) {
        match applied {
            Applied::Installed { position, records } => {
                *self = Self { position, records: records.into_iter().collect() };
            }
            Applied::Changed { position, changes } => {
                self.position = position;
                for change in changes {
                    match change.record {
                        Some(record) => self.records.insert(change.key, record),
                        None => self.records.remove(&change.key),
                    };
                }
            }
            Applied::CaughtUp => {}
        }
    }
}

/// Everything that was seen.
#[derive(Default)]
pub struct Seen {
    pub history: History,
    /// Who led in each term.
    leaders: BTreeMap<u64, u16>,
    /// What stood at each position, by the first member that came there.
    stood: BTreeMap<Position, (u16, Held)>,
    /// Feeds that a proposer was told of.
    opened: BTreeSet<FeedId>,
    /// What each member holds at the end.
    last: BTreeMap<u16, (Held, Notes)>,
    /// Whether trouble is over and only the end is to be told.
    ending: bool,
    /// Clients that may still be answered.
    asking: usize,
    wrong: Vec<String>,
}

impl Seen {
    /// A member leads in a term.
    pub fn leads(&mut self, member: u16, term: u64) {
        let first = *self.leaders.entry(term).or_insert(member);
        if first != member {
            self.wrong.push(format!("members {first} and {member} both led in term {term}"));
        }
    }

    /// A member has come to a position.
    pub fn stands(&mut self, member: u16, held: &Held) {
        let (first, stood) = self.stood.entry(held.position).or_insert_with(|| (member, held.clone()));
        if stood != held {
            let at = held.position;
            self.wrong.push(format!("members {first} and {member} hold different things at {at:?}"));
        }
    }

    /// A proposer was told of a feed.
    pub fn opened(&mut self, feed: FeedId) {
        if !self.opened.insert(feed.clone()) {
            self.wrong.push(format!("{feed} was given twice"));
        }
    }

    /// What a member holds now that trouble is over.
    pub fn last(&mut self, member: u16, held: Held, notes: Notes) {
        self.last.insert(member, (held, notes));
    }

    /// Trouble is over.
    pub fn end(&mut self) {
        self.ending = true;
        self.last.clear();
    }

    pub fn ending(&self) -> bool {
        self.ending
    }

    /// Whether trouble is over and nobody waits for an answer: who asks from here on is told of every answer there was.
    pub fn ended(&self) -> bool {
        self.ending && self.asking == 0
    }

    /// Whether so many members have come to hold the same.
    pub fn agree(&self, members: usize) -> bool {
        let mut last = self.last.values();
        let first = last.next();
        self.last.len() == members && last.all(|other| Some(other) == first)
    }

    /// Everything that is wrong. The end's state is read once more for each key, after everything else.
    pub fn wrongs(&mut self, members: usize) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.wrong);
        if !self.agree(members) {
            let at: Vec<_> = self.last.iter().map(|(m, (held, _))| (*m, held.position)).collect();
            wrong.push(format!("after trouble the members do not come together: {at:?}"));
        }
        let Some((held, notes)) = self.last.values().next().cloned() else { return wrong };
        for feed in &self.opened {
            if !held.records.contains_key(&RecordKey::Directory(feed.clone())) {
                wrong.push(format!("{feed} was given and is lost"));
            }
        }
        for key in self.history.keys() {
            let place = self.history.ask(key, Asked::Read(0));
            self.history.answer(place, Some(value_of(&notes, key)));
        }
        for key in self.history.wrong() {
            wrong.push(format!("no register answers so:\n{}", self.history.told(key)));
        }
        wrong
    }

    /// In how many terms somebody led, how many questions there were, and how many of them were answered.
    pub fn told(&self) -> (usize, usize, usize) {
        let (asked, answered) = self.history.counts();
        (self.leaders.len(), asked, answered)
    }
}

/// The note under which a key's value stands.
pub fn name_of(key: u64) -> String {
    format!("register-{key}")
}

/// A key's value; 0 where there is none.
pub fn value_of(notes: &Notes, key: u64) -> u64 {
    notes.get(name_of(key).as_str()).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What is shared by all members of one simulation.
#[derive(Default)]
pub struct Witness(Mutex<Seen>);

impl Witness {
    /// A look, or a word; never held across a wait.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client, until it has its last answer or dies with its member.
pub struct Asking(Arc<Witness>);

impl Asking {
    /// Counts a client.
    pub fn begin(witness: &Arc<Witness>) -> Self {
        witness.seen().asking += 1;
        Self(Arc::clone(witness))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.seen().asking -= 1;
    }
}
