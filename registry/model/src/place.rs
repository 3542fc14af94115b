//! Where things are and when things happen: regions, zones, members and moments.

use std::fmt;

use ecow::EcoString;

use crate::name::{InvalidName, checked};

/// The longest region or zone name, in bytes.
pub const PLACE_BYTES_MAX: usize = 64;

/// A place with its own registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(EcoString);

/// A failure domain inside a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(EcoString);

fn place(what: &'static str, text: &str) -> Result<EcoString, InvalidName> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.starts_with('-') || text.ends_with('-') {
        return Err(InvalidName::new(what, text, "must not start or end with a dash"));
    }
    checked(what, text, 1, PLACE_BYTES_MAX, "lower-case letters, digits and dashes", fits)
}

impl Region {
    /// Parses a region name: 1-64 lower-case letters, digits and inner dashes (a DNS label, so it fits a certificate).
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        place("region", text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Zone {
    /// Parses a zone name, with the rules of a region's.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        place("zone", text).map(Self)
    }

    /// The zone of an instance that names none; it ranks as "same region".
    pub fn unknown() -> Self {
        Self(EcoString::inline("unknown"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One registry process of a region, by its configured number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u16);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Milliseconds of a process's own clock that never run back; means nothing to another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `ms` milliseconds later.
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`, zero if it lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_fits_a_dns_label() {
        assert_eq!(Region::parse("east-1").map(|r| r.to_string()), Ok("east-1".to_owned()));
        for wrong in ["", "East", "a_b", "-a", "a-", &"a".repeat(65)] {
            assert!(Region::parse(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
