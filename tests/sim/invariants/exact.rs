//! A copy equals its writer at its position, at every moment.

use landbridge_model::{Record, RecordKey};

use crate::sim::{
    invariants::{Held, Row},
    names::Records,
};

pub const ROW: Row = Row {
    name: "I1",
    what: "every copy equals what its writer held at the copy's position, under its view, after every step",
    from: "feeds-spec I1, I8; sync.md D.10 I1, I5",
};

/// `here` must hold exactly the records of `writer`, in whatever order.
pub fn check<'a>(here: impl Iterator<Item = (&'a RecordKey, &'a Record)>, writer: &Records) -> Held {
    let mut count = 0;
    for (key, record) in here {
        count += 1;
        if writer.get(key) != Some(record) {
            return Err(format!("copy differs from the writer at its position: {key:?}"));
        }
    }
    if count == writer.len() { Ok(()) } else { Err("copy lacks what the writer held there".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::{record_key, registered};

    #[test]
    fn a_copy_with_another_value_too_much_or_too_little_is_refused() {
        let writer: Records = [(record_key(0, 1), registered(5)), (record_key(0, 2), registered(6))].into();
        let mut altered = writer.clone();
        altered.insert(record_key(0, 2), registered(7));
        let mut larger = writer.clone();
        larger.insert(record_key(0, 3), registered(8));
        let mut smaller = writer.clone();
        smaller.pop_first();

        assert!(check(writer.iter(), &writer).is_ok());
        for wrong in [altered, larger, smaller] {
            assert!(check(wrong.iter(), &writer).is_err());
        }
    }
}
