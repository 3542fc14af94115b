//! Tokens: JWT with one algorithm, HS256, and one header, compared byte by byte.
//!
//! Invariant: nothing of a token is parsed before its signature was found to be ours.
//! Invariant: a token ends with its time, with its user, and with its user's password.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ecow::EcoString;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// The only header there is.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 2_048;

/// The shortest key, in bytes: as long as what it signs with.
pub(crate) const KEY_BYTES_MIN: usize = 32;

/// What a token says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    /// The user.
    sub: String,
    /// When it ends, unix seconds.
    exp: u64,
    /// What the user's password was, beyond recognition.
    pwd: String,
}

/// Makes tokens, and knows its own.
pub(crate) struct Tokens {
    key: hmac::Key,
    header: String,
    ttl_s: u64,
}

impl Tokens {
    /// Signs with this key, of at least [`KEY_BYTES_MIN`] bytes; a token lasts for so many seconds.
    pub(crate) fn new(key: &[u8], ttl_s: u64) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), header: BASE64.encode(HEADER), ttl_s }
    }

    /// How long a token lasts, in seconds.
    pub(crate) fn ttl_s(&self) -> u64 {
        self.ttl_s
    }

    /// A token for a user with this password hash.
    pub(crate) fn issue(&self, name: &str, password: &str, now_s: u64) -> String {
        let claims =
            Claims { sub: name.into(), exp: now_s + self.ttl_s, pwd: self.fingerprint(name, password) };
        self.sign(&serde_json::to_vec(&claims).expect("two texts and a number are JSON"))
    }

    /// A token that says anything at all.
    pub(crate) fn sign(&self, claims: &[u8]) -> String {
        let signed = format!("{}.{}", self.header, BASE64.encode(claims));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// The user a token is for; `password` tells a user's password hash, none if there is no such user.
    pub(crate) fn read(
        &self,
        token: &str,
        now_s: u64,
        password: impl FnOnce(&str) -> Option<String>,
    ) -> Result<EcoString, &'static str> {
        const INVALID: &str = "token invalid!";
        if token.len() > TOKEN_BYTES_MAX {
            return Err(INVALID);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(INVALID)?;
        let (header, claims) = signed.split_once('.').ok_or(INVALID)?;
        if header != self.header {
            return Err(INVALID);
        }
        let signature = BASE64.decode(signature).map_err(|_| INVALID)?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).map_err(|_| INVALID)?;
        let claims = BASE64.decode(claims).map_err(|_| INVALID)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| INVALID)?;
        if claims.exp <= now_s {
            return Err("token expired!");
        }
        let password = password(&claims.sub).ok_or("unknown user!")?;
        if self.fingerprint(&claims.sub, &password) != claims.pwd {
            return Err("token expired!");
        }
        Ok(claims.sub.into())
    }

    fn fingerprint(&self, name: &str, password: &str) -> String {
        let tag = hmac::sign(&self.key, format!("password of {name}: {password}").as_bytes());
        BASE64.encode(&tag.as_ref()[..9])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const HOUR_S: u64 = 3_600;

    fn tokens() -> Tokens {
        Tokens::new(KEY, HOUR_S)
    }

    fn read(token: &str, now_s: u64) -> Result<EcoString, &'static str> {
        tokens().read(token, now_s, |name| (name == "alice").then(|| "hash".into()))
    }

    fn signed(header: &str, claims: &str, key: &hmac::Key) -> String {
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let tag = hmac::sign(key, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(tag))
    }

    #[test]
    fn a_token_is_good_until_its_time_and_no_longer() {
        let token = tokens().issue("alice", "hash", 100);

        assert_eq!(read(&token, 100 + HOUR_S - 1), Ok("alice".into()));
        assert_eq!(read(&token, 100 + HOUR_S), Err("token expired!"));
    }

    #[test]
    fn of_many_mutations_of_a_token_only_the_token_itself_is_good() {
        let good = tokens().issue("alice", "hash", 100);
        let mut state = 1_u64;
        let mut draw = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below.max(1)
        };

        for _ in 0..20_000 {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..=draw(3) {
                if bytes.is_empty() {
                    break;
                }
                let at = draw(bytes.len());
                match draw(4) {
                    0 => bytes[at] = draw(128) as u8,
                    1 => drop(bytes.drain(at..)),
                    2 => bytes.insert(at, b"._-=A"[draw(5)]),
                    _ => bytes.swap(at, draw(at + 1)),
                }
            }
            let token = String::from_utf8_lossy(&bytes);
            assert_eq!(read(&token, 101).is_ok(), token == good, "{token}");
        }
    }

    #[test]
    fn a_token_ends_with_its_users_password_and_with_its_user() {
        let changed = tokens().issue("alice", "older hash", 100);
        let gone = tokens().issue("bob", "hash", 100);

        assert_eq!(read(&changed, 101), Err("token expired!"));
        assert_eq!(read(&gone, 101), Err("unknown user!"));
    }

    #[test]
    fn no_bad_token_is_ever_good() {
        let good = tokens().issue("alice", "hash", 100);
        let (signed_part, signature) = good.rsplit_once('.').expect("a token has three parts");
        let (header, claims) = signed_part.split_once('.').expect("a token has three parts");
        let text = String::from_utf8(BASE64.decode(claims).expect("base64")).expect("text");
        let ours = hmac::Key::new(hmac::HMAC_SHA256, KEY);
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"another key of thirty-two bytes!!");
        let longer = hmac::Key::new(hmac::HMAC_SHA512, KEY);
        let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let bad = [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            "null".to_owned(),
            format!("Bearer {good}"),
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            signed(r#"{"alg":"none","typ":"JWT"}"#, &text, &ours),
            signed(r#"{"alg":"HS512","typ":"JWT"}"#, &text, &longer),
            signed(r#"{"alg":"HS384","typ":"JWT"}"#, &text, &ours),
            signed(r#"{"alg":"RS256","typ":"JWT"}"#, &text, &ours),
            signed(r#"{"alg":"hs256","typ":"JWT"}"#, &text, &ours),
            signed(r#"{"alg":"HS256","typ":"JWT","crit":["x"]}"#, &text, &ours),
            signed(r#"{"alg":"HS256","jwk":{"kty":"oct","k":""}}"#, &text, &ours),
            signed(r#"{"alg":"HS256","kid":"../../dev/null","typ":"JWT"}"#, &text, &ours),
            signed(HEADER, &text, &other),
            signed(HEADER, "{}", &ours),
            signed(HEADER, "not json", &ours),
            signed(HEADER, r#"{"sub":"alice"}"#, &ours),
            signed(HEADER, r#"{"sub":"alice","exp":99999999999}"#, &ours),
            signed(HEADER, r#"{"sub":"alice","exp":"99999999999","pwd":"x"}"#, &ours),
            signed(HEADER, r#"{"sub":"alice","exp":99999999999,"pwd":""}"#, &ours),
            signed(HEADER, r#"{"sub":"","exp":99999999999,"pwd":"x"}"#, &ours),
            signed(HEADER, r#"{"sub":["alice"],"exp":99999999999,"pwd":"x"}"#, &ours),
            signed_part.to_owned(),
            format!("{signed_part}."),
            good[..good.len() - 1].to_owned(),
            good[1..].to_owned(),
            format!("{good}="),
            format!("{good}A"),
            format!("{good}.{signature}"),
            format!("{header}.{}.{signature}", BASE64.encode(text.replace("alice", "admin"))),
            format!("{header}.{claims}.{}", BASE64.encode([0; 32])),
            format!("{header}.{claims}.{}", signature.to_uppercase()),
            format!("{header}.{claims}.{}", "A".repeat(1 << 20)),
            format!(" {good}"),
            good.replace('.', "\u{2024}"),
        ];

        assert!(bad.len() > 20);
        assert_eq!(read(&good, 101), Ok("alice".into()));
        for token in bad {
            let shown: String = token.chars().take(120).collect();
            assert!(read(&token, 101).is_err(), "{shown} was taken");
        }
    }
}
