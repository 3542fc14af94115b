//! Shows where a gateway would send a call, and what it weighed.

use serde_json::Value;

use crate::arguments::Output;
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// The rungs in the order in which they are tried.
const LADDER: Shape = Shape {
    columns: &["rung", "region", "verified", "weight", "available", "share", "endpoints"],
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

/// Writes what a gateway explained.
pub(crate) fn print(told: &Value, output: Output) -> Result<(), Trouble> {
    let part = |name: &str| told.get(name).unwrap_or(&Value::Null);
    let decision = part("decision");
    match output {
        Output::Json => output::print(told, LADDER, output),
        Output::Name => output::print(decision, Shape { columns: &[], name: "endpoint" }, output),
        Output::Table => {
            output::write_out(&headline(part("service"), part("from"), decision))?;
            output::write_out("\n")?;
            output::print(part("ladder"), LADDER, output)?;
            output::write_out("\n")?;
            output::print(part("endpoints"), ENDPOINTS, output)
        }
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
    fn a_call_without_an_endpoint_is_told_as_such() {
        let line = headline(&json!("s"), &json!("east/a"), &Value::Null);

        assert_eq!(line, "a call from east/a to s finds nobody\n");
    }
}
