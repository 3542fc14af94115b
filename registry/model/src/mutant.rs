//! Bugs that tests plant on purpose, to see that something catches each of them.
//!
//! Invariant: without the feature `mutants`, [`planted`] is `false` at compile time, and a release build refuses the feature.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` plants bugs: it is for debug builds of tests only");

macro_rules! mutants {
    ($($(#[doc = $line:literal])+ $name:ident,)+) => {
        /// The bugs there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[doc = $line])+ $name,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it does wrong, in one sentence.
            pub fn line(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($line,)+).trim_ascii(),)+
                }
            }
        }
    };
}

mutants! {
    // The directory and closes.
    /// R1: a restarted member goes on writing its old feed.
    OldFeedReused,
    /// R1: the content at opening counts as position 0, which means "no copy".
    StartsAtZero,
    /// R2: a follower takes news of feeds that its directory does not list.
    UnlistedTaken,
    /// R3: the leader closes silent feeds without hearing a quorum.
    CloseWithoutQuorum,
    /// R3: the leader closes though it lacks what living feeds have announced.
    BlindClose,
    /// R4: a close does not raise what holders need before they drop.
    CloseWithoutCursor,
    /// R4: a holder drops a closed feed before it has what the close needs.
    NoNeedAtDrop,
    /// R9: a member whose feed was closed opens no other.
    NoReopen,
    /// R16: a holder drops the feeds of the old era while the restored region settles.
    DropWhileSettling,
    // Copying.
    /// R5: a step is taken though the one before it is missing.
    GapTaken,
    /// R5: a step that is known is taken again.
    KnownStepTaken,
    /// R6: a finished reconcile takes a copy back.
    RollBack,
    /// R6 and R25: a doubted copy is not replaced at an equal position.
    RepairRefused,
    /// R7: changes during a reconcile are lost.
    LiveChangesLost,
    /// One delete of several in a batch is left out.
    DeleteLeftOut,
    /// R15: another region may ask for feeds that are not this region's own.
    EchoSupplied,
    /// R15: a region takes feeds from a region they were not born in, its own among them.
    EchoTaken,
    /// R17: steps are taken across views.
    ViewIgnored,
    /// R17: a newer view may bring an older position.
    NewerViewOlderSeq,
    /// R18: a holder does not load what it has saved.
    CheckpointSkipped,
    /// R18: a saved copy is loaded though the loaded directory is older than its feed.
    CheckpointTooNew,
    /// R21: a writer that is heard is given up for a short stall.
    WriterGivenUpSoon,
    /// R21: a supplier that stalls is kept.
    StalledSupplierKept,
    // Signs of life.
    /// R19: a holder drops what a silent region has written.
    SilenceDeletes,
    /// R20: heartbeats are told only by the writer itself.
    BeatsNotRelayed,
    /// R22: the seconds in which the process slept count as ticks.
    PausesCount,
    /// R25: a writer verifies nothing.
    NoVerify,
    /// R26: a heartbeat that was heard before marks a feed as verified again.
    OldBeatVerifies,
    // Clients.
    /// R10: a stamp looks only at the own clock.
    BareClock,
    /// R11: a beat that nobody acknowledges is not taken over.
    NoTakeOver,
    /// R11: a take-over gets a new stamp.
    TakeOverNewStamp,
    /// R12: a deregistration leaves no tombstone.
    NoTombstone,
    /// R12: a tombstone goes by age, though it still hides something.
    TombstoneTooEarly,
    /// R13: a draining member deletes what its leaving sessions held.
    DrainDeletes,
    /// R24: the end of one claim removes the record of the others.
    ClaimRemovedByAnother,
    /// R24: a member keeps only the newest claim of a key.
    SingleClaim,
    /// R24: registering again on a connection adds a second claim.
    ClaimDoubled,
    /// R24: a deregistration buries a key though another live claim is left.
    BuriesTheLiving,
    /// R24: the end of a connection writes a tombstone.
    EndBuries,
    /// R24: a connection that a tombstone hides is not asked whether it lives.
    NoChallenge,
    // READY and what is shown.
    /// R14: a member answers questions as soon as Raft has caught up.
    ReadyAtOnce,
    /// R14: READY does not wait for what closes need.
    ReadyWithoutNeed,
    /// R14: READY does not wait for what writers have announced.
    ReadyUnheard,
    /// A change of a service is not told, so that its old view goes on being read.
    StaleView,
    // Bridges.
    /// A link that stands still while its origin lives is not told.
    StallNotTold,
    /// A bridge dials only the members that its configuration names.
    DirectoryNotDialled,
    // Gateways.
    /// An endpoint that fails again and again stays in rotation.
    NoEjection,
    /// A farther place gets calls while the nearest can bear them all.
    FartherWhileNearIsWell,
}

/// Whether this bug is planted here: never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use planting::{plant, planted};

#[cfg(feature = "mutants")]
mod planting {
    use std::{cell::Cell, sync::OnceLock};

    use super::Mutant;

    /// Names the bug to plant in a whole process.
    const VARIABLE: &str = "LANDBRIDGE_MUTANT";

    thread_local! {
        static HERE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Plants a bug for the calling thread, in place of the one before.
    pub fn plant(mutant: Option<Mutant>) {
        HERE.set(mutant);
    }

    /// Whether this bug is planted here: for this thread, or by `LANDBRIDGE_MUTANT` for the process.
    pub fn planted(mutant: Mutant) -> bool {
        static EVERYWHERE: OnceLock<Option<Mutant>> = OnceLock::new();
        HERE.get().or_else(|| *EVERYWHERE.get_or_init(named)) == Some(mutant)
    }

    fn named() -> Option<Mutant> {
        let name = std::env::var(VARIABLE).ok()?;
        let mutant = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
        Some(*mutant.unwrap_or_else(|| panic!("{VARIABLE} names no mutant: {name}")))
    }
}
