//! A snapshot that another member sends, part by part, into a file.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use crate::{rpc::SnapshotCall, state::snapshot::SnapshotFile};

/// The one snapshot that may be coming in.
#[derive(Debug)]
pub(crate) struct Incoming {
    dir: PathBuf,
    /// Snapshots so far. Each has a file of its own: one that is complete may still be read when the next begins.
    count: u64,
    bytes_max: u64,
    file: Option<(File, u64)>,
}

impl Incoming {
    pub(crate) fn new(dir: PathBuf, bytes_max: u64) -> Self {
        Self { dir, count: 0, bytes_max, file: None }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("incoming-{}", self.count))
    }

    /// Takes a part; a first one starts over. Returns the file once it is complete and synced.
    pub(crate) fn take(&mut self, call: &SnapshotCall) -> io::Result<Option<SnapshotFile>> {
        if call.offset == 0 {
            if self.file.take().is_some() {
                fs::remove_file(self.path())?;
            }
            self.count += 1;
            self.file = Some((File::create(self.path())?, 0));
        }
        let (mut file, at) = self.file.take().ok_or_else(|| io::Error::other("no snapshot was begun"))?;
        let end = at + call.part.len() as u64;
        if at != call.offset || end > self.bytes_max {
            let (offset, max) = (call.offset, self.bytes_max);
            return Err(io::Error::other(format!("a part at {offset} where {at} was due, of at most {max}")));
        }
        file.write_all(&call.part)?;
        if !call.last {
            self.file = Some((file, end));
            return Ok(None);
        }
        file.sync_all()?;
        SnapshotFile::open(self.path()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Vote;

    fn part(offset: u64, last: bool, byte: u8) -> SnapshotCall {
        SnapshotCall::of(&Vote::new(1, 1), offset, last, vec![byte; 4].into())
    }

    #[test]
    fn a_complete_snapshot_is_not_touched_by_the_next_that_begins() {
        let dir = tempfile::tempdir().unwrap();
        let mut incoming = Incoming::new(dir.path().to_owned(), 100);
        incoming.take(&part(0, false, 1)).unwrap();
        let complete = incoming.take(&part(4, true, 2)).unwrap().expect("it is complete");

        incoming.take(&part(0, false, 3)).unwrap();
        incoming.take(&part(0, false, 4)).unwrap();

        assert_eq!(&complete.part(0, 100).unwrap()[..], &[1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "what was begun and given up is gone");
    }
}
