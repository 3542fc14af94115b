//! Drills: letting calls leave a region or a zone, looking ahead at where they would go, and ending it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use landbridge_gateway_core::{Evacuation, Ladder, Service, spread};
use landbridge_model::{Moment, Region, Zone};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Office, refusal};
use crate::{config::any_name, gateway::Order, view::View, writer::EVACUATIONS_MAX};

/// The longest drill: a place that is to be left for longer should be taken from the registry.
const DURATION_MS_MAX: u64 = 24 * 3_600_000;

/// The time of a drill that names none.
const DURATION_MS: u64 = 3_600_000;

/// The ramp of a drill that names none.
const RAMP_MS: u64 = 30_000;

/// Services shown one by one in a look ahead; all count in its sums.
const SERVICES_SHOWN_MAX: usize = 1_000;

/// A drill as operators ask for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    region: String,
    zone: Option<String>,
    services: Option<Vec<String>>,
    ramp_ms: Option<u64>,
    for_ms: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct How {
    /// Only tell where calls would go.
    #[serde(default)]
    preview: bool,
}

impl Asked {
    fn drill(&self, now: Moment) -> Result<Evacuation, String> {
        let for_ms = self.for_ms.unwrap_or(DURATION_MS);
        if for_ms == 0 || for_ms > DURATION_MS_MAX {
            return Err(format!("for_ms: from 1 to {DURATION_MS_MAX} (a day), not {for_ms}"));
        }
        let ramp_ms = self.ramp_ms.unwrap_or(RAMP_MS.min(for_ms));
        if ramp_ms > for_ms {
            return Err(format!("ramp_ms: at most for_ms ({for_ms}), not {ramp_ms}"));
        }
        let named = |list: &Vec<String>| list.iter().map(|text| any_name(text)).collect();
        Ok(Evacuation {
            region: Region::parse(&self.region).map_err(|why| format!("region: {why}"))?,
            zone: match &self.zone {
                Some(zone) => Some(Zone::parse(zone).map_err(|why| format!("zone: {why}"))?),
                None => None,
            },
            services: self
                .services
                .as_ref()
                .map(named)
                .transpose()
                .map_err(|why| format!("services: {why}"))?,
            begun: now,
            ramp_ms,
            until: now.after(for_ms),
        })
    }
}

/// Begins a drill, or looks ahead.
pub(super) async fn begin(
    State(office): State<Office>,
    Query(how): Query<How>,
    Json(asked): Json<Asked>,
) -> Response {
    let now = Moment(office.shared.clock.now());
    let drill = match asked.drill(now) {
        Ok(drill) => drill,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, why),
    };
    let view = office.shared.view.load_full();
    let covered = |service: &&Arc<Service>| {
        drill.concerns(&service.name) && service.endpoints().iter().any(|endpoint| drill.covers(endpoint))
    };
    let concerned: Vec<_> = view.snapshot.services().filter(covered).cloned().collect();
    if concerned.is_empty() {
        return refusal(StatusCode::NOT_FOUND, "no endpoint of the services asked about lies in that place");
    }
    let forecast = forecast(&view, &drill, &concerned, now);
    if how.preview {
        return Json(json!({ "preview": true, "forecast": forecast })).into_response();
    }
    let (done, told) = oneshot::channel();
    if office.orders.try_send(Order::Evacuate(Box::new(drill.clone()), done)).is_err() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many orders wait: try again");
    }
    match told.await {
        Ok(Some(id)) => Json(json!({ "id": id, "forecast": forecast })).into_response(),
        Ok(None) => {
            let why = format!("{EVACUATIONS_MAX} evacuations run already: end one first");
            refusal(StatusCode::CONFLICT, why)
        }
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway ends"),
    }
}

/// The shares of calls by region and rung.
fn shares(view: &View, service: &Service, ladder: &Ladder, now: Moment) -> BTreeMap<String, f64> {
    let mut places = BTreeMap::new();
    let shares = spread(&view.settings.pick, service, ladder, now);
    for (step, share) in ladder.steps().iter().zip(shares).filter(|(_, share)| *share > 0.0) {
        *places.entry(format!("{} {}", step.region, step.rung.as_str())).or_default() += share;
    }
    places
}

/// Where calls go now and where they would go at the end of the ramp, by the very code that routes them.
fn forecast(view: &View, drill: &Evacuation, services: &[Arc<Service>], now: Moment) -> Value {
    let at_the_end = Arc::new(Evacuation { ramp_ms: 0, ..drill.clone() });
    let mut drills = vec![at_the_end];
    drills.extend(view.snapshot.evacuations.iter().cloned());
    let mut without_another_place = Vec::new();
    let mut shown = BTreeMap::new();
    for service in services {
        let after = view.snapshot.ladder_with(service, &drills);
        if service.endpoints().iter().all(|endpoint| drill.covers(endpoint)) {
            without_another_place.push(service.name.to_string());
        }
        if shown.len() < SERVICES_SHOWN_MAX {
            let (now_at, then_at) =
                (shares(view, service, service.home(), now), shares(view, service, &after, now));
            shown.insert(service.name.to_string(), json!({ "now": now_at, "then": then_at }));
        }
    }
    json!({
        "services": services.len(),
        "without_another_place": without_another_place,
        "shares": shown,
    })
}

fn drill_json(id: u64, drill: &Evacuation, now: Moment) -> Value {
    let services = drill.services.as_ref();
    json!({
        "id": id,
        "region": drill.region.as_str(),
        "zone": drill.zone.as_ref().map(Zone::as_str),
        "services": services.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "keeps": drill.keeps(now),
        "ramp_ms": drill.ramp_ms,
        "ends_in_ms": drill.until.since(now),
    })
}

/// Lists the drills that run.
pub(super) async fn list(State(office): State<Office>) -> Response {
    let (done, told) = oneshot::channel();
    if office.orders.try_send(Order::Drills(done)).is_err() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many orders wait: try again");
    }
    let now = Moment(office.shared.clock.now());
    let drills = told.await.unwrap_or_default();
    let drills: Vec<_> = drills.iter().map(|(id, drill)| drill_json(*id, drill, now)).collect();
    Json(json!({ "evacuations": drills })).into_response()
}

/// Ends a drill.
pub(super) async fn end(State(office): State<Office>, Path(id): Path<u64>) -> Response {
    let (done, told) = oneshot::channel();
    if office.orders.try_send(Order::Recall(id, done)).is_err() {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many orders wait: try again");
    }
    match told.await {
        Ok(true) => Json(json!({ "ended": id })).into_response(),
        Ok(false) => refusal(StatusCode::NOT_FOUND, format!("no evacuation has the number {id}")),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway ends"),
    }
}
