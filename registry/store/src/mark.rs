//! The high-water mark: a tiny file beside the log that says how far the log had durably come, and the last vote.
//!
//! fjall drops whatever follows a damaged batch without a word, so a log that comes back short looks like a young one.
//! A member that forgot acknowledged entries or a vote must not vote; the mark is how it notices.
//!
//! Invariant: the mark never runs ahead of the log. It is written after each durable step forward, before each step
//! back, and into two slots in turn, so that a torn write leaves the older one.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use xxhash_rust::xxh3::xxh3_64;

use crate::types::Vote;

const MAGIC: [u8; 4] = *b"LBHM";
const VERSION: u16 = 1;
const SLOT_BYTES: usize = 76;
/// A sector of its own for each slot, so that no write touches both.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// An entry by its place, its term and the hash of everything up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its index.
    pub(crate) index: u64,
    /// Its term.
    pub(crate) term: u64,
    /// The hash chain up to and including it.
    pub(crate) chain: u64,
}

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mark {
    /// Counts up with each write.
    generation: u64,
    /// The last durable entry, none before the first.
    pub(crate) last: Option<Link>,
    /// The last vote, none before the first.
    pub(crate) vote: Option<Vote>,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: File,
    mark: Mark,
}

impl MarkFile {
    /// Opens the file; none if there is no valid slot in it.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let newest = SLOT_OFFSETS
            .iter()
            .filter_map(|offset| {
                let mut slot = [0; SLOT_BYTES];
                file.read_exact_at(&mut slot, *offset).ok()?;
                decode(&slot)
            })
            .max_by_key(|mark| mark.generation);
        Ok(newest.map(|mark| Self { file, mark }))
    }

    /// Creates the file with an empty mark.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(SLOT_OFFSETS[1] + SLOT_BYTES as u64)?;
        let mut created = Self { file, mark: Mark::default() };
        created.write(Mark::default())?;
        created.file.sync_all()?;
        Ok(created)
    }

    /// What it says.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Notes the last durable entry: survives this process at once, the machine from the next [`Self::sync`] on.
    pub(crate) fn note_last(&mut self, last: Option<Link>) -> io::Result<()> {
        self.write(Mark { last, ..self.mark })
    }

    /// Notes a vote.
    pub(crate) fn note_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.write(Mark { vote: Some(vote), ..self.mark })
    }

    /// Makes what was noted outlast the machine.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&mut self, mark: Mark) -> io::Result<()> {
        let mark = Mark { generation: self.mark.generation + 1, ..mark };
        let offset = SLOT_OFFSETS[(mark.generation % 2) as usize];
        self.file.write_all_at(&encode(&mark), offset)?;
        self.mark = mark;
        Ok(())
    }
}

/// Layout, little-endian: magic 4, version 2, flags 1, zero 1, generation 8, index 8, term 8, chain 8, vote's term 8,
/// vote's member 8, zero 12, hash 8.
fn encode(mark: &Mark) -> [u8; SLOT_BYTES] {
    let (last, vote) = (mark.last.unwrap_or_default(), mark.vote);
    let flags = u8::from(mark.last.is_some())
        | u8::from(vote.is_some()) << 1
        | u8::from(vote.is_some_and(|vote| vote.committed)) << 2;
    let vote = vote.map_or((0, 0), |vote| (vote.leader_id.term, vote.leader_id.voted_for));
    let mut slot = [0; SLOT_BYTES];
    slot[..4].copy_from_slice(&MAGIC);
    slot[4..6].copy_from_slice(&VERSION.to_le_bytes());
    slot[6] = flags;
    let numbers = [mark.generation, last.index, last.term, last.chain, vote.0, vote.1];
    for (field, number) in slot[8..56].chunks_exact_mut(8).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    let hash = xxh3_64(&slot[..68]);
    slot[68..].copy_from_slice(&hash.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Mark> {
    let number = |at: usize| slot[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    if slot[..4] != MAGIC || slot[4..6] != VERSION.to_le_bytes() || number(68) != xxh3_64(&slot[..68]) {
        return None;
    }
    let flag = |bit: u8| slot[6] >> bit & 1 == 1;
    let last = Link { index: number(16), term: number(24), chain: number(32) };
    let vote =
        if flag(2) { Vote::new_committed(number(40), number(48)) } else { Vote::new(number(40), number(48)) };
    Some(Mark { generation: number(8), last: flag(0).then_some(last), vote: flag(1).then_some(vote) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u64) -> Link {
        Link { index, term: 3, chain: index * 7 }
    }

    #[test]
    fn a_mark_comes_back_as_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut file = MarkFile::create(&path).unwrap();

        file.note_last(Some(link(9))).unwrap();
        file.note_vote(Vote::new_committed(4, 2)).unwrap();
        let again = MarkFile::open(&path).unwrap().expect("a valid slot");

        assert_eq!(again.mark(), file.mark());
        assert_eq!(again.mark().last, Some(link(9)));
        assert_eq!(again.mark().vote, Some(Vote::new_committed(4, 2)));
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut file = MarkFile::create(&path).unwrap();
        file.note_last(Some(link(1))).unwrap();
        file.note_last(Some(link(2))).unwrap();

        let newest = SLOT_OFFSETS[(file.mark().generation % 2) as usize];
        file.file.write_all_at(&[0xff], newest + 20).unwrap();

        let again = MarkFile::open(&path).unwrap().expect("the other slot");
        assert_eq!(again.mark().last, Some(link(1)));
    }

    #[test]
    fn a_file_of_zeros_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        std::fs::write(&path, [0; 8192]).unwrap();

        assert!(MarkFile::open(&path).unwrap().is_none());
    }
}
