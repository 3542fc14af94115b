//! Keeps a process registered as an instance of a service, over the HTTP that plain Nacos clients speak.
//!
//! ```text
//! absent ──registered at any member──▶ there ──beat every BEAT_MS──▶ there
//!    ▲                                   ├── nobody answers: the next member is asked
//!    └────────── told that it is unknown ┘        told to end ──▶ deregistered
//! ```

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::Method;
use landbridge_model::{Address, ServiceKey};
use landbridge_runtime::shutdown::Shutdown;

use crate::admin::Admin;

/// Between two beats.
const BEAT_MS: u64 = 2_000;

/// An instance whose beats stay away so long is called unhealthy.
const UNHEALTHY_MS: u64 = 6_000;

/// And so long, is taken out.
const REMOVE_MS: u64 = 12_000;

/// No member is waited for longer.
const ANSWER_MS: u64 = 2_000;

/// What a member says to a beat of somebody whom it does not know.
const UNKNOWN: u64 = 20_404;

/// What is kept registered.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Members' HTTP addresses, `host:port`; one that answers is enough.
    pub registries: Vec<String>,
    /// As an instance of which service.
    pub service: ServiceKey,
    /// Its address.
    pub ip: Address,
    /// Its port.
    pub port: u16,
    /// What is shown to members that ask who calls.
    pub token: Option<String>,
    /// What it says of itself.
    pub metadata: BTreeMap<String, String>,
}

impl Presence {
    /// Keeps it registered until the process ends, and then takes it out.
    pub fn keep(self, shutdown: &Shutdown) {
        let ending = shutdown.clone();
        shutdown.spawn(async move { self.run(&ending).await });
    }

    async fn run(self, ending: &Shutdown) {
        let members: Vec<Admin> = self
            .registries
            .iter()
            .map(|address| Admin::new(address, self.token.clone(), ANSWER_MS))
            .collect();
        let (mut turn, mut there) = (0, false);
        let mut beats = tokio::time::interval(Duration::from_millis(BEAT_MS));
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beats.tick() => {}
                () = ending.wait() => break,
            }
            for _ in 0..members.len() {
                if let Some(known) = self.tell(&members[turn], there).await {
                    if known && !there {
                        tracing::info!(event = "registered", service = %self.service, "callers are sent here");
                    }
                    there = known;
                    break;
                }
                turn = (turn + 1) % members.len();
            }
        }
        for member in &members {
            if self.said(member, Method::DELETE, &self.path("")).await.is_some() {
                return;
            }
        }
    }

    /// Registers, or beats where it is registered; tells whether it is known there, or nothing if nobody answered well.
    async fn tell(&self, member: &Admin, there: bool) -> Option<bool> {
        if !there {
            return self.said(member, Method::POST, &self.path("")).await.map(|_| true);
        }
        let said = self.said(member, Method::PUT, &self.path("/beat")).await?;
        let said: serde_json::Value = serde_json::from_slice(&said).ok()?;
        Some(said["code"].as_u64() != Some(UNKNOWN))
    }

    async fn said(&self, member: &Admin, method: Method, path: &str) -> Option<Bytes> {
        match member.exchange_in_time(method, path).await {
            Ok((status, body)) if status.is_success() => Some(body),
            Ok((status, body)) => {
                let why = String::from_utf8_lossy(&body).into_owned();
                tracing::warn!(event = "registration_refused", %status, why, "callers are not sent here by it");
                None
            }
            Err(why) => {
                tracing::debug!(event = "registration_unanswered", %why);
                None
            }
        }
    }

    fn path(&self, what: &str) -> String {
        let (service, namespace) = (self.service.grouped(), self.service.namespace().to_string());
        let preserved = [
            ("preserved.heart.beat.interval", BEAT_MS),
            ("preserved.heart.beat.timeout", UNHEALTHY_MS),
            ("preserved.ip.delete.timeout", REMOVE_MS),
        ];
        let mut metadata = self.metadata.clone();
        metadata.extend(preserved.map(|(key, value)| (key.to_owned(), value.to_string())));
        let metadata = serde_json::to_string(&metadata).expect("strings by strings are always JSON");
        format!(
            "/nacos/v1/ns/instance{what}?serviceName={}&namespaceId={}&ip={}&port={}&ephemeral=true&metadata={}",
            escaped(&service),
            escaped(&namespace),
            escaped(self.ip.as_str()),
            self.port,
            escaped(&metadata),
        )
    }
}

/// Text as it may stand in a query (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_stands_in_the_query_whole() {
        let presence = Presence {
            registries: Vec::new(),
            service: ServiceKey::parse("", "", "landbridge-gateway").unwrap(),
            ip: Address::parse("10.0.0.1").unwrap(),
            port: 8_000,
            token: None,
            metadata: [("landbridge.zone".to_owned(), "a&b".to_owned())].into(),
        };

        let path = presence.path("/beat");

        let begin =
            "/nacos/v1/ns/instance/beat?serviceName=DEFAULT_GROUP%40%40landbridge-gateway&namespaceId=public";
        assert!(path.starts_with(begin), "{path}");
        assert!(path.contains("&ip=10.0.0.1&port=8000&ephemeral=true&metadata=%7B"), "{path}");
        assert!(path.contains("%22landbridge.zone%22%3A%22a%26b%22"), "{path}");
        assert!(!path.contains(' ') && !path.contains('"'), "{path}");
    }
}
