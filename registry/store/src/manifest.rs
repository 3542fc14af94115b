//! Looks at a database's own manifests before it is opened: fjall writes a hash beside the number of the newest one, and does not
//! look at it when it opens, so that a changed bit could hide tables, or bring others back.
//!
//! Invariant: nothing is written here, and a database that was never complete passes.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use crate::failure::StoreError;

/// Each keyspace has a folder of its own in this one.
const KEYSPACES: &str = "keyspaces";
/// Names a keyspace's newest manifest: its number (8 bytes, little-endian), the hash of its file (16), and the kind of hash.
const CURRENT: &str = "current";
const CURRENT_BYTES: usize = 25;
/// The one kind of hash there is.
const XXH3: u8 = 0;

/// Refuses a database of which a keyspace's newest manifest is not the one that was written.
pub(crate) fn check(database: &Path) -> Result<(), StoreError> {
    let folders = match fs::read_dir(database.join(KEYSPACES)) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk(error)),
    };
    for folder in folders {
        let folder = folder.map_err(disk)?.path();
        if !folder.is_dir() {
            continue;
        }
        if let Some(manifest) = newest(&folder)? {
            manifest.check(database)?;
        }
    }
    Ok(())
}

/// What `current` says.
struct Newest {
    path: PathBuf,
    hash: u128,
    kind: u8,
}

/// The newest manifest of a keyspace; none before its first one is complete.
fn newest(folder: &Path) -> Result<Option<Newest>, StoreError> {
    let path = folder.join(CURRENT);
    let said = match fs::read(&path) {
        Ok(said) => said,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk(error)),
    };
    let Ok(said) = <[u8; CURRENT_BYTES]>::try_from(said) else {
        return Err(damaged(folder, format_args!("{} is cut short", path.display())));
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
    let [id @ .., kind] = &said;
    let (id, hash) = id.split_at(8);
    Ok(Some(Newest { path: folder.join(format!("v{}", number(id))), hash: number(hash), kind: *kind }))
}

impl Newest {
    fn check(&self, database: &Path) -> Result<(), StoreError> {
        let what = |why: &str| damaged(database, format_args!("{}: {why}", self.path.display()));
        if self.kind != XXH3 {
            return Err(what("its hash is of no known kind"));
        }
        match fs::read(&self.path) {
            Ok(said) if xxh3_128(&said) == self.hash => Ok(()),
            Ok(_) => Err(what("it is not as it was written")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(what("it is missing")),
            Err(error) => Err(disk(error)),
        }
    }
}

fn disk(error: io::Error) -> StoreError {
    StoreError::disk("reading a database's manifest", error)
}

fn damaged(dir: &Path, what: impl fmt::Display) -> StoreError {
    StoreError::Damaged { dir: dir.to_owned(), what: what.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beside_the_keyspaces_is_no_damage() {
        let database = tempfile::tempdir().unwrap();
        fs::create_dir_all(database.path().join(KEYSPACES).join("0")).unwrap();
        fs::write(database.path().join(KEYSPACES).join(".DS_Store"), "x").unwrap();

        assert_eq!(check(database.path()), Ok(()));
    }
}
