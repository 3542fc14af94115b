//! The invariants: each a small rule over facts that the world has gathered, with a test that it can be broken.

pub mod blamed;
pub mod claimed;
pub mod closed;
pub mod closing;
pub mod deleted;
pub mod dialled;
pub mod doubted;
pub mod exact;
pub mod expired;
pub mod forward;
pub mod fresh;
pub mod gone;
pub mod home;
pub mod kept;
pub mod left;
pub mod listed;
pub mod lone;
pub mod marked;
pub mod open;
pub mod ordered;
pub mod reached;
pub mod ready;
pub mod together;

/// Whether an invariant holds, or how it is broken.
pub type Held = Result<(), String>;

/// What the table of invariants says of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name in violations.
    pub name: &'static str,
    /// What must hold, in one sentence.
    pub what: &'static str,
    /// Where it comes from.
    pub from: &'static str,
}

/// All invariants, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    Exact,
    Together,
    Forward,
    Closed,
    Home,
    Closing,
    Gone,
    Expired,
    Ready,
    Open,
    Deleted,
    Ordered,
    Claimed,
    Doubted,
    Marked,
    Lone,
    Listed,
    Reached,
    Blamed,
    Fresh,
    Kept,
    Left,
    Dialled,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Exact,
        Self::Together,
        Self::Forward,
        Self::Closed,
        Self::Home,
        Self::Closing,
        Self::Gone,
        Self::Expired,
        Self::Ready,
        Self::Open,
        Self::Deleted,
        Self::Ordered,
        Self::Claimed,
        Self::Doubted,
        Self::Marked,
        Self::Lone,
        Self::Listed,
        Self::Reached,
        Self::Blamed,
        Self::Fresh,
        Self::Kept,
        Self::Left,
        Self::Dialled,
    ];

    /// What the table says of it.
    pub fn row(self) -> Row {
        match self {
            Self::Exact => exact::ROW,
            Self::Together => together::ROW,
            Self::Forward => forward::ROW,
            Self::Closed => closed::ROW,
            Self::Home => home::ROW,
            Self::Closing => closing::ROW,
            Self::Gone => gone::ROW,
            Self::Expired => expired::ROW,
            Self::Ready => ready::ROW,
            Self::Open => open::ROW,
            Self::Deleted => deleted::ROW,
            Self::Ordered => ordered::ROW,
            Self::Claimed => claimed::ROW,
            Self::Doubted => doubted::ROW,
            Self::Marked => marked::ROW,
            Self::Lone => lone::ROW,
            Self::Listed => listed::ROW,
            Self::Reached => reached::ROW,
            Self::Blamed => blamed::ROW,
            Self::Fresh => fresh::ROW,
            Self::Kept => kept::ROW,
            Self::Left => left::ROW,
            Self::Dialled => dialled::ROW,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document that holds the table.
    const README: &str = include_str!("../../README.md");

    #[test]
    fn the_readme_tells_of_exactly_these_invariants() {
        let told: Vec<&str> = README.lines().filter(|line| line.starts_with("| [")).collect();
        let told: Vec<&str> = told.into_iter().filter(|line| line.contains("(sim/invariants/")).collect();

        assert_eq!(told.len(), Invariant::ALL.len());
        for (line, invariant) in told.iter().zip(Invariant::ALL) {
            let row = invariant.row();
            let file = format!("{invariant:?}").to_lowercase();
            let expected =
                format!("| [{}](sim/invariants/{file}.rs) | {} | {} |", row.name, row.what, row.from);
            assert_eq!(*line, expected);
        }
    }
}
