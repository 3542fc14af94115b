//! Why a store cannot start or go on, and why a proposal was not taken.

use std::{fmt, io, path::PathBuf};

use landbridge_model::MemberId;

/// Why a store cannot start, or had to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Another process uses the directory: stop it.
    Busy {
        /// Which.
        dir: PathBuf,
    },
    /// The directory belongs to another group or member: name another one.
    Foreign {
        /// Which.
        dir: PathBuf,
        /// To whom it belongs.
        belongs_to: String,
        /// Who asks for it.
        asked_by: String,
    },
    /// What the directory holds is less than, or not, what was written: this member may have forgotten what it
    /// promised and must not vote. Among several members the damage is set aside and the others refill it; a member alone
    /// is started anew from a backup.
    Damaged {
        /// Which.
        dir: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The region was started anew under this era while this member was away: start the member again, and it is refilled.
    Superseded {
        /// The era of the region that counts.
        era: u64,
    },
    /// The settings contradict each other.
    Misconfigured(String),
    /// The disk refused: see to it, and start again. After a failed write nothing more is written.
    Disk {
        /// During what.
        during: &'static str,
        /// What it said.
        said: String,
    },
    /// The group stopped for a reason of its own.
    Stopped(String),
}

impl StoreError {
    pub(crate) fn disk(during: &'static str, said: impl fmt::Display) -> Self {
        Self::Disk { during, said: said.to_string() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { dir } => write!(f, "another process uses {}", dir.display()),
            Self::Foreign { dir, belongs_to, asked_by } => {
                write!(f, "{} belongs to {belongs_to}, not to {asked_by}", dir.display())
            }
            Self::Damaged { dir, what } => write!(
                f,
                "{} is damaged: {what}; this member must not decide with it: move the directory away and start the region anew with `landbridge restore`",
                dir.display()
            ),
            Self::Superseded { era } => write!(
                f,
                "the region was started anew under era {era} while this member was away: start it again, and it is refilled"
            ),
            Self::Misconfigured(what) => write!(f, "wrong settings of the store: {what}"),
            Self::Disk { during, said } => write!(f, "the disk failed during {during}: {said}"),
            Self::Stopped(why) => write!(f, "the Raft group stopped here: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// Why a proposal or a read was not answered with a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// Another member leads; this one if it is known.
    NotLeader(Option<MemberId>),
    /// No majority answered in time, or leadership moved: it may take effect or not, so propose what may be repeated.
    Unavailable(&'static str),
    /// The leader's disk has no room for more; nothing was written. Room is made by deleting, or by an operator.
    Full,
    /// The store has stopped.
    Stopped,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(member)) => write!(f, "member {member} leads"),
            Self::NotLeader(None) => f.write_str("no leader is known"),
            Self::Unavailable(why) => write!(f, "the Raft group is unavailable: {why}"),
            Self::Full => f.write_str("the leader's disk is full: make room, nothing was written"),
            Self::Stopped => f.write_str("the store has stopped"),
        }
    }
}

impl std::error::Error for ProposeError {}
