//! Patterns of fuzzy watches: a namespace, and what groups and services are called (Nacos 3.1 `FuzzyGroupKeyPattern`).

use std::fmt;

use ecow::EcoString;
use landbridge_model::{Namespace, ServiceKey};

use super::Refusal;

/// What stands between the parts of a pattern.
const BETWEEN: &str = ">>";

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_024;

/// Which services are watched: `namespace>>group>>service`, with `*` at the start or the end of group and service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchPattern {
    text: EcoString,
    namespace: Namespace,
    group: Part,
    service: Part,
}

/// One part: a text, and whether more may stand before or after it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Part {
    text: EcoString,
    before: bool,
    after: bool,
}

impl Part {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let (text, before) = text.strip_prefix('*').map_or((text, false), |rest| (rest, true));
        let (text, after) = text.strip_suffix('*').map_or((text, false), |rest| (rest, true));
        let empty = text.is_empty() && !before && !after;
        if empty || text.contains('*') || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Refusal::invalid(
                "a pattern has '*' at the start or the end of group and service only",
            ));
        }
        Ok(Self { text: text.into(), before, after })
    }

    fn fits(&self, name: &str) -> bool {
        // A star alone stands for everything.
        if self.text.is_empty() {
            return true;
        }
        match (self.before, self.after) {
            (false, false) => name == self.text,
            (false, true) => name.starts_with(self.text.as_str()),
            (true, false) => name.ends_with(self.text.as_str()),
            (true, true) => name.contains(self.text.as_str()),
        }
    }
}

impl WatchPattern {
    /// Parses three parts.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(Refusal::invalid(format_args!("a pattern has at most {PATTERN_BYTES_MAX} bytes")));
        }
        let parts: Vec<&str> = text.split(BETWEEN).collect();
        let [namespace, group, service] = parts[..] else {
            return Err(Refusal::invalid("a pattern has three parts: namespace>>group>>service"));
        };
        Ok(Self {
            text: text.into(),
            namespace: Namespace::parse(namespace).map_err(Refusal::invalid)?,
            group: Part::parse(group)?,
            service: Part::parse(service)?,
        })
    }

    /// The text as it came; answers repeat it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The namespace; a pattern names one.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Whether it means this service.
    pub fn fits(&self, service: &ServiceKey) -> bool {
        *service.namespace() == self.namespace
            && self.group.fits(service.group().as_str())
            && self.service.fits(service.service().as_str())
    }
}

impl fmt::Display for WatchPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, (namespace, group, service): (&str, &str, &str)) -> bool {
        let key = ServiceKey::parse(namespace, group, service).expect("a valid key");
        WatchPattern::parse(pattern).expect("a valid pattern").fits(&key)
    }

    #[test]
    fn a_star_stands_before_or_after_and_the_namespace_is_fixed() {
        for (pattern, service, wanted) in [
            ("public>>DEFAULT_GROUP>>*", ("", "", "orders"), true),
            ("public>>*>>*", ("", "pay", "orders"), true),
            ("public>>DEFAULT_GROUP>>*", ("", "pay", "orders"), false),
            ("public>>*>>ord*", ("", "pay", "orders"), true),
            ("public>>*>>*ers", ("", "pay", "orders"), true),
            ("public>>*>>*rder*", ("", "pay", "orders"), true),
            ("public>>*>>order", ("", "pay", "orders"), false),
            ("public>>p*>>orders", ("", "pay", "orders"), true),
            ("dev>>*>>*", ("", "pay", "orders"), false),
            ("dev>>*>>*", ("dev", "pay", "orders"), true),
        ] {
            assert_eq!(fits(pattern, service), wanted, "{pattern} {service:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in [
            "",
            "*",
            "public>>*",
            "public>>*>>*>>*",
            "*>>*>>*",
            "public>>a*b>>*",
            "public>>>>*",
            "public>>*>>a b",
        ] {
            assert!(WatchPattern::parse(wrong).is_err(), "{wrong} was taken");
        }
        assert!(WatchPattern::parse(&format!("public>>*>>{}", "a".repeat(2_000))).is_err());
    }
}
