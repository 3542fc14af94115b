//! How an endpoint wants to be spoken to: which HTTP, and whether through TLS.

use std::str::FromStr;

use ecow::EcoString;
use landbridge_model::Metadata;

/// The metadata key with which an instance says what it speaks.
const PROTOCOL_KEY: &str = "landbridge.protocol";

/// The metadata key with which an instance says what its certificate is made out to.
const TLS_NAME_KEY: &str = "landbridge.tls-name";

/// What Spring Cloud writes for a server that speaks HTTP over TLS.
const SECURE_KEY: &str = "secure";

/// What an endpoint speaks. gRPC is HTTP/2 whatever is said here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 in clear text.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in clear text, without negotiation.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 to a gateway of another region, each side known by the deployment's certificates; nobody can ask for it.
    Relay,
}

impl Protocol {
    /// True if bytes travel through TLS.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Https | Self::H2 | Self::Relay => true,
            Self::Http | Self::H2c => false,
        }
    }

    /// True if all calls travel as HTTP/2.
    pub fn is_http2(self) -> bool {
        match self {
            Self::H2c | Self::H2 | Self::Relay => true,
            Self::Http | Self::Https => false,
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "h2c" => Ok(Self::H2c),
            "h2" => Ok(Self::H2),
            other => Err(format!("{other:?} is none of http, https, h2c and h2")),
        }
    }
}

/// How an endpoint wants to be spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speech {
    /// What it speaks.
    pub protocol: Protocol,
    /// The name its certificate must be made out to; `None` for its address.
    pub tls_name: Option<EcoString>,
}

impl Speech {
    /// What an instance's metadata says; what cannot be read counts as not said.
    pub fn of(metadata: &Metadata) -> Self {
        let said = metadata.value(PROTOCOL_KEY).and_then(|text| text.parse().ok());
        let secure = || metadata.value(SECURE_KEY).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let plain = || if secure() { Protocol::Https } else { Protocol::Http };
        Self {
            protocol: said.unwrap_or_else(plain),
            tls_name: metadata.value(TLS_NAME_KEY).filter(|name| !name.is_empty()).map(EcoString::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Speech {
        let pairs = pairs.iter().map(|(key, value)| (EcoString::from(*key), EcoString::from(*value)));
        Speech::of(&Metadata::new(pairs).unwrap())
    }

    #[test]
    fn an_instance_that_says_nothing_speaks_plain_http() {
        assert_eq!(of(&[]), Speech::default());
        assert_eq!(of(&[("landbridge.protocol", "gopher")]), Speech::default());
        assert_eq!(of(&[("secure", "false")]), Speech::default());
    }

    #[test]
    fn metadata_says_what_is_spoken_and_our_own_key_wins() {
        assert_eq!(of(&[("secure", "true")]).protocol, Protocol::Https);
        assert_eq!(of(&[("secure", "true"), ("landbridge.protocol", "h2c")]).protocol, Protocol::H2c);
        let told = of(&[("landbridge.protocol", "h2"), ("landbridge.tls-name", "orders.internal")]);
        assert_eq!(told, Speech { protocol: Protocol::H2, tls_name: Some("orders.internal".into()) });
    }
}
