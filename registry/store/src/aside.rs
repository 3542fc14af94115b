//! Sets aside what is damaged, so that the member can come back on a disk that knows nothing and be refilled.
//!
//! Invariant: whatever happens while it is moved, the disk that comes after it never founds a group of its own.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{failure::StoreError, identity::DirLock};

/// A directory with this file in it has lost what it held.
const LOST: &str = "lost";
/// Folders that were set aside begin so; a number follows.
const ASIDE: &str = "damaged-";
/// So many of them are kept for whoever wants to look; older ones are removed.
const KEPT: usize = 2;

/// Whether what the directory held was lost.
pub(crate) fn lost(dir: &Path) -> bool {
    dir.join(LOST).exists()
}

/// From here on what the directory holds counts as lost: the next start sets it aside.
pub(crate) fn lose(dir: &Path) -> io::Result<()> {
    File::create(dir.join(LOST))?.sync_all()?;
    sync(dir)
}

/// What takes the place of the lost is on disk.
pub(crate) fn replaced(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(LOST)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => sync(dir),
    }
}

/// Moves everything in the directory into a folder of its own; says which.
pub(crate) fn set_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let _lock = DirLock::take(dir)?;
    moved(dir).map_err(|error| StoreError::disk("setting a damaged store aside", error))
}

fn moved(dir: &Path) -> io::Result<PathBuf> {
    lose(dir)?;
    let mut folders = folders(dir)?;
    let into = dir.join(format!("{ASIDE}{:06}", folders.last().map_or(1, |(number, _)| number + 1)));
    fs::create_dir(&into)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let stays = name == LOST || name == "lock" || name.to_string_lossy().starts_with(ASIDE);
        if !stays {
            fs::rename(entry.path(), into.join(name))?;
        }
    }
    sync(dir)?;
    while folders.len() >= KEPT {
        fs::remove_dir_all(folders.remove(0).1)?;
    }
    Ok(into)
}

/// What was set aside before, oldest first.
fn folders(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let number = entry.file_name().to_string_lossy().strip_prefix(ASIDE).and_then(|n| n.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_leaves_an_empty_directory_that_knows_of_its_loss() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::write(dir.path().join("identity"), "me").unwrap();

        let into = set_aside(dir.path()).unwrap();

        assert!(lost(dir.path()) && into.join("log").is_dir());
        assert_eq!(fs::read_to_string(into.join("identity")).unwrap(), "me");
        assert!(!dir.path().join("log").exists() && !dir.path().join("identity").exists());
        replaced(dir.path()).unwrap();
        assert!(!lost(dir.path()));
    }

    #[test]
    fn only_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..5 {
            fs::write(dir.path().join("log"), format!("{round}")).unwrap();
            set_aside(dir.path()).unwrap();
        }

        let kept = folders(dir.path()).unwrap();

        let said: Vec<_> = kept.iter().map(|(_, at)| fs::read_to_string(at.join("log")).unwrap()).collect();
        assert_eq!(said, ["3", "4"]);
    }
}
