//! What may leave a region: export policies, which select by service key and never by value (R17).

use ecow::EcoString;

use crate::{
    feed::Position,
    name::{InvalidName, ServiceKey, checked},
};

/// The most globs in one policy's list.
pub const GLOBS_MAX: usize = 1024;

/// A pattern over service keys, `namespace/group/service`, in which `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGlob(EcoString, EcoString, EcoString);

impl KeyGlob {
    /// Parses `namespace/group/service`; each part at most 512 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let mut parts = text.splitn(3, '/').map(|part| {
            checked("glob part", part, 1, 512, "printable ASCII characters", |c| c.is_ascii_graphic())
        });
        match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(group), Some(service)) => Ok(Self(namespace?, group?, service?)),
            _ => Err(InvalidName::new(
                "glob",
                text,
                "it must be namespace/group/service, for example public/*/*",
            )),
        }
    }

    /// Whether the key matches in all three parts.
    pub fn matches(&self, key: &ServiceKey) -> bool {
        glob(&self.0, key.namespace().as_str())
            && glob(&self.1, key.group().as_str())
            && glob(&self.2, key.service().as_str())
    }
}

impl std::fmt::Display for KeyGlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.0, self.1, self.2)
    }
}

/// Matches with backtracking to the last star only, so its cost is bounded by the product of both lengths.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Which services a peer region may see: denied unless allowed, and a denial wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportPolicy {
    /// The Raft position of the command that set it: the name of the view it makes. It travels with the policy, so that
    /// an exporter that learnt the policy by a reconcile names the same view.
    pub since: Position,
    /// What may leave.
    pub allow: Vec<KeyGlob>,
    /// What stays in spite of that.
    pub deny: Vec<KeyGlob>,
}

impl ExportPolicy {
    /// Whether the service may leave.
    pub fn selects(&self, key: &ServiceKey) -> bool {
        let hit = |globs: &[KeyGlob]| globs.iter().any(|glob| glob.matches(key));
        hit(&self.allow) && !hit(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(service: &str) -> ServiceKey {
        ServiceKey::parse("public", "pay", service).expect("a valid key")
    }

    fn globs(list: &[&str]) -> Vec<KeyGlob> {
        list.iter().map(|text| KeyGlob::parse(text).expect("a valid glob")).collect()
    }

    #[test]
    fn nothing_leaves_unless_allowed_and_a_denial_wins() {
        let policy = ExportPolicy {
            since: Position::NONE,
            allow: globs(&["public/*/ord*"]),
            deny: globs(&["*/*/*-internal"]),
        };

        assert!(!ExportPolicy::default().selects(&key("orders")));
        assert!(policy.selects(&key("orders")));
        assert!(!policy.selects(&key("orders-internal")));
        assert!(!policy.selects(&key("payments")));
    }

    #[test]
    fn stars_stand_for_any_run_of_characters() {
        let hits = |pattern: &str, text: &str| glob(pattern, text);

        assert!(hits("*", "") && hits("a*c", "abbc") && hits("*b*", "abc") && hits("a**", "a"));
        assert!(!hits("a*c", "abcd") && !hits("", "a") && !hits("*x", "abc"));
    }

    #[test]
    fn a_glob_has_three_parts() {
        assert!(KeyGlob::parse("public/*").is_err());
        assert!(KeyGlob::parse("public//x").is_err());
        assert_eq!(globs(&["a/b/c/d"])[0].to_string(), "a/b/c/d");
    }
}
