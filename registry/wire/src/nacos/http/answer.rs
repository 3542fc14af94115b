//! Bodies of HTTP answers, with the members that SDKs and people know.

use bytes::Bytes;
use landbridge_model::{Instance, InstanceKey, ServiceKey};

use crate::nacos::{
    Lease, codes,
    instance::{instance_id, pairs},
    json::{flag, quote, real, texts, whole},
};

/// Answers every v1 write.
pub const OK: &str = "ok";

/// Answers `/v1/console/health/liveness` and `/readiness`.
pub const HEALTHY: &str = "OK";

/// Answers `/v1/cs/health`.
pub const CONFIG_HEALTHY: &str = "UP";

/// Answers a read of an unknown config, with 404.
pub const CONFIG_NOT_FOUND: &str = "config data not exist\n";

/// Which version's member names an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A bare object.
    V1,
    /// The same inside a `Result`, with some members renamed.
    V2,
}

/// Answers a beat: how often to beat, whether the instance is known, and whether light beats will do.
pub fn beat(lease: Lease, known: bool, light: bool) -> Bytes {
    let mut json = br#"{"clientBeatInterval":"#.to_vec();
    whole(&mut json, lease.interval_ms);
    json.extend_from_slice(br#","code":"#);
    whole(&mut json, if known { codes::BEAT_OK } else { codes::BEAT_UNKNOWN }.into());
    json.extend_from_slice(br#","lightBeatEnabled":"#);
    flag(&mut json, light);
    json.push(b'}');
    json.into()
}

/// Answers a look at one instance; the caller wraps it for v2 ([`result`]).
pub fn instance(version: Version, service: &ServiceKey, key: &InstanceKey, instance: &Instance) -> Bytes {
    let grouped = service.grouped();
    let mut json = match version {
        Version::V1 => br#"{"service":"#.to_vec(),
        Version::V2 => br#"{"serviceName":"#.to_vec(),
    };
    quote(&mut json, &grouped);
    json.extend_from_slice(br#","ip":"#);
    quote(&mut json, key.ip.as_str());
    json.extend_from_slice(br#","port":"#);
    whole(&mut json, key.port.into());
    json.extend_from_slice(br#","clusterName":"#);
    quote(&mut json, key.cluster.as_str());
    json.extend_from_slice(br#","weight":"#);
    real(&mut json, instance.weight);
    json.extend_from_slice(br#","healthy":"#);
    flag(&mut json, instance.healthy);
    json.extend_from_slice(br#","instanceId":"#);
    quote(&mut json, &instance_id(&grouped, key));
    json.extend_from_slice(br#","metadata":"#);
    pairs(&mut json, &instance.metadata);
    json.push(b'}');
    json.into()
}

/// Answers a list of service names: how many there are, and one page of them; the caller wraps it for v2 ([`result`]).
pub fn service_list<'a>(version: Version, count: usize, names: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut json = br#"{"count":"#.to_vec();
    whole(&mut json, count as u64);
    json.extend_from_slice(match version {
        Version::V1 => br#","doms":"#,
        Version::V2 => br#","services":"#,
    });
    texts(&mut json, names);
    json.push(b'}');
    json.into()
}

/// A v2 or v3 success around JSON.
pub fn result(data: &[u8]) -> Bytes {
    [&br#"{"code":0,"message":"success","data":"#[..], data, b"}"].concat().into()
}

/// A v2 or v3 success of a write.
pub fn result_ok() -> Bytes {
    Bytes::from_static(br#"{"code":0,"message":"success","data":"ok"}"#)
}

/// A v2 or v3 failure: a short text, and the detail if there is one.
pub fn result_failure(code: u32, message: &str, detail: Option<&str>) -> Bytes {
    let mut json = br#"{"code":"#.to_vec();
    whole(&mut json, code.into());
    json.extend_from_slice(br#","message":"#);
    quote(&mut json, message);
    if let Some(detail) = detail {
        json.extend_from_slice(br#","data":"#);
        quote(&mut json, detail);
    }
    json.push(b'}');
    json.into()
}

/// Says that the caller has no right, with 403, in the shape of the framework that Nacos is built on.
pub fn denied(path: &str, message: &str) -> Bytes {
    let mut json = br#"{"status":403,"error":"Forbidden","message":"#.to_vec();
    quote(&mut json, message);
    json.extend_from_slice(br#","path":"#);
    quote(&mut json, path);
    json.push(b'}');
    json.into()
}

/// What `/v1/ns/operator/metrics` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Services.
    pub services: u64,
    /// Instances.
    pub instances: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Instances this member answers for.
    pub own_instances: u64,
    /// Clients of any kind.
    pub clients: u64,
    /// Clients by connection.
    pub connections: u64,
    /// Clients by beats.
    pub beating: u64,
    /// Persistent instances.
    pub persistent: u64,
}

/// Answers `/v1/ns/operator/metrics`, which Java 1.x, Go and Node ask at start; the counts unless `onlyStatus`.
pub fn metrics(status: &str, counts: Option<Counts>) -> Bytes {
    let mut json = br#"{"status":"#.to_vec();
    quote(&mut json, status);
    if let Some(counts) = counts {
        for (name, count) in [
            ("serviceCount", counts.services),
            ("instanceCount", counts.instances),
            ("subscribeCount", counts.subscriptions),
            ("responsibleInstanceCount", counts.own_instances),
            ("clientCount", counts.clients),
            ("connectionBasedClientCount", counts.connections),
            ("ephemeralIpPortClientCount", counts.beating),
            ("persistentIpPortClientCount", counts.persistent),
            ("responsibleClientCount", counts.clients),
        ] {
            json.push(b',');
            quote(&mut json, name);
            json.push(b':');
            whole(&mut json, count);
        }
    }
    json.push(b'}');
    json.into()
}

/// Answers `/v1/ns/health/server`.
pub fn health_server(services: usize) -> Bytes {
    let text = format!("Hello! I am Nacos-Naming and healthy! total services: {services}");
    let mut json = br#"{"msg":"#.to_vec();
    quote(&mut json, &text);
    json.push(b'}');
    json.into()
}

/// Answers a login.
pub fn login(token: &str, ttl_s: u64, admin: bool, username: &str) -> Bytes {
    let mut json = br#"{"accessToken":"#.to_vec();
    quote(&mut json, token);
    json.extend_from_slice(br#","tokenTtl":"#);
    whole(&mut json, ttl_s);
    json.extend_from_slice(br#","globalAdmin":"#);
    flag(&mut json, admin);
    json.extend_from_slice(br#","username":"#);
    quote(&mut json, username);
    json.push(b'}');
    json.into()
}

#[cfg(test)]
mod tests {
    use landbridge_model::{Address, Cluster, Metadata};

    use super::*;

    fn key() -> InstanceKey {
        InstanceKey {
            ip: Address::parse("10.0.0.1").expect("a valid address"),
            port: 80,
            cluster: Cluster::parse("").expect("a valid cluster"),
        }
    }

    fn orders() -> ServiceKey {
        ServiceKey::parse("public", "g", "s").expect("a valid key")
    }

    #[test]
    fn a_beat_is_answered_with_nacos_codes() {
        assert_eq!(
            beat(Lease::PLAIN, true, true),
            r#"{"clientBeatInterval":5000,"code":10200,"lightBeatEnabled":true}"#
        );
        assert_eq!(
            beat(Lease { interval_ms: 7, ..Lease::PLAIN }, false, true),
            r#"{"clientBeatInterval":7,"code":20404,"lightBeatEnabled":true}"#
        );
    }

    #[test]
    fn one_instance_is_told_with_the_member_names_of_its_version() {
        let plain = Instance::plain(Metadata::default());

        let rest = r#""g@@s","ip":"10.0.0.1","port":80,"clusterName":"DEFAULT","weight":1.0,"healthy":true,"instanceId":"10.0.0.1#80#DEFAULT#g@@s","metadata":{}}"#;
        assert_eq!(instance(Version::V1, &orders(), &key(), &plain), format!(r#"{{"service":{rest}"#));
        assert_eq!(instance(Version::V2, &orders(), &key(), &plain), format!(r#"{{"serviceName":{rest}"#));
    }

    #[test]
    fn lists_and_results_have_the_shape_that_sdks_read() {
        assert_eq!(service_list(Version::V1, 3, ["a", "b"]), r#"{"count":3,"doms":["a","b"]}"#);
        assert_eq!(service_list(Version::V2, 0, []), r#"{"count":0,"services":[]}"#);
        assert_eq!(result_failure(21003, "x", None), r#"{"code":21003,"message":"x"}"#);
        assert_eq!(metrics("UP", None), r#"{"status":"UP"}"#);
    }

    #[test]
    fn every_body_is_json() {
        let bodies = [
            metrics("DOWN", Some(Counts::default())),
            health_server(3),
            denied("/nacos/v1/ns/instance", "Code: 401, Message: \"x\""),
            login("t\"", 18_000, true, "nacos"),
        ];

        for body in bodies {
            let read: Result<serde_json::Value, _> = serde_json::from_slice(&body);
            assert!(read.is_ok_and(|value| value.is_object()), "{body:?}");
        }
    }
}
