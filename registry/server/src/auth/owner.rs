//! Whose an instance is: the user that registered it, kept with its metadata, so that every member of the region knows.
//!
//! Invariant: who is not the owner neither overwrites nor removes; only an admin or the operator stands above that.

use landbridge_model::{Instance, OWNER};

use super::{Principal, book::Book};

/// The instance as its registrant's: the mark is ours alone to set.
pub(crate) fn marked(principal: &Principal, instance: Instance) -> Instance {
    let owner = match principal {
        Principal::Anyone => return instance,
        Principal::Operator => None,
        Principal::User(name) => Some(name.clone()),
    };
    Instance { metadata: instance.metadata.with(OWNER, owner.as_deref()), ..instance }
}

/// Whether a principal may change an instance that is registered. One whose user is gone is free.
pub(crate) fn may_change(principal: &Principal, registered: &Instance, book: &Book) -> bool {
    let Principal::User(name) = principal else { return true };
    match registered.metadata.value(OWNER) {
        Some(owner) => owner == name || book.user(owner).is_none() || book.is_admin(name),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use landbridge_model::Metadata;

    use super::*;

    fn plain(pairs: &[(&str, &str)]) -> Instance {
        let pairs = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Instance::plain(Metadata::new(pairs).expect("within bounds"))
    }

    fn user(name: &str) -> Principal {
        Principal::User(name.into())
    }

    #[test]
    fn an_instance_belongs_to_who_registered_it_whatever_it_says_itself() {
        let claimed = plain(&[(OWNER, "bob"), ("a", "b")]);

        let owner = |principal| marked(&principal, claimed.clone()).metadata.value(OWNER).map(str::to_owned);

        assert_eq!(owner(user("alice")), Some("alice".to_owned()));
        assert_eq!(owner(Principal::Operator), None);
    }

    #[test]
    fn only_its_owner_an_admin_or_the_operator_changes_an_instance() {
        let book = Book::read(
            [
                ("auth/user/alice", r#"{"password":"x"}"#),
                ("auth/user/bob", r#"{"password":"x"}"#),
                ("auth/user/root", r#"{"password":"x"}"#),
                ("auth/role/ROLE_ADMIN/root", "{}"),
            ]
            .into_iter(),
        );
        let of_alice = plain(&[(OWNER, "alice")]);

        assert!(may_change(&user("alice"), &of_alice, &book));
        assert!(!may_change(&user("bob"), &of_alice, &book));
        assert!(may_change(&user("root"), &of_alice, &book));
        assert!(may_change(&Principal::Operator, &of_alice, &book));
        assert!(may_change(&user("bob"), &plain(&[(OWNER, "gone")]), &book));
        assert!(may_change(&user("bob"), &plain(&[]), &book));
    }
}
