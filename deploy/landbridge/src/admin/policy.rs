//! Policies: what each region may see of this one, and what of each shows here.

use std::collections::BTreeMap;

use http::Method;
use landbridge_client::Admin;
use serde_json::{Value, json};

use super::{DOOR, percent};
use crate::arguments::{ImportWish, Output, PolicyVerb};
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// Export policies, one row a peer.
const EXPORTS: Shape = Shape { columns: &["peer", "allow", "deny"], name: "peer" };

/// Import policies, one row a region.
const IMPORTS: Shape = Shape {
    columns: &[
        "region",
        "allow",
        "deny",
        "namespaces",
        "groups",
        "weight_scale",
        "max_stale_ms",
        "visibility",
    ],
    name: "region",
};

/// Where a write was decided.
const DECIDED: Shape = Shape { columns: &["era", "seq"], name: "seq" };

/// What a policy would change: the instances of each service, before and after.
const FORESEEN: Shape = Shape { columns: &["service", "before", "after"], name: "service" };

/// Does what the verb says.
pub(crate) async fn run(admin: &Admin, verb: PolicyVerb, output: Output) -> Result<(), Trouble> {
    let exports = |peer: &str| format!("{DOOR}/policies/export/{}", percent(peer));
    let imports = |region: &str| format!("{DOOR}/policies/import/{}", percent(region));
    let (method, path, page, dry_run) = match verb {
        PolicyVerb::List => return list(admin, "export", ("peer", EXPORTS), output).await,
        PolicyVerb::Imports => return list(admin, "import", ("region", IMPORTS), output).await,
        PolicyVerb::Export { peer, allow, deny, dry_run } => {
            (Method::PUT, exports(&peer), json!({ "allow": allow, "deny": deny }), dry_run)
        }
        PolicyVerb::Remove { peer, dry_run } => (Method::DELETE, exports(&peer), json!({}), dry_run),
        PolicyVerb::Import(wish) => (Method::PUT, imports(&wish.region), page_of(&wish), wish.dry_run),
        PolicyVerb::ImportAll { region, dry_run } => (Method::DELETE, imports(&region), json!({}), dry_run),
    };
    if !dry_run {
        let decided: Value = admin.write(method, &path, &page).await?;
        return output::print(&decided, DECIDED, output);
    }
    let foreseen: Value = admin.write(method, &format!("{path}?dry_run=true"), &page).await?;
    if output == Output::Json {
        return output::print(&foreseen, FORESEEN, output);
    }
    eprintln!("{}", summary(&foreseen));
    output::print(&foreseen["rows"], FORESEEN, output)
}

async fn list(
    admin: &Admin,
    kind: &str,
    (column, shape): (&str, Shape),
    output: Output,
) -> Result<(), Trouble> {
    let by_region: Value = admin.read(&format!("{DOOR}/policies/{kind}")).await?;
    let shown = if output == Output::Json { by_region } else { rows(by_region, column) };
    output::print(&shown, shape, output)
}

fn page_of(wish: &ImportWish) -> Value {
    let renames = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
    json!({
        "allow": wish.allow,
        "deny": wish.deny,
        "namespaces": renames(&wish.rename_namespace),
        "groups": renames(&wish.rename_group),
        "weight_scale": wish.weight_scale,
        "max_stale_ms": wish.max_stale.map(|seconds| seconds.saturating_mul(1_000)),
        "visibility": wish.visibility,
    })
}

/// What a dry run found, in a sentence.
fn summary(foreseen: &Value) -> String {
    let named = foreseen["rows"].as_array().map_or(0, Vec::len) as u64;
    let all = named + foreseen["unnamed"].as_u64().unwrap_or_default();
    format!(
        "{} services before, {} after; {all} would change, {named} of them are named; nothing was changed",
        foreseen["before"], foreseen["after"]
    )
}

/// `{"west": {"allow": …}}` as rows with the region as a column.
fn rows(by_region: Value, column: &str) -> Value {
    let Value::Object(by_region) = by_region else { return by_region };
    let row = |(region, mut policy): (String, Value)| {
        if let Value::Object(fields) = &mut policy {
            fields.insert(column.to_owned(), Value::String(region));
        }
        policy
    };
    Value::Array(by_region.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_become_rows_with_their_peer() {
        let shown = rows(json!({ "west": { "allow": ["*/*/*"], "deny": [] } }), "peer");

        assert_eq!(shown, json!([{ "allow": ["*/*/*"], "deny": [], "peer": "west" }]));
    }

    #[test]
    fn a_dry_run_says_how_much_would_change() {
        let foreseen = json!({ "before": 3, "after": 1, "rows": [{}, {}], "unnamed": 5 });

        let said = summary(&foreseen);

        assert!(
            said.starts_with("3 services before, 1 after; 7 would change, 2 of them are named"),
            "{said}"
        );
    }
}
