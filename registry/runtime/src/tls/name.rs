//! The name in a certificate: `landbridge://deployment/region/role/id`.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The scheme of the URI that names a process.
const SCHEME: &str = "landbridge://";

/// The longest part of a name, in bytes.
pub const PART_BYTES_MAX: usize = 64;

/// Who a process is, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName {
    /// All regions that look like one service world.
    pub deployment: String,
    /// The region the process belongs to.
    pub region: String,
    /// What it does there.
    pub role: PeerRole,
    /// Which one of its role.
    pub id: String,
}

/// What a process is allowed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerRole {
    /// A member of the region's registry.
    Registry,
    /// A sync-bridge of the region.
    Bridge,
    /// A gateway of the region.
    Gateway,
    /// An operator's or a program's client; never serves.
    Client,
}

impl PeerRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Registry, Self::Bridge, Self::Gateway, Self::Client];

    /// The role as written in a certificate.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Bridge => "bridge",
            Self::Gateway => "gateway",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PeerRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| format!("role `{text}` is unknown: it is registry, bridge, gateway or client"))
    }
}

impl PeerName {
    /// Reads the name out of a certificate; the reason of a refusal completes "the certificate …".
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| format!("cannot be parsed ({error})"))?;
        let alternatives = parsed
            .subject_alternative_name()
            .map_err(|error| format!("has alternative names that cannot be parsed ({error})"))?;
        let names = alternatives.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let mut ours = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        });
        let uri = ours.next().ok_or("has no URI name landbridge://deployment/region/role/id")?;
        if ours.next().is_some() {
            return Err("has more than one landbridge:// name".to_owned());
        }
        uri.parse().map_err(|why| format!("is named {}: {why}", uri.escape_default()))
    }
}

/// The name of a certificate that need not be one of ours: its first URI, or else its first DNS name.
pub fn named_in(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let dns = names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    uri.or(dns).map(str::to_owned)
}

impl FromStr for PeerName {
    type Err = String;

    fn from_str(uri: &str) -> Result<Self, String> {
        let rest = uri.strip_prefix(SCHEME).ok_or("the name does not begin with landbridge://")?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [deployment, region, role, id] = parts[..] else {
            return Err("the name is not landbridge://deployment/region/role/id".to_owned());
        };
        Ok(Self {
            deployment: part("deployment", deployment)?,
            region: part("region", region)?,
            role: role.parse()?,
            id: part("id", id)?,
        })
    }
}

fn part(what: &str, text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > PART_BYTES_MAX || !text.bytes().all(fits) {
        return Err(format!(
            "the {what} must be 1 to {PART_BYTES_MAX} lower-case letters, digits and dashes"
        ));
    }
    Ok(text.to_owned())
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}/{}", self.deployment, self.region, self.role, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_written() {
        let name = "landbridge://demo/east/bridge/1".parse::<PeerName>().unwrap();

        assert_eq!(name.region, "east");
        assert_eq!(name.role, PeerRole::Bridge);
        assert_eq!(name.to_string(), "landbridge://demo/east/bridge/1");
    }

    #[test]
    fn names_that_are_not_ours_are_refused() {
        let long = format!("landbridge://demo/{}/bridge/1", "x".repeat(PART_BYTES_MAX + 1));
        for wrong in [
            "spiffe://demo/east/bridge/1",
            "landbridge://demo/east/bridge",
            "landbridge://demo/east/bridge/1/2",
            "landbridge://demo/East/bridge/1",
            "landbridge://demo//bridge/1",
            "landbridge://demo/east/king/1",
            "landbridge://demo/east/bridge/1\n",
            &long,
        ] {
            assert!(wrong.parse::<PeerName>().is_err(), "{wrong:?} was accepted");
        }
    }
}
