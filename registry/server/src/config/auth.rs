//! Whether callers must say who they are, and what their tokens are signed with.

use std::{fmt, path::PathBuf};

use serde::Deserialize;

use crate::auth::token::KEY_BYTES_MIN;

/// The costs of a password hash: bcrypt's least, and one that already takes a processor for seconds.
const COST: std::ops::RangeInclusive<u32> = 4..=15;

/// The shortest life of a token, in milliseconds: clients renew it some seconds before its end.
const TTL_MS_MIN: u64 = 60_000;

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthPage {
    enabled: bool,
    token_key_file: PathBuf,
    token_ttl_ms: u64,
    password_cost: u32,
}

/// Who may ask.
#[derive(Clone)]
pub struct AuthConfig {
    /// Whether callers must say who they are.
    pub enabled: bool,
    /// What tokens are signed with; empty while authentication is off.
    pub token_key: Vec<u8>,
    /// How long a token lasts.
    pub token_ttl_ms: u64,
    /// The cost of new password hashes: each step doubles the work.
    pub password_cost: u32,
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl AuthPage {
    /// Reads the key; there is none by default, since a key that everybody knows signs for everybody.
    pub(super) fn read(&self) -> Result<AuthConfig, String> {
        let Self { enabled, token_key_file, token_ttl_ms, password_cost } = self;
        if *token_ttl_ms < TTL_MS_MIN {
            return Err(format!("token_ttl_ms must be at least {TTL_MS_MIN}"));
        }
        if !COST.contains(password_cost) {
            return Err(format!("password_cost must be {} to {}", COST.start(), COST.end()));
        }
        let token_key = match (enabled, token_key_file.as_os_str().is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => {
                return Err(
                    "enabled needs token_key_file: the same file at every member of the region".to_owned()
                );
            }
            (true, false) => {
                let about = |why: String| format!("token_key_file: {}: {why}", token_key_file.display());
                let key = std::fs::read(token_key_file).map_err(|error| about(error.to_string()))?;
                let key = key.trim_ascii().to_vec();
                if key.len() < KEY_BYTES_MIN {
                    return Err(about(format!("a key has at least {KEY_BYTES_MIN} bytes")));
                }
                key
            }
        };
        let (enabled, token_ttl_ms, password_cost) = (*enabled, *token_ttl_ms, *password_cost);
        Ok(AuthConfig { enabled, token_key, token_ttl_ms, password_cost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(enabled: bool, file: &str) -> AuthPage {
        AuthPage { enabled, token_key_file: file.into(), token_ttl_ms: TTL_MS_MIN, password_cost: 10 }
    }

    #[test]
    fn there_is_no_authentication_without_a_key_of_ones_own() {
        let short = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(short.path(), "x".repeat(KEY_BYTES_MIN - 1)).expect("written");

        assert!(page(true, "").read().is_err_and(|why| why.contains("token_key_file")));
        assert!(page(true, "/nowhere/at/all").read().is_err());
        assert!(page(true, &short.path().display().to_string()).read().is_err());
        assert!(page(false, "").read().is_ok_and(|config| config.token_key.is_empty()));
    }

    #[test]
    fn a_key_is_never_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "x".repeat(KEY_BYTES_MIN)).expect("written");

        let config = page(true, &file.path().display().to_string()).read().expect("a key");

        assert!(config.enabled && !format!("{config:?}").contains("120"));
    }
}
