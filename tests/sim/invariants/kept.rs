//! A gateway starts with what it kept.

use crate::sim::{
    invariants::{Held, Row},
    model::Seen,
};

pub const ROW: Row = Row {
    name: "G5",
    what: "a gateway starts with what it kept, all of it unverified, and with nothing else",
    from: "DESIGN: the keepsake",
};

/// What was kept and what is listed at the start, and whether all of that is marked unverified.
pub fn check(kept: &Seen, listed: &Seen, is_unverified: bool) -> Held {
    let is_good = kept == listed && is_unverified;
    if is_good { Ok(()) } else { Err("a gateway does not start with what it kept".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::{instance, service};

    #[test]
    fn a_start_with_less_or_without_marks_is_refused() {
        let kept = Seen::from([((service(1), instance(0)), 5)]);

        assert!(check(&kept, &kept, true).is_ok());
        assert!(check(&kept, &Seen::new(), true).is_err());
        assert!(check(&kept, &kept, false).is_err());
    }
}
