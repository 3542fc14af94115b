//! The three parts of a service's name and the cluster label, with Nacos's limits (`ParamCheckRule`, Nacos 2.5).

use std::{cmp::Ordering, fmt, hash, sync::Arc};

use ecow::EcoString;

/// A name that breaks its rule: what it was for, what came, and which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName {
    what: &'static str,
    came: EcoString,
    rule: EcoString,
}

/// How much of a wrong name an error message repeats, in characters.
const ECHO_CHARS_MAX: usize = 64;

impl InvalidName {
    pub(crate) fn new(what: &'static str, came: &str, rule: &str) -> Self {
        let came = came.chars().take(ECHO_CHARS_MAX).flat_map(char::escape_default).collect();
        Self { what, came, rule: rule.into() }
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\" is not valid: {}", self.what, self.came, self.rule)
    }
}

impl std::error::Error for InvalidName {}

/// Checks length and alphabet of a name.
pub(crate) fn checked(
    what: &'static str,
    text: &str,
    min: usize,
    max: usize,
    alphabet: &str,
    fits: impl Fn(char) -> bool,
) -> Result<EcoString, InvalidName> {
    if text.len() < min || text.len() > max {
        return Err(InvalidName::new(what, text, &format!("its length must be {min} to {max} bytes")));
    }
    match text.chars().find(|c| !fits(*c)) {
        Some(wrong) => {
            let rule = format!("only {alphabet} are allowed, not '{}'", wrong.escape_default());
            Err(InvalidName::new(what, text, &rule))
        }
        None => Ok(text.into()),
    }
}

fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

macro_rules! text_name {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// A tenant's own world of services; empty text means `public`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(EcoString);

/// A set of services inside a namespace; empty text means `DEFAULT_GROUP`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(EcoString);

/// A service's own name inside its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(EcoString);

/// Nacos's label inside a service; empty text means `DEFAULT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster(EcoString);

text_name!(Namespace);
text_name!(Group);
text_name!(ServiceName);
text_name!(Cluster);

impl Namespace {
    /// Parses a namespace id: at most 64 of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = if text.is_empty() { "public" } else { text };
        checked("namespace", text, 1, 64, "letters, digits, '_' and '-'", word).map(Self)
    }
}

impl Group {
    /// Parses a group: at most 128 of `[A-Za-z0-9_:.-]`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = if text.is_empty() { "DEFAULT_GROUP" } else { text };
        let fits = |c| word(c) || c == ':' || c == '.';
        checked("group", text, 1, 128, "letters, digits, '_', '-', ':' and '.'", fits).map(Self)
    }
}

impl ServiceName {
    /// Parses a service name: at most 512 bytes of printable ASCII without blanks and `@@`, not starting with `@`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.starts_with('@') || text.contains("@@") {
            return Err(InvalidName::new("service", text, "it must not start with '@' or contain \"@@\""));
        }
        checked("service", text, 1, 512, "printable ASCII characters", |c| c.is_ascii_graphic()).map(Self)
    }
}

impl Cluster {
    /// Parses a cluster label: at most 64 of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let text = if text.is_empty() { "DEFAULT" } else { text };
        checked("cluster", text, 1, 64, "letters, digits, '_' and '-'", word).map(Self)
    }
}

/// The three parts of a service's name; a clone is a reference.
#[derive(Clone, Debug)]
pub struct ServiceKey(Arc<Parts>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    namespace: Namespace,
    group: Group,
    service: ServiceName,
}

impl ServiceKey {
    /// Joins three valid parts.
    pub fn new(namespace: Namespace, group: Group, service: ServiceName) -> Self {
        Self(Arc::new(Parts { namespace, group, service }))
    }

    /// Parses three parts; the service may be grouped (`group@@service`), which then wins over `group`.
    pub fn parse(namespace: &str, group: &str, service: &str) -> Result<Self, InvalidName> {
        let (group, service) = service.split_once("@@").unwrap_or((group, service));
        Ok(Self::new(Namespace::parse(namespace)?, Group::parse(group)?, ServiceName::parse(service)?))
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The group.
    pub fn group(&self) -> &Group {
        &self.0.group
    }

    /// The service's own name.
    pub fn service(&self) -> &ServiceName {
        &self.0.service
    }

    /// Nacos's grouped name, `group@@service`.
    pub fn grouped(&self) -> String {
        format!("{}@@{}", self.0.group, self.0.service)
    }
}

impl PartialEq for ServiceKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for ServiceKey {}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl hash::Hash for ServiceKey {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@@{}@@{}", self.0.namespace, self.0.group, self.0.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_take_nacos_defaults() {
        let key = ServiceKey::parse("", "", "orders").map(|key| key.to_string());

        assert_eq!(key, Ok("public@@DEFAULT_GROUP@@orders".to_owned()));
    }

    #[test]
    fn a_grouped_service_name_brings_its_group() {
        let key = ServiceKey::parse("dev", "ignored", "pay@@orders").map(|key| key.to_string());

        assert_eq!(key, Ok("dev@@pay@@orders".to_owned()));
    }

    #[test]
    fn names_that_nacos_refuses_are_refused() {
        for wrong in ["", "@a", "a b", "a@@@b", "caf\u{e9}", "a\r\nb", &"a".repeat(513)] {
            assert!(ServiceName::parse(wrong).is_err(), "{wrong:?} was taken");
        }
        assert!(Namespace::parse("a.b").is_err());
        assert!(Group::parse("a/b").is_err());
        assert!(Cluster::parse("a,b").is_err());
    }

    #[test]
    fn an_error_never_repeats_control_characters_or_megabytes() {
        let said = Namespace::parse(&format!("\r\n{}", "x".repeat(1 << 20))).map_err(|e| e.to_string());

        assert!(said.is_err_and(|text| text.len() < 400 && !text.contains('\n')));
    }
}
