//! Links to other regions: orders that the whole region obeys, by a registry; rebuilding and comparing copies, by a bridge.

use http::Method;
use landbridge_client::Admin;
use serde_json::{Value, json};

use super::{DOOR, percent};
use crate::arguments::{LinkVerb, Output};
use crate::ending::{Ending, Trouble};
use crate::output::{self, Shape};

/// Orders that stand, or one that was given.
const ORDERS: Shape = Shape { columns: &["region", "order", "since_ms"], name: "region" };

/// What a region holds of another.
const HELD: Shape = Shape { columns: &["region", "feeds", "records", "age_ms"], name: "region" };

/// What differs, one row a key.
const DIFFERENCES: Shape = Shape { columns: &["differs", "feed", "service", "key"], name: "key" };

/// Does what the verb says.
pub(crate) async fn run(admin: &Admin, verb: LinkVerb, output: Output) -> Result<(), Trouble> {
    match verb {
        LinkVerb::Orders => {
            let orders: Value = admin.read(&format!("{DOOR}/links")).await?;
            output::print(&orders, ORDERS, output)
        }
        LinkVerb::Pause { region } => give(admin, &region, "paused", "", output).await,
        LinkVerb::Freeze { region } => give(admin, &region, "frozen", "", output).await,
        LinkVerb::Resume { region } => {
            let said: Value = admin.write(Method::DELETE, &of(&region), &json!({})).await?;
            output::print(&said, ORDERS, output)
        }
        LinkVerb::Evict { region, dry_run, confirm } => {
            let held: Value = admin.read(&format!("{}/held", of(&region))).await?;
            let confirmed = confirm.as_deref() == Some(region.as_str());
            if dry_run {
                return output::print(&held, HELD, output);
            }
            let what = format!("{} records of {} feeds of {region}", held["records"], held["feeds"]);
            if !confirmed {
                let sentence = format!(
                    "this would delete {what} at every member, bridge and gateway of this region: confirm it with \
                     --confirm {region}"
                );
                return Err(Trouble::new(Ending::Refused, sentence));
            }
            eprintln!("deleting {what}");
            give(admin, &region, "evicted", &region, output).await
        }
        LinkVerb::Resync { region } => {
            let said: Value =
                admin.write(Method::POST, &format!("{}/resync", of(&region)), &json!({})).await?;
            output::print(&said, HELD, output)
        }
        LinkVerb::Diff { region } => {
            let report: Value =
                admin.write(Method::POST, &format!("{}/diff", of(&region)), &json!({})).await?;
            if output != Output::Json {
                eprintln!("{}", summary(&report));
            }
            let shown = if output == Output::Json { &report } else { &report["rows"] };
            output::print(shown, DIFFERENCES, output)
        }
    }
}

async fn give(
    admin: &Admin,
    region: &str,
    order: &str,
    confirm: &str,
    output: Output,
) -> Result<(), Trouble> {
    let page = json!({ "order": order, "confirm": confirm });
    let said: Value = admin.write(Method::PUT, &of(region), &page).await?;
    output::print(&said, ORDERS, output)
}

fn of(region: &str) -> String {
    format!("{DOOR}/links/{}", percent(region))
}

/// The counts of a comparison in a sentence.
fn summary(report: &Value) -> String {
    let feeds = report["feeds"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |count: &str| feeds.iter().filter_map(|feed| feed[count].as_u64()).sum::<u64>();
    let behind = feeds.iter().filter(|feed| feed["held"] != feed["told"]).count();
    format!(
        "{} feeds: {} keys missing here, {} held that the origin does not say, {} not alike; {behind} feeds were compared \
         at different positions; {} keys are not named",
        feeds.len(),
        sum("missing"),
        sum("extra"),
        sum("changed"),
        report["unnamed"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_summed_over_its_feeds() {
        let feed = |missing, held| json!({ "missing": missing, "extra": 1, "changed": 0, "held": held, "told": "1/9" });
        let report = json!({ "feeds": [feed(2, "1/9"), feed(3, "1/8")], "rows": [], "unnamed": 0 });

        let said = summary(&report);

        assert!(said.starts_with("2 feeds: 5 keys missing here, 2 held"), "{said}");
        assert!(said.contains("1 feeds were compared at different positions"), "{said}");
    }
}
