//! A service's list of instances as JSON, encoded once per revision and filter.

use bytes::Bytes;
use landbridge_model::ServiceKey;

use super::{
    ClusterFilter,
    json::{flag, quote, whole},
};

/// How long a client may use an answer before it asks again, milliseconds; Nacos 2.x and later say the same to all.
const CACHE_MS: u64 = 10_000;

/// How a service is named inside its own answer, and with which spelling of `allIps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// gRPC: the bare name, and Nacos 3's `allIps`.
    Bare,
    /// HTTP v1 and UDP: `group@@service`, and the older `allIPs`.
    Grouped,
}

/// `ServiceInfo` but for `lastRefTime`, which is a fragment of its own: one encoding serves a query and all pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedService {
    /// Up to and with `"lastRefTime":`.
    before: Bytes,
    after: Bytes,
}

/// Room for a `u64` in decimal.
const NUMBER_BYTES_MAX: usize = 20;

impl EncodedService {
    /// Joins hosts that [`super::encode_host`] encoded; `protected` says that health was forged for the threshold's sake.
    pub fn new(
        naming: Naming,
        service: &ServiceKey,
        filter: &ClusterFilter,
        hosts: &[Bytes],
        protected: bool,
    ) -> Self {
        let length: usize = hosts.iter().map(|host| host.len() + 1).sum();
        let mut json = Vec::with_capacity(length + 192 + filter.as_str().len());
        json.extend_from_slice(br#"{"name":"#);
        match naming {
            Naming::Bare => quote(&mut json, service.service().as_str()),
            Naming::Grouped => quote(&mut json, &service.grouped()),
        }
        json.extend_from_slice(br#","groupName":"#);
        quote(&mut json, service.group().as_str());
        json.extend_from_slice(br#","clusters":"#);
        quote(&mut json, filter.as_str());
        json.extend_from_slice(br#","cacheMillis":"#);
        whole(&mut json, CACHE_MS);
        json.extend_from_slice(br#","hosts":["#);
        for (place, host) in hosts.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            json.extend_from_slice(host);
        }
        json.extend_from_slice(br#"],"lastRefTime":"#);
        Self { before: Bytes::from(json), after: after(naming, protected) }
    }

    /// The whole `ServiceInfo`.
    pub fn answer(&self, last_ref_ms: u64) -> Bytes {
        let mut json = Vec::with_capacity(self.length_max());
        self.write(&mut json, last_ref_ms);
        Bytes::from(json)
    }

    /// The length of the longest answer, in bytes.
    pub fn length_max(&self) -> usize {
        self.before.len() + NUMBER_BYTES_MAX + self.after.len()
    }

    pub(super) fn write(&self, json: &mut Vec<u8>, last_ref_ms: u64) {
        json.extend_from_slice(&self.before);
        whole(json, last_ref_ms);
        json.extend_from_slice(&self.after);
    }
}

fn after(naming: Naming, protected: bool) -> Bytes {
    let mut json = Vec::with_capacity(96);
    json.extend_from_slice(match naming {
        Naming::Bare => br#","checksum":"","allIps":false"#,
        Naming::Grouped => br#","checksum":"","allIPs":false"#,
    });
    json.extend_from_slice(br#","reachProtectionThreshold":"#);
    flag(&mut json, protected);
    json.extend_from_slice(br#","valid":true}"#);
    Bytes::from(json)
}
