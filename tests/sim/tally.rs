//! How often each kind of thing happened in a schedule, and how often each invariant was judged.

use crate::sim::invariants::Invariant;

/// What can happen to a federation, or be done by its clients and operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Delay,
    LostStream,
    ZombieStream,
    CutOneWay,
    CutBothWays,
    CutMember,
    CutRegions,
    LoneRegion,
    CrashWithDisk,
    CrashWithoutDisk,
    RegionRestart,
    PowerCut,
    Restore,
    Pause,
    ClockStep,
    ClockJump,
    SlowDisk,
    FullRing,
    CorruptedCopy,
    LeaderChange,
    LateProposal,
    RepeatedProposal,
    StuckProposal,
    LostProposal,
    RaftSnapshot,
    PolicyChange,
    Drain,
    Release,
    Evacuation,
    Definition,
    Look,
    Resync,
    PersistentWrite,
    PersistentDelete,
    Session,
    Beat,
    Move,
    Deregistration,
    BrokenConnection,
    Call,
    FreshWrite,
}

/// How many kinds there are.
const EVENTS: usize = Event::ALL.len();

/// How many invariants there are.
const INVARIANTS: usize = Invariant::ALL.len();

impl Event {
    /// All kinds: faults, Raft's troubles, operators' deeds, clients' deeds.
    pub const ALL: [(Self, &'static str); 41] = [
        (Self::Delay, "a message held back"),
        (Self::LostStream, "a stream lost"),
        (Self::ZombieStream, "an old stream goes on beside a new one"),
        (Self::CutOneWay, "two processes cut one way"),
        (Self::CutBothWays, "two processes cut both ways"),
        (Self::CutMember, "a process cut from its region"),
        (Self::CutRegions, "two regions cut"),
        (Self::LoneRegion, "a region cut from all others"),
        (Self::CrashWithDisk, "a crash that keeps the disk"),
        (Self::CrashWithoutDisk, "a crash that loses the disk"),
        (Self::RegionRestart, "a whole region restarted"),
        (Self::PowerCut, "a power cut of everything"),
        (Self::Restore, "a region restored from a backup"),
        (Self::Pause, "a process stands still"),
        (Self::ClockStep, "a clock steps"),
        (Self::ClockJump, "a clock jumps up to an hour"),
        (Self::SlowDisk, "a disk slow or well again"),
        (Self::FullRing, "a ring overrun, and a reconcile"),
        (Self::CorruptedCopy, "a copy silently corrupted"),
        (Self::LeaderChange, "a new Raft leader"),
        (Self::LateProposal, "a late proposal"),
        (Self::RepeatedProposal, "a repeated proposal"),
        (Self::StuckProposal, "a proposal stuck without quorum"),
        (Self::LostProposal, "a lost proposal"),
        (Self::RaftSnapshot, "a member fed by a Raft snapshot"),
        (Self::PolicyChange, "an export policy set"),
        (Self::Drain, "a member drained"),
        (Self::Release, "held lapses released"),
        (Self::Evacuation, "a gateway drill"),
        (Self::Definition, "a service defined"),
        (Self::Look, "a look at another region"),
        (Self::Resync, "a region's copies rebuilt on demand"),
        (Self::PersistentWrite, "a persistent instance written"),
        (Self::PersistentDelete, "a persistent instance taken back"),
        (Self::Session, "a registration on a connection"),
        (Self::Beat, "a beat"),
        (Self::Move, "a client moved to another member"),
        (Self::Deregistration, "a deregistration"),
        (Self::BrokenConnection, "a connection broken"),
        (Self::Call, "a call at a gateway"),
        (Self::FreshWrite, "a fresh write at the end"),
    ];
}

/// The counts of a schedule, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    happened: [u64; EVENTS],
    judged: [u64; INVARIANTS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { happened: [0; EVENTS], judged: [0; INVARIANTS] }
    }
}

impl Tally {
    pub(crate) fn note(&mut self, event: Event) {
        self.happened[event as usize] += 1;
    }

    pub(crate) fn judge(&mut self, invariant: Invariant) {
        self.judged[invariant as usize] += 1;
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.happened.iter_mut().zip(other.happened).for_each(|(sum, more)| *sum += more);
        self.judged.iter_mut().zip(other.judged).for_each(|(sum, more)| *sum += more);
        self
    }

    /// One line for each kind and each invariant, with how often.
    pub fn lines(&self) -> Vec<String> {
        let happened = Event::ALL.iter().map(|(event, word)| (self.happened[*event as usize], *word));
        let judged = Invariant::ALL.iter().map(|invariant| {
            let row = invariant.row();
            (self.judged[*invariant as usize], format!("{} judged: {}", row.name, row.what))
        });
        let happened = happened.map(|(count, word)| (count, word.to_owned()));
        happened.chain(judged).map(|(count, word)| format!("{count:>12}  {word}")).collect()
    }

    /// What never happened, and which invariants were never judged.
    pub fn missing(&self) -> Vec<String> {
        let never = |line: &String| line.trim_start().starts_with("0 ");
        self.lines().into_iter().filter(never).map(|line| line.trim_start()[1..].trim().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_counts_in_its_own_place_and_what_never_happened_is_named() {
        let mut tally = Tally::default();

        Event::ALL.iter().skip(1).for_each(|(event, _)| tally.note(*event));
        Invariant::ALL.iter().skip(1).for_each(|invariant| tally.judge(*invariant));
        let both = tally.and(tally);

        assert_eq!(both.happened[1..], [2; EVENTS - 1]);
        assert_eq!(tally.missing().len(), 2, "{:?}", tally.missing());
        assert!(tally.missing()[0].starts_with(Event::ALL[0].1));
    }
}
