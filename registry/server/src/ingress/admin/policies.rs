//! Policies: what each region may see of this one, and what of each shows here. They live in Raft.
//!
//! Invariant: a dry run answers what a policy would change and proposes nothing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use landbridge_model::{
    ExportPolicy, Group, ImportPolicy, InvalidName, KeyGlob, Namespace, Position, Region, Showing,
    import::{RENAMES_MAX, WEIGHT_SCALE_MAX},
    policy::GLOBS_MAX,
};
use landbridge_registry_core::{Command, Foreseen, Input, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{failed, refuse, submit};
use crate::{member::Shared, orders::Answered};

/// Whether it is only to be told what would change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    #[serde(default)]
    dry_run: bool,
}

/// An export policy as operators write it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportPage {
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

/// An import policy as operators write it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportPage {
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    namespaces: BTreeMap<String, String>,
    #[serde(default)]
    groups: BTreeMap<String, String>,
    #[serde(default = "one")]
    weight_scale: f64,
    max_stale_ms: Option<u64>,
    visibility: Option<String>,
}

fn one() -> f64 {
    1.0
}

/// The export policies that stand, by peer.
pub(super) async fn exports(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let sight = shared.state.sight();
    let page = |policy: &ExportPolicy| ExportPage { allow: texts(&policy.allow), deny: texts(&policy.deny) };
    let rows = sight.policies.iter().map(|(peer, policy)| (peer.to_string(), json!(page(policy))));
    Json(Value::Object(rows.collect()))
}

/// The import policies that stand, by region.
pub(super) async fn imports(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let sight = shared.state.sight();
    let rows = sight.imports.iter().map(|(region, policy)| (region.to_string(), json!(page_of(policy))));
    Json(Value::Object(rows.collect()))
}

/// Lets a peer see services of this region.
pub(super) async fn put_export(
    State(shared): State<Arc<Shared>>,
    Path(peer): Path<String>,
    Query(how): Query<How>,
    Json(page): Json<ExportPage>,
) -> Response {
    match parse_export(&peer, &page) {
        Ok((region, policy)) => {
            let command = Command::SetPolicy { peer: region, policy: Some(Arc::new(policy)) };
            set(&shared, how, "policy export", &peer, command).await
        }
        Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong.join("; ")),
    }
}

/// Lets a peer see nothing.
pub(super) async fn delete_export(
    State(shared): State<Arc<Shared>>,
    Path(peer): Path<String>,
    Query(how): Query<How>,
) -> Response {
    match Region::parse(&peer) {
        Ok(region) => {
            set(&shared, how, "policy remove", &peer, Command::SetPolicy { peer: region, policy: None }).await
        }
        Err(invalid) => refuse(StatusCode::BAD_REQUEST, invalid.to_string()),
    }
}

/// Says what of a region shows here.
pub(super) async fn put_import(
    State(shared): State<Arc<Shared>>,
    Path(region): Path<String>,
    Query(how): Query<How>,
    Json(page): Json<ImportPage>,
) -> Response {
    match parse_import(&shared.region, &region, &page) {
        Ok((origin, policy)) => {
            let command = Command::SetImport { region: origin, policy: Some(Arc::new(policy)) };
            set(&shared, how, "policy import", &region, command).await
        }
        Err(wrong) => refuse(StatusCode::BAD_REQUEST, wrong.join("; ")),
    }
}

/// Lets everything of a region show here.
pub(super) async fn delete_import(
    State(shared): State<Arc<Shared>>,
    Path(region): Path<String>,
    Query(how): Query<How>,
) -> Response {
    match Region::parse(&region) {
        Ok(origin) => {
            let command = Command::SetImport { region: origin, policy: None };
            set(&shared, how, "policy import-all", &region, command).await
        }
        Err(invalid) => refuse(StatusCode::BAD_REQUEST, invalid.to_string()),
    }
}

/// Proposes a policy and notes who asked for it, or tells what it would change.
async fn set(shared: &Shared, how: How, verb: &'static str, region: &str, command: Command) -> Response {
    if !how.dry_run {
        let answer = submit(shared, command).await;
        let status = answer.status();
        let outcome = if status.is_success() { "done".to_owned() } else { status.to_string() };
        shared.audit.note(shared.clock.unix_ms(), "operator", verb, region, &outcome);
        return answer;
    }
    match shared.orders.ask(|ticket| Input::Foresee { ticket, command }).await {
        Ok(Answered::Core(Outcome::Foreseen(foreseen))) => Json(shown(&foreseen)).into_response(),
        Ok(Answered::Core(_) | Answered::Raft(..) | Answered::Seen) => Json(json!({})).into_response(),
        Err(why) => failed(why),
    }
}

fn shown(foreseen: &Foreseen) -> Value {
    let row = |row: &landbridge_registry_core::ForeseenRow| {
        let (namespace, group) = (row.service.namespace(), row.service.group());
        let service = format!("{namespace}/{group}/{}", row.service.service());
        json!({ "service": service, "before": row.before, "after": row.after })
    };
    json!({
        "dry_run": true,
        "before": foreseen.before,
        "after": foreseen.after,
        "rows": foreseen.rows.iter().map(row).collect::<Vec<_>>(),
        "unnamed": foreseen.unnamed,
    })
}

fn texts(globs: &[KeyGlob]) -> Vec<String> {
    globs.iter().map(ToString::to_string).collect()
}

fn page_of(policy: &ImportPolicy) -> ImportPage {
    let namespaces = policy.namespaces.iter().map(|(from, to)| (from.to_string(), to.to_string()));
    let groups = policy.groups.iter().map(|(from, to)| (from.to_string(), to.to_string()));
    ImportPage {
        allow: texts(&policy.allow),
        deny: texts(&policy.deny),
        namespaces: namespaces.collect(),
        groups: groups.collect(),
        weight_scale: policy.weight_scale,
        max_stale_ms: policy.max_stale_ms,
        visibility: policy.visibility.map(|visibility| visibility.name().to_owned()),
    }
}

/// Reads an export policy, or tells everything that is wrong with it.
fn parse_export(peer: &str, page: &ExportPage) -> Result<(Region, ExportPolicy), Vec<String>> {
    let mut wrong = Vec::new();
    let (allow, deny) = (globs(&page.allow, &mut wrong), globs(&page.deny, &mut wrong));
    let policy = ExportPolicy { since: Position::NONE, allow, deny };
    bounded(policy.allow.len() + policy.deny.len(), GLOBS_MAX, "globs", &mut wrong);
    region_and(peer, policy, wrong)
}

/// Reads an import policy, or tells everything that is wrong with it.
fn parse_import(
    own: &Region,
    region: &str,
    page: &ImportPage,
) -> Result<(Region, ImportPolicy), Vec<String>> {
    let mut wrong = Vec::new();
    if region == own.as_str() {
        wrong.push(format!("{region} is the own region; import policies are about others"));
    }
    let (allow, deny) = (globs(&page.allow, &mut wrong), globs(&page.deny, &mut wrong));
    let namespaces = renames(&page.namespaces, Namespace::parse, &mut wrong);
    let groups = renames(&page.groups, Group::parse, &mut wrong);
    if !(0.0..=WEIGHT_SCALE_MAX).contains(&page.weight_scale) {
        wrong.push(format!("weight_scale {} is not from 0 to {WEIGHT_SCALE_MAX}", page.weight_scale));
    }
    let visibility = page.visibility.as_deref().map(|name| (name, Showing::named(name)));
    if let Some((name, None)) = visibility {
        wrong.push(format!("visibility \"{}\" is none of failover, merge, hidden", name.escape_default()));
    }
    bounded(allow.len() + deny.len(), GLOBS_MAX, "globs", &mut wrong);
    bounded(namespaces.len(), RENAMES_MAX, "renamed namespaces", &mut wrong);
    bounded(groups.len(), RENAMES_MAX, "renamed groups", &mut wrong);
    let policy = ImportPolicy {
        allow,
        deny,
        namespaces,
        groups,
        weight_scale: page.weight_scale,
        max_stale_ms: page.max_stale_ms,
        visibility: visibility.and_then(|(_, showing)| showing),
    };
    region_and(region, policy, wrong)
}

fn globs(list: &[String], wrong: &mut Vec<String>) -> Vec<KeyGlob> {
    let parsed = list.iter().map(|text| KeyGlob::parse(text));
    parsed.filter_map(|glob| glob.map_err(|invalid| wrong.push(invalid.to_string())).ok()).collect()
}

fn renames<T: Ord>(
    page: &BTreeMap<String, String>,
    parse: impl Fn(&str) -> Result<T, InvalidName>,
    wrong: &mut Vec<String>,
) -> BTreeMap<T, T> {
    let pairs = page.iter().map(|(from, to)| Ok::<_, InvalidName>((parse(from)?, parse(to)?)));
    pairs.filter_map(|pair| pair.map_err(|invalid| wrong.push(invalid.to_string())).ok()).collect()
}

fn bounded(count: usize, max: usize, what: &str, wrong: &mut Vec<String>) {
    if count > max {
        wrong.push(format!("a policy has at most {max} {what}"));
    }
}

fn region_and<T>(region: &str, policy: T, mut wrong: Vec<String>) -> Result<(Region, T), Vec<String>> {
    match Region::parse(region) {
        Ok(region) if wrong.is_empty() => Ok((region, policy)),
        Ok(_) => Err(wrong),
        Err(invalid) => {
            wrong.push(invalid.to_string());
            Err(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_of_a_policy_is_told_at_once() {
        let page = ExportPage { allow: vec!["public/*".into(), "a b/c/d".into()], deny: vec!["x".into()] };

        let wrong = parse_export("Not A Region", &page).expect_err("nothing of it is right");

        assert_eq!(wrong.len(), 4, "{wrong:?}");
    }

    #[test]
    fn every_mistake_of_an_import_policy_is_told_at_once() {
        let page = ImportPage {
            allow: vec!["public/*".into()],
            deny: Vec::new(),
            namespaces: [("a b".to_owned(), "c".to_owned())].into(),
            groups: [("a".to_owned(), "b/c".to_owned())].into(),
            weight_scale: f64::NAN,
            max_stale_ms: None,
            visibility: Some("gateway".to_owned()),
        };

        let own = Region::parse("east").expect("a valid region");
        let wrong = parse_import(&own, "east", &page).expect_err("nothing of it is right");

        assert_eq!(wrong.len(), 6, "{wrong:?}");
    }

    #[test]
    fn an_import_policy_is_shown_as_it_was_written() {
        let text = r#"{"allow":["*/*/*"],"deny":["a/b/c"],"namespaces":{"public":"west"},"groups":{"g":"h"},
            "weight_scale":0.5,"max_stale_ms":60000,"visibility":"merge"}"#;
        let page: ImportPage = serde_json::from_str(text).expect("a good page");

        let own = Region::parse("east").expect("a valid region");
        let (_, policy) = parse_import(&own, "west", &page).expect("a good policy");

        assert_eq!(json!(page_of(&policy)), serde_json::from_str::<Value>(text).expect("JSON"));
    }
}
