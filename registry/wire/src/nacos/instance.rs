//! An instance as Nacos clients write it and as they read it.

use bytes::Bytes;
use ecow::EcoString;
use landbridge_model::{Address, Cluster, Instance, InstanceKey, Metadata, ServiceKey};
use serde::Deserialize;

use super::{
    Refusal, codes,
    json::{Flag, Number, Pairs, Text, flag, quote, real, whole},
};

/// The longest cluster filter, in bytes.
const FILTER_BYTES_MAX: usize = 2048;

/// What a client enrols under a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrolment {
    /// Which instance.
    pub key: InstanceKey,
    /// What it is.
    pub instance: Instance,
    /// Whether the client vouches for it, by connection or beats.
    pub ephemeral: bool,
}

/// How long an instance lives without beats, from its `preserved.*` metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How often it beats.
    pub interval_ms: u64,
    /// After how much silence it is unhealthy.
    pub unhealthy_after_ms: u64,
    /// After how much silence it is removed.
    pub remove_after_ms: u64,
}

impl Lease {
    /// Nacos's defaults: 5, 15 and 30 seconds.
    pub const PLAIN: Self = Self { interval_ms: 5_000, unhealthy_after_ms: 15_000, remove_after_ms: 30_000 };

    /// Reads it from metadata; what is no number counts as absent, as in Nacos.
    pub fn of(metadata: &Metadata) -> Self {
        let ms = |key, default| metadata.value(key).and_then(|text| text.parse().ok()).unwrap_or(default);
        Self {
            interval_ms: ms("preserved.heart.beat.interval", Self::PLAIN.interval_ms),
            unhealthy_after_ms: ms("preserved.heart.beat.timeout", Self::PLAIN.unhealthy_after_ms),
            remove_after_ms: ms("preserved.ip.delete.timeout", Self::PLAIN.remove_after_ms),
        }
    }

    fn check(self) -> Result<(), Refusal> {
        let fits = self.unhealthy_after_ms >= self.interval_ms && self.remove_after_ms >= self.interval_ms;
        if fits { Ok(()) } else { Err(Refusal::invalid(codes::LEASE_TEXT)) }
    }
}

/// Which clusters of a service are asked for; equal texts ask for the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterFilter {
    text: EcoString,
    clusters: Vec<Cluster>,
}

impl ClusterFilter {
    /// Parses a comma-separated list; empty asks for all.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(Refusal::invalid(format_args!("clusters are longer than {FILTER_BYTES_MAX} bytes")));
        }
        let labels = text.split(',').map(str::trim).filter(|label| !label.is_empty());
        let clusters = labels.map(Cluster::parse).collect::<Result<_, _>>().map_err(Refusal::invalid)?;
        Ok(Self { text: text.into(), clusters })
    }

    /// The text as it came; answers repeat it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The clusters it names; empty asks for all.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Whether this cluster is asked for.
    pub fn takes(&self, cluster: &Cluster) -> bool {
        self.clusters.is_empty() || self.clusters.contains(cluster)
    }
}

/// An instance in JSON, as SDKs send it. What Java derives from metadata and writes along is ignored.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawInstance<'a> {
    #[serde(borrow)]
    ip: Text<'a>,
    port: Number,
    weight: Number,
    healthy: Flag,
    enabled: Flag,
    ephemeral: Flag,
    #[serde(borrow)]
    cluster_name: Text<'a>,
    metadata: Pairs,
}

impl RawInstance<'_> {
    pub(super) fn key(&self) -> Result<InstanceKey, Refusal> {
        if self.ip.as_str().is_empty() {
            return Err(Refusal::invalid(codes::parameter_required("ip")));
        }
        let ip = Address::parse(self.ip.as_str()).map_err(Refusal::invalid)?;
        let port = self.port.whole("port", 0, u64::from(u16::MAX))? as u16;
        let cluster = Cluster::parse(self.cluster_name.as_str()).map_err(Refusal::invalid)?;
        Ok(InstanceKey { ip, port, cluster })
    }

    pub(super) fn enrolment(self) -> Result<Enrolment, Refusal> {
        let key = self.key()?;
        let metadata = Metadata::new(self.metadata.0).map_err(Refusal::invalid)?;
        let instance = instance_of(self.weight.0, self.healthy.0, self.enabled.0, metadata)?;
        Ok(Enrolment { key, instance, ephemeral: self.ephemeral.0.unwrap_or(true) })
    }
}

/// An instance with Nacos's defaults and bounds.
pub(super) fn instance_of(
    weight: Option<f64>,
    healthy: Option<bool>,
    enabled: Option<bool>,
    metadata: Metadata,
) -> Result<Instance, Refusal> {
    Lease::of(&metadata).check()?;
    Ok(Instance {
        weight: Instance::bounded_weight(weight.unwrap_or(1.0)),
        healthy: healthy.unwrap_or(true),
        enabled: enabled.unwrap_or(true),
        metadata,
    })
}

/// One entry of `hosts`, encoded once for all answers that hold it.
pub fn encode_host(service: &ServiceKey, key: &InstanceKey, instance: &Instance, ephemeral: bool) -> Bytes {
    let mut json = Vec::with_capacity(320 + instance.metadata.bytes());
    let grouped = service.grouped();
    json.extend_from_slice(br#"{"instanceId":"#);
    quote(&mut json, &instance_id(&grouped, key));
    json.extend_from_slice(br#","ip":"#);
    quote(&mut json, key.ip.as_str());
    json.extend_from_slice(br#","port":"#);
    whole(&mut json, key.port.into());
    json.extend_from_slice(br#","weight":"#);
    real(&mut json, instance.weight);
    json.extend_from_slice(br#","healthy":"#);
    flag(&mut json, instance.healthy);
    json.extend_from_slice(br#","enabled":"#);
    flag(&mut json, instance.enabled);
    json.extend_from_slice(br#","ephemeral":"#);
    flag(&mut json, ephemeral);
    json.extend_from_slice(br#","clusterName":"#);
    quote(&mut json, key.cluster.as_str());
    json.extend_from_slice(br#","serviceName":"#);
    quote(&mut json, &grouped);
    json.extend_from_slice(br#","metadata":"#);
    pairs(&mut json, &instance.metadata);
    derived(&mut json, &instance.metadata);
    json.push(b'}');
    Bytes::from(json)
}

/// Nacos's "simple" instance id.
pub(super) fn instance_id(grouped: &str, key: &InstanceKey) -> String {
    format!("{}#{}#{}#{grouped}", key.ip, key.port, key.cluster)
}

/// Appends metadata as an object.
pub(super) fn pairs(json: &mut Vec<u8>, metadata: &Metadata) {
    json.push(b'{');
    for (place, (key, value)) in metadata.pairs().iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        quote(json, key);
        json.push(b':');
        quote(json, value);
    }
    json.push(b'}');
}

/// Appends the members that Java's `Instance` derives from its metadata; Go reads the numbers.
pub(super) fn derived(json: &mut Vec<u8>, metadata: &Metadata) {
    let lease = Lease::of(metadata);
    json.extend_from_slice(br#","instanceHeartBeatInterval":"#);
    whole(json, lease.interval_ms);
    json.extend_from_slice(br#","instanceHeartBeatTimeOut":"#);
    whole(json, lease.unhealthy_after_ms);
    json.extend_from_slice(br#","ipDeleteTimeout":"#);
    whole(json, lease.remove_after_ms);
    let generator = match metadata.value("preserved.instance.id.generator") {
        None if metadata.pairs().is_empty() => Some("simple"),
        given => given,
    };
    if let Some(generator) = generator {
        json.extend_from_slice(br#","instanceIdGenerator":"#);
        quote(json, generator);
    }
}
