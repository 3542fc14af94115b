//! Fuzzy watches: who wants to hear which services come and go, and what each was told (Nacos 3.1 `NamingFuzzyWatch*`).
//!
//! ```text
//! new ──parts of the first state, each acked──▶ FINISH, acked ──▶ steady ──a service came or went──▶ told ──ack──▶ steady
//! ```
//! Invariant: each watch has at most one message on its way; what was not acked in time is worked out anew.
//! Invariant: a watch is told by comparing what it knows with what is there, so that nothing queues and nothing is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use landbridge_model::ServiceKey;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_wire::nacos::{
    WatchPattern,
    grpc::{FuzzyWatch, Payload, WATCHED_MAX, answer as say},
};
use parking_lot::Mutex;

use crate::{member::Shared, session::Session, window::Window};

/// Services of one part of a first state (Nacos 3.1 `FuzzyWatchPushDelayTaskEngine`).
const PART_MAX: usize = 10;

/// The most different patterns of all clients of a member; further ones are refused (Nacos 3.1: 20).
const PATTERNS_MAX: usize = 20;

/// What was not acked in this time is said again.
const ACK_TIMEOUT_MS: u64 = 5_000;

/// How often services that came and went are looked for (Nacos 2.5 `PushConfig`: 100 ms).
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why a watch is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Clients watch [`PATTERNS_MAX`] other patterns.
    Patterns,
    /// The pattern matches more than [`WATCHED_MAX`] services.
    Matches,
}

/// What is on its way to a client.
#[derive(Debug)]
struct Flight {
    id: u64,
    since_ms: u64,
    changes: Vec<(ServiceKey, bool)>,
    finishes: bool,
}

/// One pattern of one client.
#[derive(Debug)]
struct Watch {
    pattern: WatchPattern,
    /// What the client knows to be there.
    known: BTreeSet<ServiceKey>,
    /// While the first state is told: which part comes next, and of how many.
    first: Option<(usize, usize)>,
    /// Whether the client knew something before: what it lacks is a difference.
    resumes: bool,
    flight: Option<Flight>,
}

impl Watch {
    fn new(asked: FuzzyWatch) -> Self {
        let FuzzyWatch { pattern, initializing, known, watch: _ } = asked;
        let resumes = !initializing;
        let known = known.into_iter().filter(|service| pattern.fits(service)).collect();
        Self { pattern, known, first: Some((1, 0)), resumes, flight: None }
    }

    /// The next message, if there is one to send: at most one is on its way.
    fn next(&mut self, there: &BTreeSet<ServiceKey>, id: u64, now_ms: u64) -> Option<Payload> {
        if let Some(flight) = &self.flight {
            if now_ms.saturating_sub(flight.since_ms) < ACK_TIMEOUT_MS {
                return None;
            }
            self.flight = None;
        }
        let came = there.difference(&self.known).map(|service| (service.clone(), true));
        let went = self.known.difference(there).map(|service| (service.clone(), false));
        let mut changes: Vec<_> = came.chain(went).collect();
        let Some((part, parts)) = self.first else {
            changes.truncate(1);
            let (service, is_there) = changes.first()?;
            let message = say::fuzzy_change(id, service, *is_there);
            self.flight = Some(Flight { id, since_ms: now_ms, changes, finishes: false });
            return Some(message);
        };
        let parts = parts.max(part - 1 + changes.len().div_ceil(PART_MAX));
        changes.truncate(PART_MAX);
        let finishes = changes.is_empty();
        let sync = match (finishes, self.resumes) {
            (true, _) => say::SyncType::Finished,
            (false, false) => say::SyncType::First,
            (false, true) => say::SyncType::Difference,
        };
        let of = changes.iter().map(|(service, is_there)| (service, *is_there));
        let at = if finishes { (0, 0) } else { (part, parts) };
        let message = say::fuzzy_sync(id, sync, self.pattern.as_str(), of, at);
        self.first = Some((part, parts));
        self.flight = Some(Flight { id, since_ms: now_ms, changes, finishes });
        Some(message)
    }

    /// The message could not be handed over: it is worked out anew.
    fn not_sent(&mut self) {
        self.flight = None;
    }

    /// The client took a message; true if it was this watch's.
    fn acked(&mut self, id: u64) -> bool {
        let Some(flight) = self.flight.take_if(|flight| flight.id == id) else { return false };
        for (service, is_there) in flight.changes {
            if is_there {
                self.known.insert(service);
            } else {
                self.known.remove(&service);
            }
        }
        self.first = match self.first {
            Some(_) if flight.finishes => None,
            Some((part, parts)) => Some((part + 1, parts)),
            None => None,
        };
        true
    }
}

/// The watches of one client.
struct Watcher {
    session: Arc<Session>,
    watches: Vec<Watch>,
}

#[derive(Default)]
struct Inner {
    watchers: BTreeMap<u64, Watcher>,
    next_id: u64,
    /// The window's count of services that came or went, as last looked at.
    seen: u64,
}

/// All fuzzy watches of this member.
#[derive(Default)]
pub(crate) struct FuzzyWatches(Mutex<Inner>);

impl FuzzyWatches {
    /// Begins or ends a watch; the first part of its state leaves at once.
    pub(crate) fn ask(&self, session: &Arc<Session>, asked: FuzzyWatch, window: &Window) -> Result<(), Full> {
        let mut inner = self.0.lock();
        let pattern = asked.pattern.clone();
        if !asked.watch {
            inner.end(session.number(), &pattern);
            return Ok(());
        }
        let all = inner.watchers.values().flat_map(|watcher| &watcher.watches);
        let patterns: BTreeSet<&WatchPattern> = all.map(|watch| &watch.pattern).collect();
        if !patterns.contains(&pattern) && patterns.len() >= PATTERNS_MAX {
            return Err(Full::Patterns);
        }
        if window.matching(&pattern).len() > WATCHED_MAX {
            return Err(Full::Matches);
        }
        inner.end(session.number(), &pattern);
        let watcher = inner.watchers.entry(session.number());
        let watcher =
            watcher.or_insert_with(|| Watcher { session: Arc::clone(session), watches: Vec::new() });
        watcher.watches.push(Watch::new(asked));
        inner.tell(session.number(), window);
        Ok(())
    }

    /// A client took a message.
    pub(crate) fn acked(&self, session: &Session, id: u64, window: &Window) {
        let mut inner = self.0.lock();
        let Some(watcher) = inner.watchers.get_mut(&session.number()) else { return };
        if watcher.watches.iter_mut().any(|watch| watch.acked(id)) {
            inner.tell(session.number(), window);
        }
    }

    /// A client is gone.
    pub(crate) fn forget(&self, session: &Session) {
        self.0.lock().watchers.remove(&session.number());
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().watchers.values().map(|watcher| watcher.watches.len()).sum()
    }

    /// Tells everybody what came and went since, and says again what was not acked.
    fn look(&self, window: &Window) {
        let mut inner = self.0.lock();
        let changes = window.changes();
        let late = |watch: &Watch, now_ms: u64| {
            watch
                .flight
                .as_ref()
                .is_some_and(|flight| now_ms.saturating_sub(flight.since_ms) >= ACK_TIMEOUT_MS)
        };
        let of = inner.watchers.iter().filter(|(_, watcher)| {
            let now_ms = watcher.session.now_ms();
            changes != inner.seen || watcher.watches.iter().any(|watch| late(watch, now_ms))
        });
        let numbers: Vec<u64> = of.map(|(number, _)| *number).collect();
        inner.seen = changes;
        for number in numbers {
            inner.tell(number, window);
        }
    }
}

impl Inner {
    fn end(&mut self, session: u64, pattern: &WatchPattern) {
        if let Some(watcher) = self.watchers.get_mut(&session) {
            watcher.watches.retain(|watch| watch.pattern != *pattern);
            if watcher.watches.is_empty() {
                self.watchers.remove(&session);
            }
        }
    }

    /// Sends a client whatever is next for each of its watches.
    fn tell(&mut self, session: u64, window: &Window) {
        let Some(watcher) = self.watchers.get_mut(&session) else { return };
        let now_ms = watcher.session.now_ms();
        for watch in &mut watcher.watches {
            let mut there = window.matching(&watch.pattern);
            // Beyond the bound the first in order are told, and the others once there is room.
            while there.len() > WATCHED_MAX {
                there.pop_last();
            }
            self.next_id += 1;
            if let Some(message) = watch.next(&there, self.next_id, now_ms)
                && !watcher.session.outbox().control(message.framed())
            {
                watch.not_sent();
                self.seen = 0;
            }
        }
    }
}

/// Looks until the shutdown begins.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = look.tick() => shared.fuzzy.look(&shared.window),
            () = shutdown.wait() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> BTreeSet<ServiceKey> {
        names.iter().map(|name| ServiceKey::parse("", "", name).expect("a valid key")).collect()
    }

    fn watch(initializing: bool, known: &[&str]) -> Watch {
        let pattern = WatchPattern::parse("public>>DEFAULT_GROUP>>*").expect("a valid pattern");
        Watch::new(FuzzyWatch { pattern, watch: true, initializing, known: keys(known) })
    }

    fn said(message: Option<Payload>) -> String {
        message.map(|message| String::from_utf8_lossy(message.json()).into_owned()).unwrap_or_default()
    }

    #[test]
    fn a_first_state_comes_in_parts_of_ten_and_ends_with_a_word() {
        let names: Vec<String> = (0..12).map(|place| format!("s{place:02}")).collect();
        let there = keys(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut watch = watch(true, &[]);

        let first = said(watch.next(&there, 1, 0));
        let early = watch.next(&there, 2, 1);
        watch.acked(1);
        let second = said(watch.next(&there, 3, 2));
        watch.acked(3);
        let last = said(watch.next(&there, 4, 3));
        watch.acked(4);
        let quiet = watch.next(&there, 5, 4);

        assert!(early.is_none() && quiet.is_none());
        assert!(
            first.contains("FUZZY_WATCH_INIT_NOTIFY") && first.contains(r#""totalBatch":2,"currentBatch":1"#),
            "{first}"
        );
        assert_eq!(first.matches("ADD_SERVICE").count(), 10);
        assert!(second.contains(r#""totalBatch":2,"currentBatch":2"#), "{second}");
        assert_eq!(second.matches("ADD_SERVICE").count(), 2);
        assert!(last.contains("FINISH_FUZZY_WATCH_INIT_NOTIFY") && !last.contains("contexts"), "{last}");
    }

    #[test]
    fn a_client_that_knows_something_is_told_the_difference() {
        let mut watch = watch(false, &["old", "kept"]);
        let there = keys(&["kept", "new"]);

        let difference = said(watch.next(&there, 1, 0));

        assert!(difference.contains("FUZZY_WATCH_DIFF_SYNC_NOTIFY"), "{difference}");
        assert!(difference.contains(r#"@@new","changedType":"ADD_SERVICE""#), "{difference}");
        assert!(difference.contains(r#"@@old","changedType":"DELETE_SERVICE""#), "{difference}");
        assert!(!difference.contains("kept"));
    }

    #[test]
    fn what_is_not_acked_is_worked_out_anew_and_what_has_passed_is_not_told() {
        let mut watch = watch(true, &[]);
        let _ = watch.next(&keys(&[]), 1, 0);
        watch.acked(1);

        let came = said(watch.next(&keys(&["a"]), 2, 10));
        let too_early = watch.next(&keys(&[]), 3, 10 + ACK_TIMEOUT_MS - 1);
        let gone_meanwhile = watch.next(&keys(&[]), 4, 10 + ACK_TIMEOUT_MS);
        let stale = watch.acked(2);
        let back = said(watch.next(&keys(&["a"]), 5, 20_000));

        assert!(came.contains("FUZZY_WATCH_RESOURCE_CHANGED") && came.contains("ADD_SERVICE"), "{came}");
        assert!(too_early.is_none() && gone_meanwhile.is_none() && !stale);
        assert!(back.contains("ADD_SERVICE"), "{back}");
    }
}
