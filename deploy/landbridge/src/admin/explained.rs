//! Shows where a gateway would send a call, and what it weighed.

use serde_json::Value;

use crate::arguments::{Output, RoutedCall};
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// The rungs in the order in which they are tried.
const LADDER: Shape = Shape {
    columns: &["rung", "region", "verified", "weight", "available", "share", "slow", "endpoints"],
    name: "rung",
};

/// What is known of each endpoint.
const ENDPOINTS: Shape = Shape {
    columns: &[
        "address",
        "region",
        "zone",
        "weight",
        "healthy",
        "unverified",
        "stale",
        "in_flight",
        "latency_ms",
        "failures",
        "ejected_for_ms",
    ],
    name: "address",
};

/// The rules of a listener that were looked at.
const RULES: Shape = Shape { columns: &["rule", "takes", "because"], name: "rule" };

/// What a gateway is asked about a call.
pub(crate) fn asked(call: &RoutedCall) -> Vec<(&'static str, String)> {
    let target = call.target.split_once("://").map_or(call.target.as_str(), |(_, rest)| rest);
    let (host, path) = target.split_at(target.find('/').unwrap_or(target.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut pairs = vec![("method", call.method.clone()), ("path", path.to_owned())];
    pairs.extend((!host.is_empty()).then(|| ("host", host.to_owned())));
    pairs.extend(call.headers.iter().map(|header| ("header", header.clone())));
    pairs.extend(call.listener.clone().map(|listener| ("listener", listener)));
    pairs.extend(call.from.clone().map(|from| ("from", from)));
    pairs
}

/// Writes what a gateway explained.
pub(crate) fn print(told: &Value, output: Output) -> Result<(), Trouble> {
    let part = |name: &str| told.get(name).unwrap_or(&Value::Null);
    let decision = part("decision");
    match output {
        Output::Json => output::print(told, LADDER, output),
        Output::Name => output::print(decision, Shape { columns: &[], name: "endpoint" }, output),
        Output::Table => {
            if let Some(route) = told.get("route") {
                output::write_out(&routed(route))?;
                output::print(route.get("rules").unwrap_or(&Value::Null), RULES, output)?;
                output::write_out("\n")?;
                if part("service").is_null() {
                    return Ok(());
                }
            }
            output::write_out(&headline(part("service"), part("from"), decision))?;
            output::write_out("\n")?;
            output::print(part("ladder"), LADDER, output)?;
            output::write_out("\n")?;
            output::print(part("endpoints"), ENDPOINTS, output)
        }
    }
}

/// What became of a call at its listener, in one sentence.
fn routed(route: &Value) -> String {
    let text = |name: &str| output::escaped(route.get(name).and_then(Value::as_str).unwrap_or("?"));
    match route.get("refused").and_then(Value::as_str) {
        Some(reason) => format!("{} refuses the call: {}\n", text("listener"), output::escaped(reason)),
        None => format!("{} takes the call, with the path {}\n", text("listener"), text("path")),
    }
}

fn headline(service: &Value, from: &Value, decision: &Value) -> String {
    let text = |value: &Value| output::escaped(value.as_str().unwrap_or("?"));
    let (service, from) = (text(service), text(from));
    let Some(endpoint) = decision.get("endpoint") else {
        return format!("a call from {from} to {service} finds nobody\n");
    };
    let rung = decision.get("rung").map(text).unwrap_or_default();
    let panic = decision.get("panic") == Some(&Value::Bool(true));
    let panic = if panic { ", in panic: too few are healthy, so health is not asked" } else { "" };
    format!("a call from {from} to {service} goes to {} ({rung}{panic})\n", text(endpoint))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_decision_stands_first_in_one_sentence() {
        let decision = json!({ "endpoint": "10.0.0.1:80", "rung": "same_zone", "panic": false });

        let line = headline(&json!("public@@G@@orders"), &json!("east/a"), &decision);

        assert_eq!(line, "a call from east/a to public@@G@@orders goes to 10.0.0.1:80 (same_zone)\n");
    }

    #[test]
    fn a_call_is_asked_about_by_its_host_path_method_and_headers() {
        let call = |target: &str| RoutedCall {
            target: target.to_owned(),
            method: "POST".to_owned(),
            headers: vec!["x-a: 1".to_owned(), "x-b: 2".to_owned()],
            listener: None,
            from: Some("east/a".to_owned()),
        };
        let asked = |target: &str| {
            let pairs = asked(&call(target));
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };

        let rest = "header=x-a: 1&header=x-b: 2&from=east/a";
        assert_eq!(asked("http://shop/api?q"), format!("method=POST&path=/api?q&host=shop&{rest}"));
        assert_eq!(asked("shop"), format!("method=POST&path=/&host=shop&{rest}"));
        assert_eq!(asked("/api"), format!("method=POST&path=/api&{rest}"));
    }

    #[test]
    fn a_refused_call_is_told_with_its_reason() {
        let route = json!({ "listener": "calls", "refused": "no_route" });

        assert_eq!(routed(&route), "calls refuses the call: no_route\n");
    }

    #[test]
    fn a_call_without_an_endpoint_is_told_as_such() {
        let line = headline(&json!("s"), &json!("east/a"), &Value::Null);

        assert_eq!(line, "a call from east/a to s finds nobody\n");
    }
}
