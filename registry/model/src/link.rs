//! What an operator has ordered about another region: how this one treats it until the order is taken back.

/// How another region is treated against the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Nothing is exchanged with it, in neither direction. What is held of it stays.
    Paused,
    /// Nothing it says is taken in, and what is held of it stays as it is. It still hears of this region.
    Frozen,
    /// What was held of it is deleted by every holder of this region, and nothing it says is taken in.
    Evicted,
}

impl Hold {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Paused, Self::Frozen, Self::Evicted];

    /// As operators write and read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Frozen => "frozen",
            Self::Evicted => "evicted",
        }
    }

    /// Reads what [`Hold::name`] writes.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hold| hold.name() == name)
    }

    /// Whether what the region says is taken in by nobody here.
    pub fn shuts_out(self) -> bool {
        match self {
            Self::Paused => false,
            Self::Frozen | Self::Evicted => true,
        }
    }
}

/// An order that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOrder {
    /// How the region is treated.
    pub hold: Hold,
    /// When it was ordered, unix milliseconds by the clock of the member that took it; shown, and decides nothing.
    pub since_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_read_as_it_is_written() {
        for hold in Hold::ALL {
            assert_eq!(Hold::named(hold.name()), Some(hold));
        }
        assert_eq!(Hold::named("open"), None);
    }
}
