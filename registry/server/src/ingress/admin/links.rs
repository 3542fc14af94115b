//! Operators' orders about other regions: pause, freeze, evict, and taking them back. They live in Raft, so that every holder
//! of the region obeys alike and a restart forgets none.
//!
//! Invariant: nothing but an eviction deletes what is held of another region, and an eviction names its region twice.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use landbridge_model::{Hold, LinkOrder, Region};
use landbridge_registry_core::Command;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{refuse, submit};
use crate::member::Shared;

/// An order as operators write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderPage {
    order: String,
    /// The region's name once more; only an eviction needs it.
    #[serde(default)]
    confirm: String,
}

/// The orders that stand.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<Value>> {
    let sight = shared.state.sight();
    let rows = sight.links.iter().map(|(region, order)| {
        json!({ "region": region.as_str(), "order": order.hold.name(), "since_ms": order.since_ms })
    });
    Json(rows.collect())
}

/// What this member holds of a region, and would delete.
pub(super) async fn held(State(shared): State<Arc<Shared>>, Path(region): Path<String>) -> Json<Value> {
    Json(held_of(&shared, &region))
}

/// Gives an order.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Path(region): Path<String>,
    Json(page): Json<OrderPage>,
) -> Response {
    let (region, hold) = match read(&shared.region, &region, &page) {
        Ok(good) => good,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let held = held_of(&shared, region.as_str());
    let order = LinkOrder { hold, since_ms: shared.clock.unix_ms() };
    let answer = submit(&shared, Command::SetLink { region: region.clone(), order: Some(order) }).await;
    note(&shared, verb(Some(hold)), region.as_str(), &answer);
    if !answer.status().is_success() {
        return answer;
    }
    Json(json!({ "region": region.as_str(), "order": hold.name(), "held": held })).into_response()
}

/// Takes an order back.
pub(super) async fn delete(State(shared): State<Arc<Shared>>, Path(region): Path<String>) -> Response {
    let region = match Region::parse(&region) {
        Ok(region) => region,
        Err(invalid) => return refuse(StatusCode::BAD_REQUEST, invalid.to_string()),
    };
    let answer = submit(&shared, Command::SetLink { region: region.clone(), order: None }).await;
    note(&shared, verb(None), region.as_str(), &answer);
    if !answer.status().is_success() {
        return answer;
    }
    Json(json!({ "region": region.as_str(), "order": "open" })).into_response()
}

/// What operators did at this member and who was turned away from that, oldest first.
pub(super) async fn audit(State(shared): State<Arc<Shared>>) -> Response {
    let mut rows = shared.audit.rows();
    rows.extend(shared.knocks.rows());
    rows.sort_by_key(|row| row.unix_ms);
    Json(rows).into_response()
}

fn note(shared: &Shared, verb: &'static str, region: &str, answer: &Response) {
    let status = answer.status();
    let outcome = if status.is_success() { "done".to_owned() } else { status.to_string() };
    shared.audit.note(shared.clock.unix_ms(), "operator", verb, region, &outcome);
}

fn verb(hold: Option<Hold>) -> &'static str {
    match hold {
        Some(Hold::Paused) => "link pause",
        Some(Hold::Frozen) => "link freeze",
        Some(Hold::Evicted) => "link evict",
        None => "link resume",
    }
}

fn held_of(shared: &Shared, region: &str) -> Value {
    let sight = shared.state.sight();
    let origin = sight.origins.iter().find(|origin| origin.region.as_str() == region);
    json!({
        "region": region,
        "feeds": origin.map_or(0, |origin| origin.feeds),
        "records": origin.map_or(0, |origin| origin.records),
        "age_ms": origin.map(|origin| origin.age_ms),
    })
}

/// Reads an order, or tells what is wrong with it.
fn read(own: &Region, region: &str, page: &OrderPage) -> Result<(Region, Hold), String> {
    let region = Region::parse(region).map_err(|invalid| invalid.to_string())?;
    if region == *own {
        return Err(format!("{region} is the own region; orders are about others"));
    }
    let hold = Hold::named(&page.order);
    let hold = hold
        .ok_or_else(|| format!("\"{}\" is none of paused, frozen, evicted", page.order.escape_default()))?;
    if hold == Hold::Evicted && page.confirm != region.as_str() {
        return Err(format!(
            "an eviction deletes all that is held of {region}: confirm it with the region's name"
        ));
    }
    Ok((region, hold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(region: &str, order: &str, confirm: &str) -> Result<(Region, Hold), String> {
        let page = OrderPage { order: order.to_owned(), confirm: confirm.to_owned() };
        read(&Region::parse("east").expect("a valid region"), region, &page)
    }

    #[test]
    fn an_eviction_without_the_regions_name_is_refused() {
        for confirm in ["", "wes", "yes", "east"] {
            assert!(said("west", "evicted", confirm).is_err(), "{confirm:?} was taken for a confirmation");
        }
        assert!(said("west", "evicted", "west").is_ok_and(|(_, hold)| hold == Hold::Evicted));
        assert!(said("west", "paused", "").is_ok_and(|(_, hold)| hold == Hold::Paused));
    }

    #[test]
    fn the_own_region_and_unknown_orders_are_refused() {
        assert!(said("east", "frozen", "").is_err_and(|why| why.contains("own region")));
        assert!(said("west", "deleted", "").is_err_and(|why| why.contains("none of")));
    }
}
