//! Which disk this is: a number of its own, its part in the group, and the disks of others that it met before it had one.
//!
//! ```text
//! Fresh ──a majority is fresh too──▶ Founder      Fresh, Joining ──the leader says so──▶ Member
//! ```
//!
//! Invariant: a number is drawn once for each disk, so a member whose disk was emptied or set aside comes back as a stranger.
//! Invariant: what the file says is on disk before anybody is told of it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use landbridge_model::MemberId;
use xxhash_rust::xxh3::xxh3_64;

use crate::failure::StoreError;

const HEADING: &str = "landbridge disk 1";

/// What part a disk has in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// None so far: it may found a group with others that have none.
    Fresh,
    /// None, and it may not found one either: an earlier disk of this member may have had one.
    Joining,
    /// It founds the group, or has been there when others did.
    Founder,
    /// The leader admitted it.
    Member,
}

impl Part {
    /// Whether it may vote, and hold what others count on.
    pub(crate) fn admitted(self) -> bool {
        match self {
            Self::Founder | Self::Member => true,
            Self::Fresh | Self::Joining => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Joining => "joining",
            Self::Founder => "founder",
            Self::Member => "member",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Fresh, Self::Joining, Self::Founder, Self::Member].into_iter().find(|part| part.name() == name)
    }
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskSays {
    /// What tells this disk from every other.
    pub(crate) number: u64,
    pub(crate) part: Part,
    /// To which line of the region it belongs: 0 as it was founded, else the era in which it was started anew.
    pub(crate) line: u64,
    /// Members with their disks, met while neither side had a part in a group.
    pub(crate) met: BTreeMap<MemberId, u64>,
}

impl DiskSays {
    pub(crate) fn new(number: u64, part: Part) -> Self {
        Self { number, part, line: 0, met: BTreeMap::new() }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{HEADING}\nnumber {:016x}\npart {}\nline {:016x}\n",
            self.number,
            self.part.name(),
            self.line
        );
        for (member, disk) in &self.met {
            text.push_str(&format!("met {member} {disk:016x}\n"));
        }
        text.push_str(&format!("hash {:016x}\n", xxh3_64(text.as_bytes())));
        text
    }

    fn read(text: &str) -> Option<Self> {
        let (said, hash) = text.strip_suffix('\n')?.rsplit_once("hash ")?;
        let mut lines = said.lines();
        if hexadecimal(hash)? != xxh3_64(said.as_bytes()) || lines.next()? != HEADING {
            return None;
        }
        let number = hexadecimal(lines.next()?.strip_prefix("number ")?)?;
        let mut says = Self::new(number, Part::named(lines.next()?.strip_prefix("part ")?)?);
        let mut lines = lines.peekable();
        if let Some(line) = lines.next_if(|line| line.starts_with("line ")) {
            says.line = hexadecimal(line.strip_prefix("line ")?)?;
        }
        for line in lines {
            let (member, disk) = line.strip_prefix("met ")?.split_once(' ')?;
            says.met.insert(MemberId(member.parse().ok()?), hexadecimal(disk)?);
        }
        Some(says)
    }
}

/// A disk's number as people and notes write it.
pub(crate) fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|number| format!("{number:016x}") == text)
}

/// The file, and what it says.
#[derive(Debug)]
pub(crate) struct DiskFile {
    path: PathBuf,
    says: Mutex<DiskSays>,
}

impl DiskFile {
    /// Reads the file; none if there is none, an error if it does not say what it should.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join("disk");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::disk("reading the disk's number", error)),
        };
        let says = std::str::from_utf8(&text).ok().and_then(DiskSays::read);
        let damaged = || StoreError::Damaged {
            dir: dir.to_owned(),
            what: "the file with the disk's number is unreadable".to_owned(),
        };
        let says = Mutex::new(says.ok_or_else(damaged)?);
        Ok(Some(Self { path, says }))
    }

    /// Writes the first file of a disk.
    pub(crate) fn create(dir: &Path, says: DiskSays) -> io::Result<Self> {
        let path = dir.join("disk");
        write(&path, &says)?;
        Ok(Self { path, says: Mutex::new(says) })
    }

    /// What it says.
    pub(crate) fn says(&self) -> DiskSays {
        self.lock().clone()
    }

    /// Changes what it says; on disk when this returns.
    pub(crate) fn change(&self, change: impl FnOnce(&mut DiskSays)) -> io::Result<()> {
        let mut held = self.lock();
        let mut says = held.clone();
        change(&mut says);
        if says != *held {
            write(&self.path, &says)?;
            *held = says;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, DiskSays> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(path: &Path, says: &DiskSays) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(says.text().as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = DiskFile::create(dir.path(), DiskSays::new(u64::MAX, Part::Fresh)).unwrap();

        file.change(|says| {
            says.part = Part::Founder;
            says.met.insert(MemberId(3), 7);
        })
        .unwrap();

        let again = DiskFile::open(dir.path()).unwrap().expect("it was written");
        assert_eq!(again.says(), file.says());
        assert_eq!((again.says().part, again.says().met[&MemberId(3)]), (Part::Founder, 7));
    }

    #[test]
    fn no_changed_bit_passes_for_another_disk_or_part() {
        let dir = tempfile::tempdir().unwrap();
        let mut says = DiskSays::new(77, Part::Joining);
        says.met.insert(MemberId(2), 5);
        DiskFile::create(dir.path(), says).unwrap();
        let whole = fs::read(dir.path().join("disk")).unwrap();

        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join("disk"), changed).unwrap();

            assert!(DiskFile::open(dir.path()).is_err(), "bit {bit} was changed, and nobody saw it");
        }
        fs::write(dir.path().join("disk"), []).unwrap();
        assert!(DiskFile::open(dir.path()).is_err(), "an empty file is no fresh disk");
    }
}
