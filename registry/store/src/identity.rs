//! Whose directory it is: a lock for the process, and a file that names the group and the member for good.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use landbridge_model::MemberId;
use xxhash_rust::xxh3::xxh3_64;

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
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(disk)?;
        match file.try_lock() {
            Ok(()) => {
                // The lock holds without it: the number only helps whoever is refused.
                let _ = note_process(&file);
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => {
                let by = fs::read_to_string(path).ok().and_then(|said| said.trim().parse().ok());
                Err(StoreError::Busy { dir: dir.to_owned(), by })
            }
            Err(TryLockError::Error(error)) => Err(disk(error)),
        }
    }
}

/// Says in the locked file which process holds it.
fn note_process(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// The file that names the owner.
pub(crate) struct Identity {
    dir: PathBuf,
    /// Without the hash, which only a first version left out.
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
        let found = match fs::read(self.path()) {
            Ok(found) => String::from_utf8_lossy(&found).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::disk("reading the identity", error)),
        };
        if found == self.text || found == hashed(&self.text) {
            return Ok(true);
        }
        let whole = found.rsplit_once("hash ").is_some_and(|(text, _)| found == hashed(text));
        if !whole {
            let what = "the file that names its owner is unreadable".to_owned();
            return Err(StoreError::Damaged { dir: self.dir.clone(), what });
        }
        let lines = |text: &str| text.trim().lines().skip(1).take(3).collect::<Vec<_>>().join(", ");
        Err(StoreError::Foreign {
            dir: self.dir.clone(),
            belongs_to: lines(&found),
            asked_by: lines(&self.text),
        })
    }

    /// Names the owner, for good.
    pub(crate) fn write(&self) -> io::Result<()> {
        let path = self.path();
        let draft = path.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(hashed(&self.text).as_bytes())?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self) -> PathBuf {
        self.dir.join("identity")
    }
}

/// The text with its hash, by which damage is told from another owner.
fn hashed(text: &str) -> String {
    format!("{text}hash {:016x}\n", xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use landbridge_model::Region;

    use super::*;

    fn identity(dir: &Path, member: u16) -> Identity {
        let group = GroupId { deployment: "demo".into(), region: Region::parse("east").unwrap() };
        Identity::new(dir, &group, MemberId(member))
    }

    #[test]
    fn damage_is_told_from_another_owner() {
        let dir = tempfile::tempdir().unwrap();
        let own = identity(dir.path(), 1);
        own.write().unwrap();
        let whole = fs::read(own.path()).unwrap();

        assert!(own.check().unwrap());
        assert!(matches!(identity(dir.path(), 2).check(), Err(StoreError::Foreign { .. })));
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(own.path(), changed).unwrap();
            assert!(matches!(own.check(), Err(StoreError::Damaged { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_directory_of_the_first_version_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let own = identity(dir.path(), 1);

        fs::write(own.path(), &own.text).unwrap();

        assert!(own.check().unwrap());
    }
}
