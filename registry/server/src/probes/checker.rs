//! What is kept of a cluster's health checker, read once for each probe (Nacos 2.5 `AbstractHealthChecker`).

use std::hash::{Hash, Hasher};

use landbridge_model::Metadata;
use landbridge_registry_core::probing::Method;
use rustc_hash::FxHasher;
use serde::Deserialize;

/// Service metadata under this key and a cluster's name is what Nacos keeps of the cluster.
pub(crate) const CLUSTER: &str = "landbridge.cluster.";

/// The page that answers this is well, unless the checker names another one (Nacos reads only this one).
const EXPECTED: u16 = 200;

/// How the instances of a cluster are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checker {
    pub(crate) probe: Probe,
    /// Where, unless at the instance's own port.
    pub(crate) port: Option<u16>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Tcp,
    Http(Page),
    MySql(Query),
}

/// The page that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// The status codes of a page that is well.
    pub(crate) expected: Vec<u16>,
}

/// The query that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) user: String,
    pub(crate) password: String,
    /// Empty: the server is only greeted and asked whether it is there.
    pub(crate) command: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    health_checker: Said,
    healthy_check_port: u16,
    use_instance_port_for_check: bool,
}

impl Default for Kept {
    fn default() -> Self {
        Self { health_checker: Said::default(), healthy_check_port: 80, use_instance_port_for_check: true }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    headers: String,
    expected_response_code: Codes,
    user: String,
    pwd: String,
    cmd: String,
}

/// A number, or numbers in a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Codes {
    One(u16),
    Several(String),
}

impl Default for Codes {
    fn default() -> Self {
        Self::One(EXPECTED)
    }
}

/// The checker of a cluster; none if somebody else says how its instances are.
pub(crate) fn of(metadata: &Metadata, cluster: &str) -> Result<Option<Checker>, String> {
    let Some(text) = metadata.value(&format!("{CLUSTER}{cluster}")) else {
        return Ok(Some(Checker { probe: Probe::Tcp, port: None }));
    };
    let kept: Kept = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Said { kind, path, headers, expected_response_code, user, pwd, cmd } = kept.health_checker;
    let probe = match kind.to_ascii_uppercase().as_str() {
        "" | "TCP" => Probe::Tcp,
        "NONE" => return Ok(None),
        "HTTP" => Probe::Http(Page {
            path: path_of(&path)?,
            headers: headers_of(&headers)?,
            expected: codes_of(&expected_response_code)?,
        }),
        "MYSQL" => Probe::MySql(Query { user, password: pwd, command: cmd }),
        other => return Err(format!("{other} is no health checker")),
    };
    let port = (!kept.use_instance_port_for_check).then_some(kept.healthy_check_port);
    Ok(Some(Checker { probe, port }))
}

/// How a cluster's instances are probed, and a number that differs when its checker does; none if they are not.
pub(crate) fn sketch(metadata: &Metadata, cluster: &str) -> Option<(Method, u64)> {
    let method = match of(metadata, cluster) {
        Ok(Some(Checker { probe: Probe::Http(_), .. })) => Method::Http,
        Ok(Some(Checker { probe: Probe::MySql(_), .. })) => Method::MySql,
        // What cannot be read is probed too: each try says so in the metrics.
        Ok(Some(Checker { probe: Probe::Tcp, .. })) | Err(_) => Method::Tcp,
        Ok(None) => return None,
    };
    let mut hasher = FxHasher::default();
    metadata.value(&format!("{CLUSTER}{cluster}")).hash(&mut hasher);
    Some((method, hasher.finish()))
}

fn path_of(path: &str) -> Result<String, String> {
    let visible = |c: char| c.is_ascii_graphic();
    if !path.chars().all(visible) {
        return Err(format!("path {path:?} is not written as in a request"));
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

/// `name:value|name:value`, as Nacos writes them.
fn headers_of(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split('|').filter(|pair| !pair.trim().is_empty()).map(|pair| {
        let (name, value) = pair.split_once(':').ok_or_else(|| format!("header {pair:?} has no colon"))?;
        let (name, value) = (name.trim(), value.trim());
        let token =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let line = value.chars().all(|c| !c.is_control());
        if token && line {
            Ok((name.to_owned(), value.to_owned()))
        } else {
            Err(format!("header {pair:?} is no header"))
        }
    });
    pairs.collect()
}

fn codes_of(codes: &Codes) -> Result<Vec<u16>, String> {
    match codes {
        Codes::One(code) => Ok(vec![*code]),
        Codes::Several(text) => {
            let read = |code: &str| code.trim().parse().map_err(|_| format!("{code:?} is no status code"));
            text.split(',').map(read).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Metadata {
        Metadata::new([("landbridge.cluster.DEFAULT".into(), text.into())]).expect("within bounds")
    }

    fn read(text: &str) -> Result<Option<Checker>, String> {
        of(&kept(text), "DEFAULT")
    }

    #[test]
    fn a_cluster_that_nobody_configured_is_checked_by_tcp_at_the_instances_port() {
        assert_eq!(of(&Metadata::default(), "DEFAULT"), Ok(Some(Checker { probe: Probe::Tcp, port: None })));
        assert_eq!(of(&kept(r#"{"healthChecker":{"type":"NONE"}}"#), "DEFAULT"), Ok(None));
    }

    #[test]
    fn an_http_checker_keeps_its_path_its_headers_and_what_it_expects() {
        let checker = read(
            r#"{"healthChecker":{"type":"http","path":"health?deep=1","headers":"Host:shop|X-Probe: yes",
            "expectedResponseCode":204},"healthyCheckPort":8080,"useInstancePortForCheck":false}"#,
        );

        let headers = [("Host", "shop"), ("X-Probe", "yes")].map(|(name, value)| (name.into(), value.into()));
        let page = Page { path: "/health?deep=1".into(), headers: headers.into(), expected: vec![204] };
        assert_eq!(checker, Ok(Some(Checker { probe: Probe::Http(page), port: Some(8080) })));
    }

    #[test]
    fn several_codes_may_be_expected() {
        let checker =
            read(r#"{"healthChecker":{"type":"HTTP","path":"/","expectedResponseCode":"200, 302"}}"#);

        let Ok(Some(Checker { probe: Probe::Http(page), .. })) = checker else { panic!("{checker:?}") };
        assert_eq!(page.expected, [200, 302]);
    }

    #[test]
    fn a_checker_that_would_smuggle_is_refused() {
        for wrong in [
            r#"{"healthChecker":{"type":"HTTP","path":"/a b"}}"#,
            r#"{"healthChecker":{"type":"HTTP","path":"/\r\nx: y"}}"#,
            r#"{"healthChecker":{"type":"HTTP","headers":"a:b\r\nc:d"}}"#,
            r#"{"healthChecker":{"type":"HTTP","headers":"a b:c"}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn another_checker_is_another_setting() {
        let of = |text| sketch(&kept(text), "DEFAULT");

        let (tcp, query) = (r#"{"healthChecker":{"type":"TCP"}}"#, r#"{"healthChecker":{"type":"MYSQL"}}"#);

        assert_ne!(of(tcp).map(|sketch| sketch.1), of(query).map(|sketch| sketch.1));
        assert_eq!(of(query).map(|sketch| sketch.0), Some(Method::MySql));
    }
}
