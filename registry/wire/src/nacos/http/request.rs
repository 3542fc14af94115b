//! What clients ask over HTTP, from parameters.

use std::collections::BTreeMap;

use ecow::EcoString;
use landbridge_model::{Address, Cluster, Definition, Instance, InstanceKey, Metadata, Overlay, ServiceKey};
use serde::Deserialize;

use super::Parameters;
use crate::nacos::{
    ClusterFilter, Enrolment, Refusal, ServiceListQuery, ServiceQuery, codes,
    instance::{RawInstance, instance_of},
    json::{self, Number, Pairs, Text},
};

/// An instance by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Of which service.
    pub service: ServiceKey,
    /// Which.
    pub key: InstanceKey,
    /// Which kind is meant, ephemeral unless said.
    pub ephemeral: bool,
}

/// An operator's edit of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceEdit {
    /// Of which service.
    pub service: ServiceKey,
    /// Which.
    pub key: InstanceKey,
    /// What is laid over it.
    pub overlay: Overlay,
}

/// Someone says how a persistent instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEdit {
    /// Of which service.
    pub service: ServiceKey,
    /// Which.
    pub key: InstanceKey,
    /// How it is.
    pub healthy: bool,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// Of which service.
    pub service: ServiceKey,
    /// Of which instance.
    pub key: InstanceKey,
    /// Whether the cluster was said. Python leaves it out: then any registered instance of this ip and port is meant.
    pub cluster_said: bool,
    /// What to register if it is unknown; a light beat brings none.
    pub full: Option<Instance>,
}

/// A look at a service, and perhaps where pushes may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The question.
    pub query: ServiceQuery,
    /// What the client says its address is, empty if it does not; a push to an address that is not the caller's own
    /// would be an attack.
    pub claimed_ip: EcoString,
    /// The port at which the client listens for pushes, if it does.
    pub udp_port: Option<u16>,
}

/// A name and a password, sent to log in or (by Node) along with every call.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: EcoString,
    /// The password.
    pub password: EcoString,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials of {:?}", self.username)
    }
}

impl Parameters {
    /// A registration; one that does not say whether it is ephemeral is what the region's switch says.
    pub fn register(&self, ephemeral_default: bool) -> Result<(ServiceKey, Enrolment), Refusal> {
        let (service, key) = (self.service()?, self.instance_key()?);
        let instance = instance_of(
            self.weight()?,
            self.given_flag(&["healthy"])?,
            self.given_flag(&["enabled", "enable"])?,
            self.metadata()?.unwrap_or_default(),
        )?;
        let ephemeral = self.flag(&["ephemeral"], ephemeral_default)?;
        Ok((service, Enrolment { key, instance, ephemeral }))
    }

    /// An instance by name, to deregister it or to look at it.
    pub fn named(&self) -> Result<Named, Refusal> {
        let ephemeral = self.flag(&["ephemeral"], true)?;
        Ok(Named { service: self.service()?, key: self.instance_key()?, ephemeral })
    }

    /// An edit that replaces weight, enabled mark and metadata, also those that are not said (`PUT`).
    pub fn replace(&self) -> Result<InstanceEdit, Refusal> {
        let overlay = Overlay {
            weight: Some(Instance::bounded_weight(self.weight()?.unwrap_or(1.0))),
            enabled: Some(self.flag(&["enabled", "enable"], true)?),
            metadata: Some(self.metadata()?.unwrap_or_default()),
        };
        Ok(InstanceEdit { service: self.service()?, key: self.instance_key()?, overlay })
    }

    /// An edit of what is said (`PATCH`).
    pub fn edit(&self) -> Result<InstanceEdit, Refusal> {
        let overlay = Overlay {
            weight: self.weight()?.map(Instance::bounded_weight),
            enabled: self.given_flag(&["enabled", "enable"])?,
            metadata: self.metadata()?,
        };
        Ok(InstanceEdit { service: self.service()?, key: self.instance_key()?, overlay })
    }

    /// How an instance is said to be.
    pub fn health(&self) -> Result<HealthEdit, Refusal> {
        let healthy = self.given_flag(&["healthy", "valid"])?;
        let healthy = healthy.ok_or_else(|| Refusal::invalid(codes::parameter_required("healthy")))?;
        Ok(HealthEdit { service: self.service()?, key: self.instance_key()?, healthy })
    }

    /// A beat; what its JSON says wins over the parameters.
    pub fn beat(&self) -> Result<Beat, Refusal> {
        let service = self.service()?;
        let Some(text) = self.value(&["beat"]) else {
            let cluster_said = self.cluster()?.is_some();
            return Ok(Beat { service, key: self.instance_key()?, cluster_said, full: None });
        };
        let raw: RawBeat<'_> = json::read("beat", text.as_bytes())?;
        let said = match raw.cluster.as_str() {
            "" => self.cluster()?,
            text => Some(Cluster::parse(text).map_err(Refusal::invalid)?),
        };
        let cluster_said = said.is_some();
        let cluster = said.map_or_else(|| Cluster::parse("").map_err(Refusal::invalid), Ok)?;
        let ip = Address::parse(raw.ip.as_str()).map_err(Refusal::invalid)?;
        let port = raw.port.whole("port", 0, u64::from(u16::MAX))? as u16;
        let metadata = Metadata::new(raw.metadata.0).map_err(Refusal::invalid)?;
        let full = Some(instance_of(raw.weight.0, None, None, metadata)?);
        Ok(Beat { service, key: InstanceKey { ip, port, cluster }, cluster_said, full })
    }

    /// A look at a service.
    pub fn list(&self) -> Result<ListQuery, Refusal> {
        let clusters = ClusterFilter::parse(self.value(&["clusters", "clusterName"]).unwrap_or(""))?;
        let healthy_only = self.flag(&["healthyOnly"], false)?;
        let query = ServiceQuery { service: self.service()?, clusters, healthy_only };
        let udp_port = self.number::<u16>("udpPort")?.filter(|port| *port > 0);
        let claimed_ip = self.value(&["clientIP", "clientIp"]).unwrap_or("").into();
        Ok(ListQuery { query, claimed_ip, udp_port })
    }

    /// A page of service names.
    pub fn service_list(&self) -> Result<ServiceListQuery, Refusal> {
        let (namespace, group) = self.namespace_and_group()?;
        let page_no = self.number::<u32>("pageNo")?.unwrap_or(1);
        let page_size = self.number::<u32>("pageSize")?.unwrap_or(10);
        Ok(ServiceListQuery::new(namespace, group, page_no.into(), page_size.into()))
    }

    /// A service's definition, to create or to change it.
    pub fn definition(&self) -> Result<(ServiceKey, Definition), Refusal> {
        let protect_threshold = self.number::<f64>("protectThreshold")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&protect_threshold) {
            return Err(Refusal::invalid("Param 'protectThreshold' must be between 0 and 1"));
        }
        let metadata = self.metadata()?.unwrap_or_default();
        Ok((self.service()?, Definition { protect_threshold, metadata }))
    }

    /// A service's selector, none if it is not given: a label expression, or with none inside that all are taken.
    pub fn selector(&self) -> Result<Option<Option<EcoString>>, Refusal> {
        let Some(text) = self.value(&["selector"]) else { return Ok(None) };
        // Java 3.1 says its type twice; the last one counts, as in Nacos.
        let raw: BTreeMap<String, serde_json::Value> = json::read("selector", text.as_bytes())?;
        let said = |name| raw.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        match said("type") {
            "" | "none" => Ok(Some(None)),
            "label" if said("expression").len() <= SELECTOR_BYTES_MAX => {
                Ok(Some(Some(said("expression").into())))
            }
            "label" => {
                Err(Refusal::invalid(format_args!("an expression has at most {SELECTOR_BYTES_MAX} bytes")))
            }
            _ => Err(Refusal::invalid("not match any type of selector!")),
        }
    }

    /// The instances that a batch is about, from the JSON list in `instances`; empty means all.
    pub fn instance_list(&self) -> Result<Vec<InstanceKey>, Refusal> {
        let Some(text) = self.value(&["instances"]) else { return Ok(Vec::new()) };
        let raw: json::List<RawInstance<'_>, INSTANCE_LIST_MAX> = json::read("instances", text.as_bytes())?;
        if raw.0.len() > INSTANCE_LIST_MAX {
            return Err(Refusal::invalid(format_args!(
                "more than {INSTANCE_LIST_MAX} instances in one call"
            )));
        }
        raw.0.iter().map(RawInstance::key).collect()
    }

    /// Whether a v3 registration is a beat.
    pub fn is_heart_beat(&self) -> Result<bool, Refusal> {
        self.flag(&["heartBeat"], false)
    }

    /// A name and a password, if both came.
    pub fn credentials(&self) -> Option<Credentials> {
        let (username, password) = (self.value(&["username"])?, self.value(&["password"])?);
        Some(Credentials { username: username.into(), password: password.into() })
    }

    /// A token, if one came.
    pub fn access_token(&self) -> Option<&str> {
        self.value(&["accessToken"])
    }
}

/// The longest selector expression, in bytes.
const SELECTOR_BYTES_MAX: usize = 1024;

/// The most instances that one batch call names.
const INSTANCE_LIST_MAX: usize = 1_000;

/// `RsInfo`: what a client knows of itself. Its load figures are ignored.
#[derive(Deserialize, Default)]
#[serde(default)]
struct RawBeat<'a> {
    #[serde(borrow)]
    ip: Text<'a>,
    port: Number,
    #[serde(borrow)]
    cluster: Text<'a>,
    weight: Number,
    metadata: Pairs,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::PARAMETERS_MAX, *};

    fn query(text: &str) -> Parameters {
        Parameters::read(text, b"").expect("readable")
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        match result.expect_err("a refusal") {
            Refusal::Invalid(why) => why.to_string(),
            Refusal::Unreadable(why) => panic!("unreadable instead of invalid: {why}"),
        }
    }

    /// As Node 2.6 registers.
    const NODE: &str = "namespaceId=public&serviceName=DEFAULT_GROUP%40%40svc&groupName=DEFAULT_GROUP\
        &clusterName=DEFAULT&ip=10.0.0.1&port=8080&weight=1&enable=true&healthy=true&ephemeral=true\
        &metadata=%7B%7D&username=u&password=p";

    #[test]
    fn a_registration_may_stand_in_the_query_or_in_the_form() {
        let in_query = query(NODE).register(true);
        let in_form = Parameters::read("", NODE.as_bytes()).expect("readable").register(true);

        assert_eq!(in_query, in_form);
        let (service, enrolment) = in_query.expect("a registration");
        assert_eq!(service.to_string(), "public@@DEFAULT_GROUP@@svc");
        assert_eq!(enrolment.key.to_string(), "10.0.0.1:8080:DEFAULT");
        assert_eq!((enrolment.instance, enrolment.ephemeral), (Instance::plain(Metadata::default()), true));
    }

    #[test]
    fn flags_are_read_in_any_case_and_under_their_aliases() {
        let python = "serviceName=svc&ip=a&port=1&clusterName=None&enable=False&healthy=True&ephemeral=True";

        let (_, enrolment) = query(python).register(true).expect("a registration");

        assert_eq!((enrolment.instance.enabled, enrolment.instance.healthy), (false, true));
        assert_eq!(enrolment.key.cluster.as_str(), "None", "Nacos keeps the literal word that Python sends");
    }

    #[test]
    fn metadata_is_an_object_or_a_list_of_pairs() {
        let of = |text: &str| query(&format!("serviceName=s&ip=a&port=1&metadata={text}")).register(true);
        let pairs = |text: &str| of(text).expect("a registration").1.instance.metadata.pairs().to_vec();

        assert_eq!(pairs("%7B%22a%22:1,%22b%22:%22x%22%7D"), pairs("a=1,b=x"));
        assert_eq!(refusal(of("nonsense")), "metadata format incorrect:nonsense");
    }

    #[test]
    fn what_is_missing_or_out_of_range_is_named() {
        assert_eq!(refusal(query("ip=a&port=1").register(true)), "Param 'serviceName' is required.");
        assert_eq!(refusal(query("serviceName=s&port=1").register(true)), "Param 'ip' is required.");
        assert_eq!(refusal(query("serviceName=s&ip=a").named()), "Param 'port' is required.");
        assert_eq!(
            refusal(query("serviceName=s&ip=a&port=1&weight=10001").register(true)),
            "instance format invalid: The weights range from 0.0 to 10000.0"
        );
        assert!(refusal(query("serviceName=s&ip=a&port=65536").named()).starts_with("Param 'port' must be"));
        assert!(refusal(query("serviceName=s&ip=a&port=1&healthy=maybe").health()).contains("maybe"));
    }

    #[test]
    fn a_light_beat_brings_no_instance_and_a_full_one_does() {
        let light = query("serviceName=g%40%40s&ip=10.0.0.1&port=80&clusterName=blue").beat();
        let python = "serviceName=DEFAULT_GROUP%40%40s&groupName=DEFAULT_GROUP&beat=%7B%22ip%22:%22a%22,\
            %22port%22:80,%22weight%22:2.0,%22serviceName%22:%22s%22,%22metadata%22:%7B%7D,%22scheduled%22:true%7D";
        let full = query(python).beat().expect("a beat");

        let light = light.expect("a beat");
        assert_eq!((light.full, light.cluster_said, light.key.cluster.as_str()), (None, true, "blue"));
        assert_eq!((full.full.map(|instance| instance.weight), full.cluster_said), (Some(2.0), false));
        assert_eq!(full.key.to_string(), "a:80:DEFAULT");
    }

    #[test]
    fn an_edit_touches_what_is_said_and_a_replacement_everything() {
        let parameters = query("serviceName=s&ip=a&port=1&enabled=false");

        let edit = parameters.edit().expect("an edit").overlay;
        let replacement = parameters.replace().expect("a replacement").overlay;

        assert_eq!(edit, Overlay { weight: None, enabled: Some(false), metadata: None });
        let all = Overlay { weight: Some(1.0), enabled: Some(false), metadata: Some(Metadata::default()) };
        assert_eq!(replacement, all);
    }

    #[test]
    fn a_list_names_clusters_and_where_the_client_listens() {
        let listening =
            query("serviceName=s&clusters=a,b&udpPort=55&clientIP=10.0.0.9&healthyOnly=false").list();
        let silent = query("serviceName=s&udpPort=0&clusters=").list().expect("a list");

        let listening = listening.expect("a list");
        assert_eq!(listening.query.clusters.as_str(), "a,b");
        assert_eq!((listening.claimed_ip.as_str(), listening.udp_port), ("10.0.0.9", Some(55)));
        assert_eq!((silent.udp_port, silent.query.clusters), (None, ClusterFilter::default()));
    }

    #[test]
    fn a_selector_that_says_its_type_twice_is_read_as_java_3_writes_it() {
        let twice = |first: &str, last: &str| {
            let text = format!(r#"{{"type":"{first}","expression":"a = b","type":"{last}"}}"#);
            Parameters(vec![("selector".into(), text.into())]).selector().ok().flatten()
        };

        assert_eq!(twice("none", "none"), Some(None));
        assert_eq!(twice("none", "label"), Some(Some("a = b".into())));
        assert_eq!(twice("label", "odd"), None);
    }

    #[test]
    fn pages_count_from_one_and_are_bounded() {
        let page = query("pageNo=3&pageSize=20&groupName=g").service_list().expect("a list");
        let wild = query("pageNo=0&pageSize=4000000000").service_list().expect("a list");

        assert_eq!((page.skip(), page.page_size, page.group.as_str()), (40, 20, "g"));
        assert_eq!((wild.skip(), wild.page_size), (0, crate::nacos::PAGE_SIZE_MAX));
    }

    #[test]
    fn more_parameters_than_the_bound_are_refused() {
        let text = "a=1&".repeat(PARAMETERS_MAX);

        assert!(Parameters::read(&text, b"").is_ok());
        assert!(matches!(Parameters::read(&text, b"b=2"), Err(Refusal::Invalid(_))));
        assert!(matches!(Parameters::read(&text.repeat(9), b""), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn a_password_never_reaches_a_log() {
        let credentials = query("username=u&password=secret").credentials().expect("both");

        assert_eq!(credentials.password, "secret");
        assert!(!format!("{credentials:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused_or_read(text in ".{0,80}", form: Vec<u8>, beat in ".{0,40}") {
            let _ = Parameters::read(&text, &form).map(|parameters| parameters.register(true));
            let filled = Parameters(vec![
                ("serviceName".into(), "s".into()),
                ("ip".into(), text.as_str().into()),
                ("port".into(), text.as_str().into()),
                ("metadata".into(), text.into()),
                ("beat".into(), beat.into()),
            ]);
            let _ = (filled.register(true), filled.beat(), filled.edit(), filled.list(), filled.service_list());
        }
    }
}
