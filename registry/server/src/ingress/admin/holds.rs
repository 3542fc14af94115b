//! Mass lapses that are held back at this member, and letting them go.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use landbridge_model::Region;
use landbridge_registry_core::Input;
use serde_json::{Value, json};

use super::refuse;
use crate::member::Shared;

/// What is held back, by region.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<Value>> {
    let sight = shared.state.sight();
    let rows = sight.holds.iter().map(|(origin, held)| {
        let what = if *origin == shared.region { "leases" } else { "instances" };
        json!({ "origin": origin.as_str(), "held": held, "what": what })
    });
    Json(rows.collect())
}

/// Lets go what is held of a region: its instances vanish at once.
pub(super) async fn release(State(shared): State<Arc<Shared>>, Path(origin): Path<String>) -> Response {
    let region = match Region::parse(&origin) {
        Ok(region) => region,
        Err(invalid) => return refuse(StatusCode::BAD_REQUEST, invalid.to_string()),
    };
    let sight = shared.state.sight();
    let Some((_, held)) = sight.holds.iter().find(|(held, _)| *held == region) else {
        shared.audit.note(shared.clock.unix_ms(), "operator", "release", region.as_str(), "refused");
        return refuse(StatusCode::NOT_FOUND, format!("nothing of region {region} is held at this member"));
    };
    shared.orders.tell(Input::Release { origin: region.clone() }).await;
    shared.audit.note(shared.clock.unix_ms(), "operator", "release", region.as_str(), "done");
    Json(json!({ "origin": region.as_str(), "released": held })).into_response()
}
