//! Where beats are noted without entering the core: one tick per lease, in a dense array that all threads share.
//!
//! Invariant: a slot is handed out again only after it has been free for [`QUARANTINE_TICKS`], so that a reader of an old
//! view cannot renew a stranger's lease.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// How long a freed slot rests.
pub const QUARANTINE_TICKS: u32 = 60;

/// Slots in one piece of the board.
const PIECE: usize = 4096;

/// Pieces at most; with [`PIECE`] it bounds the leases of one member to 16.7 million.
const PIECES_MAX: usize = 4096;

/// One lease's place on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BeatSlot(pub(crate) u32);

/// The tick of each lease's last beat.
#[derive(Debug)]
pub struct BeatBoard {
    now: AtomicU32,
    pieces: Box<[OnceLock<Box<[AtomicU32]>>]>,
}

impl BeatBoard {
    /// An empty board.
    pub(crate) fn new() -> Self {
        Self { now: AtomicU32::new(0), pieces: (0..PIECES_MAX).map(|_| OnceLock::new()).collect() }
    }

    /// Notes a beat. Costs one load and one store; may be called from any thread at any time.
    pub fn renew(&self, slot: BeatSlot) {
        self.store(slot, self.now.load(Ordering::Relaxed));
    }

    /// The tick that beats are noted with from here on.
    pub(crate) fn advance(&self, tick: u32) {
        self.now.store(tick, Ordering::Relaxed);
    }

    /// The tick of the slot's last beat.
    pub(crate) fn read(&self, slot: BeatSlot) -> u32 {
        self.cell(slot).load(Ordering::Relaxed)
    }

    /// Sets the slot's tick.
    pub(crate) fn store(&self, slot: BeatSlot, tick: u32) {
        self.cell(slot).store(tick, Ordering::Relaxed);
    }

    /// How many slots there can be.
    pub(crate) const fn slots_max() -> usize {
        PIECE * PIECES_MAX
    }

    fn cell(&self, slot: BeatSlot) -> &AtomicU32 {
        let at = slot.0 as usize;
        let piece = self.pieces[at / PIECE].get_or_init(|| (0..PIECE).map(|_| AtomicU32::new(0)).collect());
        &piece[at % PIECE]
    }
}
