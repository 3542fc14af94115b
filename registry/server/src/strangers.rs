//! What this crate itself reads of strangers' bytes, open to whoever wants to try it with bytes that nobody would send.

use landbridge_model::Metadata;

use crate::{
    auth::{Need, token::Tokens},
    probes, upstream,
};

/// How long the tokens of [`Seals`] last, in seconds.
const TOKEN_TTL_S: u64 = 3_600;

/// The tokens of a member that knows one user, at the beginning of all time.
pub struct Seals(Tokens);

impl Seals {
    /// Signs with this key, of at least 32 bytes.
    pub fn new(key: &[u8]) -> Self {
        Self(Tokens::new(key, TOKEN_TTL_S))
    }

    /// The good token of a user with this password hash.
    pub fn issue(&self, name: &str, password: &str) -> String {
        self.0.issue(name, password, 0)
    }

    /// A token with the right signature around any claims.
    pub fn sign(&self, claims: &[u8]) -> String {
        self.0.sign(claims)
    }

    /// Whether a token is good for the only user there is.
    pub fn is_good(&self, token: &str, name: &str, password: &str) -> bool {
        self.0.read(token, 0, |said| (said == name).then(|| password.to_owned())).is_ok()
    }
}

/// Whether a config request over gRPC names the configs that it is about, so that rights to them are enough.
pub fn names_its_configs(type_name: &str, json: &[u8]) -> bool {
    upstream::rule::grpc(type_name, json) != Need::Everything
}

/// Whether a cluster's health checker, as consoles write it, can be carried out.
pub fn is_checker(text: &str) -> bool {
    let metadata = Metadata::new([(format!("{}c", probes::CLUSTER).into(), text.into())]);
    metadata.is_ok_and(|metadata| probes::checker::of(&metadata, "c").is_ok())
}
