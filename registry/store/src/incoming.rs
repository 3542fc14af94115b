//! A snapshot that another member sends, part by part, into a file.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use crate::{rpc::SnapshotCall, state::snapshot::SnapshotFile};

/// The one snapshot that may be coming in.
#[derive(Debug)]
pub(crate) struct Incoming {
    path: PathBuf,
    bytes_max: u64,
    file: Option<(File, u64)>,
}

impl Incoming {
    pub(crate) fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, file: None }
    }

    /// Takes a part; a first one starts over. Returns the file once it is complete and synced.
    pub(crate) fn take(&mut self, call: &SnapshotCall) -> io::Result<Option<SnapshotFile>> {
        if call.offset == 0 {
            self.file = Some((File::create(&self.path)?, 0));
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
        SnapshotFile::open(self.path.clone()).map(Some)
    }
}
