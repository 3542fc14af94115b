//! A gateway's table is what its holder shows, and what it remembers of the rest.

use crate::sim::{
    invariants::{Held, Row},
    model::Seen,
};

pub const ROW: Row = Row {
    name: "G1",
    what: "a gateway lists what its holder shows, and of incomplete regions what it remembers; silent ones are stale",
    from: "DESIGN: a gateway serves with every registry down",
};

/// What a table says of one origin.
pub struct Listed {
    pub shown: Seen,
    /// What the keepsake had, if the table still goes by it.
    pub remembered: Option<Seen>,
    pub listed: Seen,
    /// Whether the origin is silent, and the marks of what is listed live from it.
    pub is_stale: bool,
    pub marks: Vec<bool>,
}

pub fn check(table: &Listed) -> Held {
    let mut expected = table.remembered.clone().unwrap_or_default();
    expected.extend(table.shown.clone());
    if table.listed != expected {
        return Err(format!("gateway lists {:?} instead of {expected:?}", table.listed));
    }
    if table.remembered.is_none() && table.marks.iter().any(|mark| *mark != table.is_stale) {
        return Err(format!("gateway marks wrongly: the region is stale: {}", table.is_stale));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::{instance, service};

    #[test]
    fn a_table_that_lacks_adds_forgets_or_marks_wrongly_is_refused() {
        let seen = |k, value| Seen::from([((service(k), instance(0)), value)]);
        let good = || Listed {
            shown: seen(1, 5),
            remembered: None,
            listed: seen(1, 5),
            is_stale: false,
            marks: vec![false],
        };

        assert!(check(&good()).is_ok());
        assert!(check(&Listed { listed: Seen::new(), ..good() }).is_err());
        assert!(check(&Listed { listed: seen(1, 6), ..good() }).is_err());
        assert!(check(&Listed { remembered: Some(seen(2, 1)), ..good() }).is_err());
        assert!(check(&Listed { is_stale: true, ..good() }).is_err());
    }
}
