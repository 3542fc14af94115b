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
        /// The number of that process, if it says so.
        by: Option<u32>,
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
            Self::Busy { dir, by } => {
                let by = by.map_or("another process".to_owned(), |pid| format!("process {pid}"));
                write!(
                    f,
                    "{by} uses {}: a data folder belongs to one process at a time; stop that one, or give this one another data_dir",
                    dir.display()
                )
            }
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
            Self::Disk { during, said } => write!(
                f,
                "the disk failed during {during}: {said}; nothing more is written: see to the disk, then start the member again"
            ),
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
    /// The disk of this member has too little room; nothing was written. An operator frees space there.
    Full(MemberId),
    /// The store has stopped.
    Stopped,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(member)) => write!(f, "member {member} leads"),
            Self::NotLeader(None) => f.write_str("no leader is known"),
            Self::Unavailable(why) => write!(f, "the Raft group is unavailable: {why}"),
            Self::Full(member) => write!(
                f,
                "the disk of member {member} has too little room left (raft.reserve_bytes): nothing was written; free space \
                 there, and writes are taken again by themselves"
            ),
            Self::Stopped => f.write_str("the store has stopped"),
        }
    }
}

impl std::error::Error for ProposeError {}
