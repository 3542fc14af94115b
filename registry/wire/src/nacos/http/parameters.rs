//! Parameters from query and form alike: SDKs put them in either, whatever the method.

use std::{borrow::Cow, fmt, str::FromStr};

use ecow::EcoString;
use landbridge_model::{Address, Cluster, Group, InstanceKey, Metadata, Namespace, ServiceKey};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::nacos::{
    Refusal, codes,
    json::{self, Pairs},
};

/// The most parameters of one call; a call with more is refused.
pub const PARAMETERS_MAX: usize = 64;

/// How much of a wrong value an answer repeats, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// The parameters of one call; a blank one counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(pub(super) Vec<(EcoString, EcoString)>);

impl Parameters {
    /// Reads the query, then the form (empty without one); of equal names the first wins, as in a servlet.
    pub fn read(query: &str, form: &[u8]) -> Result<Self, Refusal> {
        let mut read = Vec::new();
        for part in [query.as_bytes(), form] {
            let pairs: Bounded = serde_urlencoded::from_bytes(part).map_err(Refusal::unreadable)?;
            read.extend(pairs.0);
        }
        if read.len() > PARAMETERS_MAX {
            return Err(Refusal::invalid(format_args!("more than {PARAMETERS_MAX} parameters")));
        }
        Ok(Self(read))
    }

    /// The same with one more parameter, which wins over others of its name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(0, (name.into(), value.into()));
        self
    }

    /// The value of a parameter by the first of its names that has one.
    pub fn value(&self, names: &[&str]) -> Option<&str> {
        let of = |wanted: &str| {
            let mut hits = self.0.iter().filter(|(name, _)| name == wanted);
            hits.next().map(|(_, value)| value.as_str()).filter(|value| !value.trim().is_empty())
        };
        names.iter().find_map(|name| of(name))
    }

    /// The value of a parameter that must be there.
    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.value(&[name]).ok_or_else(|| Refusal::invalid(codes::parameter_required(name)))
    }

    /// A flag in any case (Python sends `True`), or `default`.
    pub fn flag(&self, names: &[&str], default: bool) -> Result<bool, Refusal> {
        Ok(self.given_flag(names)?.unwrap_or(default))
    }

    pub(super) fn given_flag(&self, names: &[&str]) -> Result<Option<bool>, Refusal> {
        let parse = |text| json::flag_from(text).ok_or_else(|| wrong(names[0], text, "true or false"));
        self.value(names).map(parse).transpose()
    }

    /// A number, none if it is not given.
    pub fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        let parse =
            |text: &str| text.trim().parse().map_err(|_| wrong(name, text, "a number within its range"));
        self.value(&[name]).map(parse).transpose()
    }

    pub(super) fn namespace(&self) -> &str {
        self.value(&["namespaceId"]).unwrap_or("")
    }

    /// The service that `namespaceId`, `groupName` and `serviceName` name; the last may bring its group.
    pub fn service(&self) -> Result<ServiceKey, Refusal> {
        let name = self.required("serviceName")?;
        let group = self.value(&["groupName"]).unwrap_or("");
        ServiceKey::parse(self.namespace(), group, name).map_err(Refusal::invalid)
    }

    pub(super) fn namespace_and_group(&self) -> Result<(Namespace, Group), Refusal> {
        let namespace = Namespace::parse(self.namespace()).map_err(Refusal::invalid)?;
        let group = Group::parse(self.value(&["groupName"]).unwrap_or("")).map_err(Refusal::invalid)?;
        Ok((namespace, group))
    }

    pub(super) fn cluster(&self) -> Result<Option<Cluster>, Refusal> {
        let text = self.value(&["clusterName", "cluster"]);
        text.map(|text| Cluster::parse(text).map_err(Refusal::invalid)).transpose()
    }

    pub(super) fn instance_key(&self) -> Result<InstanceKey, Refusal> {
        let ip = Address::parse(self.required("ip")?.trim()).map_err(Refusal::invalid)?;
        self.required("port")?;
        let port = self.number("port")?.unwrap_or_default();
        let cluster = self.cluster()?.map_or_else(|| Cluster::parse("").map_err(Refusal::invalid), Ok)?;
        Ok(InstanceKey { ip, port, cluster })
    }

    /// A weight within Nacos's range, none if it is not given.
    pub(super) fn weight(&self) -> Result<Option<f64>, Refusal> {
        let weight = self.number::<f64>("weight")?;
        if weight.is_some_and(|weight| !(0.0..=10_000.0).contains(&weight)) {
            return Err(Refusal::invalid(codes::WEIGHT_TEXT));
        }
        Ok(weight)
    }

    /// Metadata as a JSON object or as `k=v,k=v`, none if it is not given.
    pub fn metadata(&self) -> Result<Option<Metadata>, Refusal> {
        let Some(text) = self.value(&["metadata"]) else { return Ok(None) };
        let pairs = match json::read::<Pairs>("metadata", text.as_bytes()) {
            Ok(pairs) => pairs.0,
            Err(_) => text.split(',').map(pair).collect::<Option<_>>().ok_or_else(|| {
                let text: String = text.chars().take(ECHO_CHARS_MAX).collect();
                Refusal::invalid(format_args!("metadata format incorrect:{text}"))
            })?,
        };
        Metadata::new(pairs).map(Some).map_err(Refusal::invalid)
    }
}

/// The pairs of one part, one more than may be at most.
struct Bounded(Vec<(EcoString, EcoString)>);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(EcoString, EcoString)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("parameters")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, Cow<'de, str>>()? {
                    if pairs.len() <= PARAMETERS_MAX {
                        pairs.push((name.as_ref().into(), value.as_ref().into()));
                    }
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Reader).map(Bounded)
    }
}

fn pair(text: &str) -> Option<(EcoString, EcoString)> {
    let (key, value) = text.split_once('=')?;
    (!key.is_empty() && !value.contains('=')).then(|| (key.into(), value.into()))
}

fn wrong(name: &str, text: &str, rule: &str) -> Refusal {
    let text: String = text.chars().take(ECHO_CHARS_MAX).flat_map(char::escape_default).collect();
    Refusal::invalid(format_args!("Param '{name}' must be {rule}, not \"{text}\""))
}
