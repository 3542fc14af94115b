//! Users, roles and permissions, as the region's notes hold them.
//!
//! Invariant: a permission allows what its pattern covers and nothing else; the role `ROLE_ADMIN` alone allows everything.

use std::collections::{BTreeMap, BTreeSet};

use ecow::EcoString;
use serde::{Deserialize, Serialize};

use super::Action;

/// Notes of users begin so; the name follows.
pub(crate) const USER: &str = "auth/user/";

/// Notes of roles begin so; role and user follow.
pub(crate) const ROLE: &str = "auth/role/";

/// Notes of permissions begin so; role, action and resource follow.
pub(crate) const PERMISSION: &str = "auth/permission/";

/// The role that may do everything (Nacos `AuthConstants.GLOBAL_ADMIN_ROLE`).
pub(crate) const ADMIN: &str = "ROLE_ADMIN";

/// The longest name of a user or a role, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The longest resource of a permission, in bytes.
const RESOURCE_BYTES_MAX: usize = 512;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// The bcrypt hash of the password.
    pub(crate) password: String,
}

/// What a role may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    /// `namespace:group:naming/service`, each with `*`; as it was written.
    pub(crate) resource: EcoString,
    /// `r`, `w` or `rw`.
    pub(crate) action: EcoString,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    users: BTreeMap<EcoString, User>,
    roles: BTreeMap<EcoString, BTreeSet<EcoString>>,
    permissions: BTreeMap<EcoString, BTreeSet<Permission>>,
}

impl Book {
    /// Reads it from notes; what cannot be read allows nothing.
    pub(crate) fn read<'a>(notes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut book = Self::default();
        for (name, text) in notes {
            if let Some(user) = name.strip_prefix(USER) {
                if let Ok(read) = serde_json::from_str(text) {
                    book.users.insert(user.into(), read);
                }
            } else if let Some((role, user)) = name.strip_prefix(ROLE).and_then(|rest| rest.split_once('/')) {
                book.roles.entry(user.into()).or_default().insert(role.into());
            } else if let Some(rest) = name.strip_prefix(PERMISSION)
                && let Some((role, rest)) = rest.split_once('/')
                && let Some((action, resource)) = rest.split_once('/')
            {
                let permission = Permission { resource: resource.into(), action: action.into() };
                book.permissions.entry(role.into()).or_default().insert(permission);
            }
        }
        book
    }

    /// A user by name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The users' names, in order.
    pub(crate) fn users(&self) -> impl Iterator<Item = &EcoString> {
        self.users.keys()
    }

    /// Whether there is anybody.
    pub(crate) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Who has which role, in order of users.
    pub(crate) fn roles(&self) -> impl Iterator<Item = (&EcoString, &EcoString)> {
        self.roles.iter().flat_map(|(user, roles)| roles.iter().map(move |role| (role, user)))
    }

    /// Whether a user has a role.
    pub(crate) fn has_role(&self, user: &str, role: &str) -> bool {
        self.roles.get(user).is_some_and(|roles| roles.contains(role))
    }

    /// What roles may do, in order of roles.
    pub(crate) fn permissions(&self) -> impl Iterator<Item = (&EcoString, &Permission)> {
        self.permissions.iter().flat_map(|(role, all)| all.iter().map(move |one| (role, one)))
    }

    /// Whether a user may do everything; a role without its user is worth nothing.
    pub(crate) fn is_admin(&self, user: &str) -> bool {
        self.users.contains_key(user) && self.has_role(user, ADMIN)
    }

    /// Whether so many users would be left who may do everything, without this one.
    pub(crate) fn admins_without(&self, user: &str) -> usize {
        self.users.keys().filter(|name| *name != user && self.is_admin(name)).count()
    }

    /// Whether one of the user's roles allows this.
    pub(crate) fn permits(&self, user: &str, resource: &str, action: Action) -> bool {
        let verb = match action {
            Action::Read => 'r',
            Action::Write => 'w',
        };
        let roles = self.roles.get(user).filter(|_| self.users.contains_key(user)).into_iter().flatten();
        let mut permissions = roles.filter_map(|role| self.permissions.get(role)).flatten();
        permissions.any(|one| one.action.contains(verb) && covers(&one.resource, resource))
    }
}

/// Whether a pattern covers a resource; `*` stands for any text, and a pattern that starts with `:` is of `public`.
fn covers(pattern: &str, resource: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix(':') {
        return resource.strip_prefix("public:").is_some_and(|resource| matches(rest, resource));
    }
    matches(pattern, resource)
}

/// `*` stands for any text. Looks at each part once, where it first fits, which is enough for `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let head = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(tail) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

/// Whether a text may name a user or a role.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(fits)
}

/// Whether a text may be the resource of a permission.
pub(crate) fn is_resource(text: &str) -> bool {
    (1..=RESOURCE_BYTES_MAX).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(notes: &[(&str, &str)]) -> Book {
        Book::read(notes.iter().copied())
    }

    const ALICE: (&str, &str) = ("auth/user/alice", r#"{"password":"x"}"#);

    #[test]
    fn a_permission_allows_what_its_pattern_covers_and_nothing_else() {
        let book = book(&[
            ALICE,
            ("auth/role/shop/alice", "{}"),
            ("auth/permission/shop/r/dev:pay:naming/o*", "{}"),
        ]);

        assert!(book.permits("alice", "dev:pay:naming/orders", Action::Read));
        for (resource, action) in [
            ("dev:pay:naming/orders", Action::Write),
            ("dev:pay:naming/users", Action::Read),
            ("dev:pay:naming/*", Action::Read),
            ("dev2:pay:naming/orders", Action::Read),
            ("xdev:pay:naming/orders", Action::Read),
            ("dev:pay2:naming/orders", Action::Read),
            ("dev:pay:config/orders", Action::Read),
            ("", Action::Read),
        ] {
            assert!(!book.permits("alice", resource, action), "{resource} {action:?}");
        }
    }

    #[test]
    fn roles_and_permissions_without_their_user_are_worth_nothing() {
        let book = book(&[("auth/role/ROLE_ADMIN/bob", "{}"), ("auth/permission/ROLE_ADMIN/rw/*", "{}")]);

        assert!(!book.is_admin("bob") && !book.permits("bob", "dev:pay:naming/orders", Action::Read));
    }

    #[test]
    fn what_cannot_be_read_allows_nothing() {
        let book = book(&[("auth/user/bob", "{"), ("auth/role/ROLE_ADMIN/bob", "{}"), ("auth/role/x", "{}")]);

        assert!(!book.has_users() && !book.is_admin("bob"));
    }

    #[test]
    fn a_resource_that_starts_with_a_colon_is_of_the_public_namespace() {
        assert!(covers(":*:*", "public:g:naming/s") && covers("public:*:*", "public:g:naming/s"));
        assert!(!covers(":*:*", "dev:g:naming/s"));
    }

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_is_special() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a**c", "ac", true),
            ("a.c", "abc", false),
            ("a*a", "a", false),
            ("[ab]", "a", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
