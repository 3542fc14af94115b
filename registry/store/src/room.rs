//! Whether the disk has room: below a reserve nothing that grows the state is decided, and below a quarter of it nothing at all is
//! written, so that a full disk refuses before a write fails.
//!
//! ```text
//! Ample ──less than the reserve──▶ Scarce ──less than a quarter of it──▶ Nothing        each ──there is room──▶ Ample
//! ```
//!
//! Invariant: a refusal leaves nothing behind, and ends by itself as soon as there is room.
//! Invariant: a disk that its own log fills makes room by itself, where a snapshot still fits: who has little room makes one early.
//! Invariant: who has no room left neither votes nor takes entries; it stays up, and the leader brings the rest later.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use landbridge_model::{MemberId, Position};
use landbridge_registry_core::{Command, Reply};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    failure::ProposeError,
    order,
    refill::{LAG_MAX, Noted},
    store::Store,
};

/// Between two looks at the disk while nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An heir that lags by more entries than this is handed nothing: it would refuse, and a leader that has handed over decides nothing
/// more in its term.
const HEIR_LAG_MAX: u64 = LAG_MAX;

/// Whoever has handed leadership over does not do so again for so many of the longest elections, however it ended.
const HANDED_OVER_ELECTIONS: u32 = 8;

/// Between two snapshots that are made early because the disk has little room.
const SHORTEN_EVERY: Duration = Duration::from_secs(60);

/// This part of the reserve is for writes that are under way and for what the databases do by themselves.
const LAST_PART: u64 = 4;

/// How much room the disk of a store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Enough.
    #[default]
    Ample,
    /// Less than the reserve: what grows the state is refused, and another member leads if one has more.
    Scarce,
    /// Less than a quarter of the reserve: nothing is written.
    Nothing,
}

impl Left {
    /// A word for operators.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ample => "ok",
            Self::Scarce => "low",
            Self::Nothing => "full",
        }
    }

    /// The number of it in calls and metrics.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}

/// The disk of one store.
pub(crate) struct Room {
    dir: PathBuf,
    reserve_bytes: AtomicU64,
    /// What a test says is free.
    #[cfg(test)]
    said: std::sync::Mutex<Option<Said>>,
}

/// How a test says how much is free.
#[cfg(test)]
type Said = Box<dyn Fn() -> u64 + Send>;

impl Room {
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64) -> Self {
        Self {
            dir,
            reserve_bytes: AtomicU64::new(reserve_bytes),
            #[cfg(test)]
            said: std::sync::Mutex::default(),
        }
    }

    /// How much is left.
    pub(crate) fn left(&self) -> Left {
        self.left_of(self.free_bytes())
    }

    fn left_of(&self, free_bytes: Option<u64>) -> Left {
        let reserve_bytes = self.reserve_bytes.load(Ordering::Relaxed);
        match free_bytes {
            // A file system that does not say how much is left has room until it refuses a write.
            None => Left::Ample,
            Some(free) if free >= reserve_bytes => Left::Ample,
            Some(free) if free >= reserve_bytes / LAST_PART => Left::Scarce,
            Some(_) => Left::Nothing,
        }
    }

    /// Whether so many bytes can be written and what is kept for the last writes is still there.
    pub(crate) fn holds(&self, bytes: u64) -> bool {
        let last = self.reserve_bytes.load(Ordering::Relaxed) / LAST_PART;
        self.free_bytes().is_none_or(|free| free >= bytes.saturating_add(last))
    }

    /// What a process without privileges may still write.
    fn free_bytes(&self) -> Option<u64> {
        #[cfg(test)]
        if let Some(said) = self.said.lock().unwrap().as_ref() {
            return Some(said());
        }
        let said = rustix::fs::statvfs(&self.dir).ok()?;
        Some(said.f_bavail.saturating_mul(said.f_frsize))
    }

    /// As if the disk had so much left.
    #[cfg(test)]
    pub(crate) fn pretend(&self, left: Left) {
        let free = self.free_bytes().expect("this file system says it");
        let reserve = match left {
            Left::Ample => 0,
            Left::Scarce => free * 2,
            Left::Nothing => u64::MAX,
        };
        self.reserve_bytes.store(reserve, Ordering::Relaxed);
    }

    /// As if so much were free, of which so much is to be kept.
    #[cfg(test)]
    pub(crate) fn pretend_free(&self, reserve_bytes: u64, said: impl Fn() -> u64 + Send + 'static) {
        self.reserve_bytes.store(reserve_bytes, Ordering::Relaxed);
        *self.said.lock().unwrap() = Some(Box::new(said));
    }
}

impl Store {
    /// How much room this member's disk has.
    pub fn left(&self) -> Left {
        self.inner.room.left()
    }

    /// Why this member decides nothing more, once it is counted.
    pub(crate) fn full(&self) -> ProposeError {
        self.inner.meters.refused();
        ProposeError::Full(self.inner.config.member)
    }

    /// What a leader says to an order while its disk has little room or none; none where the order may be written.
    pub(crate) async fn refused_for_room(
        &self,
        order: &Bytes,
    ) -> Option<Result<(Position, Reply), ProposeError>> {
        match self.left() {
            Left::Ample => return None,
            Left::Nothing => return Some(Err(self.full())),
            Left::Scarce => {}
        }
        // What cannot be read is the group's to refuse.
        let command = order::decode(order.clone()).ok()?;
        if !grows(&command) && !takes(&command) {
            return None;
        }
        // What changes nothing is answered without a write, once it is known that nobody else has decided more.
        if let Err(error) = self.read_index_here().await {
            return Some(Err(error));
        }
        let grows = grows(&command);
        let known = self.inner.raft.with_state_machine(move |machine| {
            let known = machine.known(&command);
            Box::pin(async move { known })
        });
        match known.await {
            Ok(Some(answer)) => Some(Ok(answer)),
            Ok(None) => grows.then(|| Err(self.full())),
            Err(fatal) => Some(Err(self.inner.fatal(&fatal))),
        }
    }

    /// Looks at the disk for as long as the store lives: tells how much room it has, and acts before there is none.
    pub(crate) async fn keep_room(self) {
        let mut before = Left::Ample;
        let (mut handed, mut shortened) = (None, None);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let free = self.inner.room.free_bytes();
            let left = self.inner.room.left_of(free);
            if left != before {
                self.tell(left, free.unwrap_or_default());
                before = left;
            }
            if let Some(free) = free {
                metrics::gauge!("landbridge_store_free_bytes").set(free as f64);
            }
            metrics::gauge!("landbridge_store_room").set(f64::from(left.number()));
            // Who cannot write a vote down must not ask for others'.
            self.inner.raft.runtime_config().elect(left != Left::Nothing);
            if left == Left::Scarce {
                self.shorten_log(&mut shortened).await;
            }
            if left != Left::Ample && self.standing().borrow().leading {
                self.lead_elsewhere(&mut handed).await;
            }
        }
    }

    fn tell(&self, left: Left, free_bytes: u64) {
        let dir = self.inner.config.dir.display();
        let reserve_bytes = self.inner.config.limits.reserve_bytes;
        match left {
            Left::Ample => {
                tracing::info!(event = "disk_has_room", %dir, free_bytes, "writes are taken again");
            }
            Left::Scarce => tracing::warn!(
                event = "disk_low",
                %dir,
                free_bytes,
                reserve_bytes,
                "the disk is nearly full: this member leads no more if another one has room, and refuses what grows the region's \
                 state while it leads; deletes pass, ephemeral registrations and reads go on; free space"
            ),
            Left::Nothing => tracing::error!(
                event = "disk_full",
                %dir,
                free_bytes,
                reserve_bytes,
                "the disk is full: this member writes nothing for the region's Raft group, has no vote, and refuses persistent \
                 writes; ephemeral registrations and reads go on; free space, and it goes on by itself"
            ),
        }
    }

    /// Makes a snapshot before its time, so that the log gives up what is behind it; none while that would free nothing.
    async fn shorten_log(&self, last: &mut Option<Instant>) {
        let places = self.places();
        let held = places.applied.unwrap_or_default().saturating_sub(places.purged.unwrap_or_default());
        let due = last.is_none_or(|last| last.elapsed() >= SHORTEN_EVERY);
        if due && held > self.inner.config.limits.kept_entries && places.snapshot < places.applied {
            *last = Some(Instant::now());
            tracing::info!(event = "disk_shortens_log", entries = held, "a snapshot lets the log go");
            // A group that has stopped says so elsewhere.
            let _ = self.snapshot().await;
        }
    }

    /// Hands leadership to the voter that has room and lags least, if one is heard and lags by little.
    async fn lead_elsewhere(&self, last: &mut Option<Instant>) {
        let longest = Duration::from_millis(self.inner.config.timing.election_max_ms);
        if last.is_some_and(|last| last.elapsed() < HANDED_OVER_ELECTIONS * longest) {
            return;
        }
        let rolls = self.call_roll().await;
        let has_room = |member: &MemberId| {
            rolls.get(member).is_some_and(|roll| roll.admitted && roll.left == Left::Ample.number())
        };
        let voters = self.members().voters.into_iter();
        let heirs = voters.filter(|voter| has_room(voter) && self.hears(*voter));
        let Some((lag, heir)) = heirs
            .filter_map(|voter| Some((self.lag(voter)?, voter)))
            .filter(|(lag, _)| *lag <= HEIR_LAG_MAX)
            .min()
        else {
            return;
        };
        tracing::warn!(event = "disk_hands_over", %heir, lag, "member {heir} has room and is to lead");
        *last = Some(Instant::now());
        // Leadership that stays is handed over again after a rest.
        let _ = self.transfer(heir).await;
    }
}

/// Whether a command may keep more than there was. What the group and its feeds need for themselves never counts: their number is
/// bounded by that of the members, bridges and regions. So are orders about links, which an operator needs most when all is wrong.
fn grows(command: &Command) -> bool {
    match command {
        Command::PutPersistent { .. }
        | Command::Define { .. }
        | Command::SetOverlay { .. }
        | Command::AssignPort { .. } => true,
        Command::SetPolicy { policy, .. } => policy.is_some(),
        Command::SetImport { policy, .. } => policy.is_some(),
        Command::Note { name, text } => text.is_some() && !Noted::names(name),
        Command::Found { .. }
        | Command::Open { .. }
        | Command::Close { .. }
        | Command::Settle { .. }
        | Command::SetLink { .. }
        | Command::SetBridge { .. }
        | Command::Undefine { .. }
        | Command::DeletePersistent { .. }
        | Command::SetHealth { .. }
        | Command::ReleasePort { .. }
        | Command::ClearOverlay { .. } => false,
    }
}

/// Whether a command takes away, or says once more, what may not be there: then it is not worth a write.
fn takes(command: &Command) -> bool {
    match command {
        Command::Undefine { .. }
        | Command::DeletePersistent { .. }
        | Command::ClearOverlay { .. }
        | Command::ReleasePort { .. }
        | Command::SetHealth { .. } => true,
        Command::SetPolicy { policy, .. } => policy.is_none(),
        Command::SetImport { policy, .. } => policy.is_none(),
        Command::SetLink { order, .. } => order.is_none(),
        Command::Note { text, .. } => text.is_none(),
        Command::PutPersistent { .. }
        | Command::Define { .. }
        | Command::SetOverlay { .. }
        | Command::AssignPort { .. }
        | Command::Found { .. }
        | Command::Open { .. }
        | Command::Close { .. }
        | Command::Settle { .. }
        | Command::SetBridge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_by_the_reserve_and_a_quarter_of_it() {
        let room = Room::new("/".into(), 400);

        let left = [None, Some(400), Some(399), Some(100), Some(99), Some(0)].map(|free| room.left_of(free));

        use Left::{Ample, Nothing, Scarce};
        assert_eq!(left, [Ample, Ample, Scarce, Scarce, Nothing, Nothing]);
        room.pretend(Ample);
        assert_eq!(room.left_of(Some(0)), Ample, "without a reserve a disk is used to its end");
    }
}
