//! Whose directory it is: a lock for the process, and a file that names the group and the member for good.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use landbridge_model::MemberId;

use crate::{config::GroupId, failure::StoreError};

const HEADING: &str = "landbridge store 1";

/// Holds the directory for this process; another one is refused while this lives.
#[derive(Debug)]
pub(crate) struct DirLock(#[expect(dead_code, reason = "held open for its lock")] File);

impl DirLock {
    /// Creates the directory if need be, and takes it.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let disk = |error| StoreError::disk("taking the directory", error);
        fs::create_dir_all(dir).map_err(disk)?;
        let path = dir.join("lock");
        let file = File::options().write(true).create(true).truncate(false).open(path).map_err(disk)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => Err(disk(error)),
        }
    }
}

/// The file that names the owner.
pub(crate) struct Identity {
    dir: PathBuf,
    text: String,
}

impl Identity {
    pub(crate) fn new(dir: &Path, group: &GroupId, member: MemberId) -> Self {
        let text =
            format!("{HEADING}\ndeployment {}\nregion {}\nmember {member}\n", group.deployment, group.region);
        Self { dir: dir.to_owned(), text }
    }

    /// Whether the directory has an owner; an error if that is another one.
    pub(crate) fn check(&self) -> Result<bool, StoreError> {
        let found = match fs::read_to_string(self.path()) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::disk("reading the identity", error)),
        };
        if found == self.text {
            return Ok(true);
        }
        let one_line = |text: &str| text.trim().replace('\n', ", ");
        Err(StoreError::Foreign {
            dir: self.dir.clone(),
            belongs_to: one_line(&found),
            asked_by: one_line(&self.text),
        })
    }

    /// Names the owner, for good.
    pub(crate) fn write(&self) -> io::Result<()> {
        let path = self.path();
        let draft = path.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self) -> PathBuf {
        self.dir.join("identity")
    }
}
