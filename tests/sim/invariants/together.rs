//! After the faults everybody shows what the reference model says, no less and no more.

use crate::sim::{
    invariants::{Held, Row},
    model::{Expected, Seen},
};

pub const ROW: Row = Row {
    name: "I5",
    what: "when the faults stop, every holder and every gateway shows what the model says: nothing missing, no phantom",
    from: "feeds-spec I1, I5, I9; sync.md D.10 I1, I5",
};

/// Every expected instance is seen with one of its right values, and no other is.
pub fn check(expected: &Expected, seen: &Seen) -> Held {
    let lacking = expected.keys().find(|place| !seen.contains_key(*place));
    if let Some((service, instance)) = lacking {
        return Err(format!("{service} {instance:?} is missing"));
    }
    for ((service, instance), value) in seen {
        let right = expected.get(&(service.clone(), instance.clone()));
        if !right.is_some_and(|values| values.contains(value)) {
            return Err(format!("{service} {instance:?} shown with {value}, expected {right:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::{instance, service};

    #[test]
    fn what_is_missing_too_much_or_of_another_value_is_refused() {
        let place = |k| (service(k), instance(0));
        let expected: Expected = [(place(1), [5].into()), (place(2), [6, 7].into())].into();

        assert!(check(&expected, &[(place(1), 5), (place(2), 7)].into()).is_ok());
        assert!(check(&expected, &[(place(1), 5)].into()).is_err());
        assert!(check(&expected, &[(place(1), 6), (place(2), 7)].into()).is_err());
        assert!(check(&expected, &[(place(1), 5), (place(2), 7), (place(3), 1)].into()).is_err());
    }
}
