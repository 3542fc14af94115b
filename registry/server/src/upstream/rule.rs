//! What a caller needs who asks for configs through this region: the right for each config that it names.
//!
//! Invariant: what cannot be told to be about named configs only is for admins.

use serde::Deserialize;

use crate::auth::{Action, Need};

/// The paths, below the context, that are about one named config.
const OF_ONE: [&str; 5] = [
    "/v1/cs/configs",
    "/v2/cs/config",
    "/v3/client/cs/config",
    "/v3/admin/cs/config",
    "/v3/console/cs/config",
];

/// Where changes are waited for.
const LISTENER: &str = "/v1/cs/configs/listener";

/// Parameters that turn a call about one config into one about many.
const OF_MANY: [&str; 7] = ["search", "export", "exportV2", "import", "clone", "ids", "nid"];

/// The most configs that one question names (Nacos: 10,000 keys).
const NAMED_MAX: usize = 10_000;

/// What an HTTP call needs; `value` gives its parameters.
pub(crate) fn http<'a>(read: bool, path: &str, value: impl Fn(&str) -> Option<&'a str>) -> Need {
    if path == LISTENER {
        return listening(value("Listening-Configs").unwrap_or_default());
    }
    if !OF_ONE.contains(&path) || OF_MANY.iter().any(|name| value(name).is_some()) {
        return Need::Everything;
    }
    // Each generation has its own names; a call that uses both would be judged by one and carried out by the other.
    let one_of = |old: &str, new: &str| match (value(old), value(new)) {
        (Some(old), Some(new)) if old != new => None,
        (old, new) => Some(old.or(new).unwrap_or_default().to_owned()),
    };
    let named = one_of("tenant", "namespaceId").zip(one_of("group", "groupName"));
    match (named, value("dataId")) {
        (Some((namespace, group)), Some(data_id)) => {
            Need::All(vec![resource(&namespace, &group, data_id)], action(read))
        }
        (Some(_) | None, _) => Need::Everything,
    }
}

/// `dataId ^2 group ^2 md5 [^2 tenant] ^1`, repeated.
fn listening(text: &str) -> Need {
    let mut named = Vec::new();
    for line in text.split('\u{1}').filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split('\u{2}').collect();
        let [data_id, group, ..] = words.as_slice() else { return Need::Everything };
        named.push(resource(words.get(3).copied().unwrap_or_default(), group, data_id));
    }
    many(named, Action::Read)
}

/// The members of every config request that name configs.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Named {
    data_id: Option<String>,
    group: Option<String>,
    tenant: Option<String>,
    config_listen_contexts: Option<Vec<Named>>,
}

impl Named {
    fn resource(&self) -> String {
        let text = |said: &Option<String>| said.clone().unwrap_or_default();
        resource(&text(&self.tenant), &text(&self.group), &text(&self.data_id))
    }
}

/// What a request over gRPC needs.
pub(crate) fn grpc(type_name: &str, json: &[u8]) -> Need {
    let Ok(named) = serde_json::from_slice::<Named>(json) else { return Need::Everything };
    match type_name {
        "ConfigQueryRequest" => Need::All(vec![named.resource()], Action::Read),
        "ConfigPublishRequest" | "ConfigRemoveRequest" => Need::All(vec![named.resource()], Action::Write),
        "ConfigBatchListenRequest" => {
            let contexts = named.config_listen_contexts.unwrap_or_default();
            many(contexts.iter().map(Named::resource).collect(), Action::Read)
        }
        _ => Need::Everything,
    }
}

fn many(named: Vec<String>, action: Action) -> Need {
    if named.len() > NAMED_MAX { Need::Everything } else { Need::All(named, action) }
}

fn action(read: bool) -> Action {
    if read { Action::Read } else { Action::Write }
}

/// The resource that a config is, in permissions.
fn resource(namespace: &str, group: &str, data_id: &str) -> String {
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    format!("{}:{}:config/{}", or(namespace, "public"), or(group, "DEFAULT_GROUP"), or(data_id, "*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(read: bool, path: &str, parameters: &[(&str, &'static str)]) -> Need {
        http(read, path, |name| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    fn named(resources: &[&str], action: Action) -> Need {
        Need::All(resources.iter().map(ToString::to_string).collect(), action)
    }

    #[test]
    fn a_call_about_one_config_needs_the_right_for_it() {
        let one = [("dataId", "app.yaml"), ("group", "g"), ("tenant", "t")];
        let new = [("dataId", "app.yaml"), ("groupName", "g"), ("namespaceId", "t")];

        assert_eq!(need(true, "/v1/cs/configs", &one), named(&["t:g:config/app.yaml"], Action::Read));
        assert_eq!(need(false, "/v3/admin/cs/config", &new), named(&["t:g:config/app.yaml"], Action::Write));
        assert_eq!(
            need(true, "/v1/cs/configs", &[("dataId", "a")]),
            named(&["public:DEFAULT_GROUP:config/a"], Action::Read)
        );
    }

    #[test]
    fn what_is_not_about_named_configs_only_is_for_admins() {
        let both = [("dataId", "a"), ("tenant", "mine"), ("namespaceId", "yours")];

        for (path, parameters) in [
            ("/v1/cs/configs", &both[..]),
            ("/v1/cs/configs", &[("dataId", "a"), ("search", "blur")]),
            ("/v1/cs/configs", &[("group", "g")]),
            ("/v1/cs/history", &[("dataId", "a")]),
            ("/v1/cs/configs/", &[("dataId", "a")]),
            (LISTENER, &[("Listening-Configs", "broken\u{1}")]),
        ] {
            assert_eq!(need(true, path, parameters), Need::Everything, "{path} {parameters:?}");
        }
        assert_eq!(grpc("ConfigFuzzyWatchRequest", b"{}"), Need::Everything);
        assert_eq!(grpc("ConfigQueryRequest", b"nonsense"), Need::Everything);
    }

    #[test]
    fn who_waits_for_changes_needs_the_right_for_each() {
        let text = "a\u{2}g\u{2}md5\u{2}t\u{1}b\u{2}g\u{2}\u{1}";
        let json = br#"{"listen":true,"configListenContexts":[{"dataId":"a","group":"g","tenant":"t","md5":""},{"dataId":"b","group":"g","tenant":null}]}"#;
        let both = named(&["t:g:config/a", "public:g:config/b"], Action::Read);

        assert_eq!(need(false, LISTENER, &[("Listening-Configs", text)]), both);
        assert_eq!(grpc("ConfigBatchListenRequest", json), both);
    }
}
