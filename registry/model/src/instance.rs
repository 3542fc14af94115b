//! One address of a service, as registered.

use std::{fmt, sync::Arc};

use ecow::EcoString;

use crate::{
    name::{Cluster, InvalidName, checked},
    place::Zone,
};

/// The address text of an instance: an IP address or a host name, at most 128 bytes (Nacos `ParamCheckRule`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(EcoString);

impl Address {
    /// Parses an address: letters, digits, dots, colons, dashes, underscores and brackets (IPv6).
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '[' | ']' | '%');
        checked("ip", text, 1, 128, "the characters of an IP address or host name", fits).map(Self)
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What tells one instance of a service from another: Nacos's metadata id `ip:port:cluster`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// The address.
    pub ip: Address,
    /// The port, 0 allowed as in Nacos.
    pub port: u16,
    /// The label inside the service.
    pub cluster: Cluster,
}

impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.ip, self.port, self.cluster)
    }
}

/// The greatest total length of keys and values of one instance's metadata, in characters (Nacos default 1024;
/// a wider bound is a member's setting, this is what any holder accepts).
pub const METADATA_CHARS_MAX: usize = 16 * 1024;

/// The metadata key under which a registry that knows its users keeps who registered an instance; clients cannot set it.
pub const OWNER: &str = "landbridge.owner";

/// The most pairs in one metadata.
pub const METADATA_PAIRS_MAX: usize = 256;

/// Key-value pairs in key order; a clone is a reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata(Option<Arc<[(EcoString, EcoString)]>>);

impl Metadata {
    /// Sorts pairs by key; of equal keys the last wins. Refuses more than the bounds of this module.
    pub fn new(pairs: impl IntoIterator<Item = (EcoString, EcoString)>) -> Result<Self, InvalidName> {
        let map: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        let length: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if map.len() > METADATA_PAIRS_MAX || length > METADATA_CHARS_MAX {
            let rule = format!(
                "at most {METADATA_PAIRS_MAX} pairs and {METADATA_CHARS_MAX} bytes in all are allowed"
            );
            let came = format!("{} pairs, {length} bytes", map.len());
            return Err(InvalidName::new("metadata", &came, &rule));
        }
        Ok(Self((!map.is_empty()).then(|| map.into_iter().collect())))
    }

    /// The pairs in key order.
    pub fn pairs(&self) -> &[(EcoString, EcoString)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&str> {
        let pairs = self.pairs();
        let at = pairs.binary_search_by(|(name, _)| name.as_str().cmp(key)).ok()?;
        Some(pairs[at].1.as_str())
    }

    /// The same with this value under a key, or without the key; as it is where that would break its bounds.
    pub fn with(&self, key: &str, value: Option<&str>) -> Self {
        if self.value(key) == value {
            return self.clone();
        }
        let others = self.pairs().iter().filter(|(name, _)| name != key).cloned();
        let pairs = others.chain(value.map(|value| (key.into(), value.into())));
        Self::new(pairs).unwrap_or_else(|_| self.clone())
    }

    /// Total length of keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.pairs().iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// What was registered for an [`InstanceKey`].
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Share of traffic, 0 to 10,000; 0 means none.
    pub weight: f64,
    /// What the client or a probe says of it.
    pub healthy: bool,
    /// False hides it from lists and subscribers.
    pub enabled: bool,
    /// Free pairs.
    pub metadata: Metadata,
}

impl Instance {
    /// An instance of weight 1 that is healthy and enabled.
    pub fn plain(metadata: Metadata) -> Self {
        Self { weight: 1.0, healthy: true, enabled: true, metadata }
    }

    /// Weight as Nacos bounds it: 0 to 10,000, and a weight between 0 and 0.01 is 0.01; not-a-number is 1.
    pub fn bounded_weight(weight: f64) -> f64 {
        if weight.is_nan() {
            1.0
        } else if weight > 0.0 {
            weight.clamp(0.01, 10_000.0)
        } else {
            0.0
        }
    }

    /// The zone that its metadata names (`landbridge.zone`, else `zone`), else unknown.
    pub fn zone(&self) -> Zone {
        ["landbridge.zone", "zone"]
            .into_iter()
            .find_map(|key| Zone::parse(self.metadata.value(key)?).ok())
            .unwrap_or_else(Zone::unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Metadata {
        Metadata::new(list.iter().map(|(k, v)| ((*k).into(), (*v).into()))).expect("within bounds")
    }

    #[test]
    fn our_own_zone_label_wins_over_the_plain_one() {
        let both = Instance::plain(pairs(&[("zone", "b"), ("landbridge.zone", "a")]));
        let none = Instance::plain(pairs(&[("zone", "Not A Zone")]));

        assert_eq!(both.zone().as_str(), "a");
        assert_eq!(none.zone(), Zone::unknown());
    }

    #[test]
    fn weights_are_bounded_as_nacos_does() {
        let bounded = [-1.0, 0.0, 0.001, 1.0, 1e9, f64::NAN].map(Instance::bounded_weight);

        assert_eq!(bounded, [0.0, 0.0, 0.01, 1.0, 10_000.0, 1.0]);
    }

    #[test]
    fn metadata_beyond_its_bound_is_refused() {
        assert!(Metadata::new((0..257).map(|i| (ecow::eco_format!("{i}"), "".into()))).is_err());
        assert!(Metadata::new([("k".into(), "v".repeat(METADATA_CHARS_MAX).into())]).is_err());
    }
}
