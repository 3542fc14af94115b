//! Reads a configuration page from its layers: defaults < file < environment < command line.
//!
//! Invariant: an unknown key is a mistake, never silence; every mistake that can be seen is told in one go, with the
//! place it stands in and a way to mend it.

mod layers;
mod mistakes;

use std::path::Path;

use serde::de::DeserializeOwned;

/// What every environment variable that sets a key begins with; `__` stands between the parts of a key.
pub const ENVIRONMENT_PREFIX: &str = "LANDBRIDGE_";

/// Where a page comes from, lowest layer first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// A page in TOML that lies under everything, usually one of `configs/`; may be empty.
    pub defaults: &'a str,
    /// The operator's file.
    pub file: Option<&'a Path>,
    /// Variables such as `("LANDBRIDGE_HTTP__DRAIN_MS", "500")`; others are left alone.
    pub environment: &'a [(String, String)],
    /// Pairs such as `http.drain_ms=500`.
    pub sets: &'a [String],
}

/// Reads a page, or tells everything that is wrong with it at once.
///
/// A page refuses unknown keys itself (`#[serde(deny_unknown_fields)]` on every struct of it).
pub fn load<Page: DeserializeOwned>(layers: &Layers<'_>) -> Result<Page, Vec<String>> {
    let stack = layers::Stack::read(layers)?;
    mistakes::read_page(stack)
}

/// The variables of this process that set keys: those with our prefix but for `reserved` ones, which mean something to
/// the command line, and those Kubernetes puts there for a Service whose name begins like our prefix.
pub fn environment(reserved: &[&str]) -> Vec<(String, String)> {
    let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    ours.filter(|(name, value)| {
        name.starts_with(ENVIRONMENT_PREFIX)
            && !reserved.contains(&name.as_str())
            && !is_service_link(name, &value.to_string_lossy())
    })
    .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
    .collect()
}

/// Whether Kubernetes made this variable for a Service.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = value.starts_with("tcp://") || value.starts_with("udp://");
    let transport = |suffix: &str| name.contains("_PORT_") && name.ends_with(suffix);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_url)
        || ["_TCP", "_UDP", "_PROTO", "_PORT", "_ADDR"].into_iter().any(transport)
}

#[cfg(test)]
mod tests;
