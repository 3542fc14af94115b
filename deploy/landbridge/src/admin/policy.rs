//! Export policies: what each region may see of this one.

use http::Method;
use landbridge_client::Admin;
use serde_json::{Value, json};

use super::{DOOR, percent};
use crate::arguments::{Output, PolicyVerb};
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// Policies, one row a peer.
const POLICIES: Shape = Shape { columns: &["peer", "allow", "deny"], name: "peer" };

/// Where a write was decided.
const DECIDED: Shape = Shape { columns: &["era", "seq"], name: "seq" };

/// Does what the verb says.
pub(crate) async fn run(admin: &Admin, verb: PolicyVerb, output: Output) -> Result<(), Trouble> {
    match verb {
        PolicyVerb::List => {
            let by_peer: Value = admin.read(&format!("{DOOR}/policies/export")).await?;
            let shown = if output == Output::Json { by_peer } else { rows(by_peer) };
            output::print(&shown, POLICIES, output)
        }
        PolicyVerb::Export { peer, allow, deny } => {
            let page = json!({ "allow": allow, "deny": deny });
            let decided: Value = admin.write(Method::PUT, &of_peer(&peer), &page).await?;
            output::print(&decided, DECIDED, output)
        }
        PolicyVerb::Remove { peer } => {
            let decided: Value = admin.write(Method::DELETE, &of_peer(&peer), &json!({})).await?;
            output::print(&decided, DECIDED, output)
        }
    }
}

fn of_peer(peer: &str) -> String {
    format!("{DOOR}/policies/export/{}", percent(peer))
}

/// `{"west": {"allow": …}}` as rows with the peer as a column.
fn rows(by_peer: Value) -> Value {
    let Value::Object(by_peer) = by_peer else { return by_peer };
    let row = |(peer, mut policy): (String, Value)| {
        if let Value::Object(fields) = &mut policy {
            fields.insert("peer".to_owned(), Value::String(peer));
        }
        policy
    };
    Value::Array(by_peer.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_become_rows_with_their_peer() {
        let shown = rows(json!({ "west": { "allow": ["*/*/*"], "deny": [] } }));

        assert_eq!(shown, json!([{ "allow": ["*/*/*"], "deny": [], "peer": "west" }]));
    }
}
