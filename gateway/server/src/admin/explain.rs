//! Why a call goes where it goes: which rule of a listener takes it, and which endpoint of the service it is for.
//!
//! Invariant: both answers come from the code that routes; what is told here is only listened to.

use axum::{
    Json,
    extract::{Query, State},
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use landbridge_gateway_core::{
    Caller, Decision, Looked, Misfit, RouteTable, Routed, Rule, Service, Step, explain,
};
use landbridge_model::{Moment, Region, Zone};
use landbridge_runtime::dice;
use serde_json::{Map, Value, json};

use super::{Office, endpoint_json, refusal};
use crate::{
    layers::{admit, forward, retry, route},
    view::View,
};

/// What is asked: a service, or a call as it would come.
#[derive(Default)]
struct Asking {
    service: Option<String>,
    /// The name of a listener; the first, if none is given.
    listener: Option<String>,
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    /// Each `name: value`.
    headers: Vec<String>,
    /// `region/zone`, or a region.
    from: Option<String>,
    /// The same number gives the same choice while nothing else changes.
    dice: Option<u64>,
    /// Endpoints that failed the call already, as positions separated by commas.
    tried: Option<String>,
}

impl Asking {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut asking = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "service" => asking.service = Some(value),
                "listener" => asking.listener = Some(value),
                "method" => asking.method = Some(value),
                "host" => asking.host = Some(value),
                "path" => asking.path = Some(value),
                "header" => asking.headers.push(value),
                "from" => asking.from = Some(value),
                "dice" => {
                    asking.dice = Some(value.parse().map_err(|_| format!("dice: {value:?} is no number"))?)
                }
                "tried" => asking.tried = Some(value),
                other => return Err(format!("nothing is asked by {other:?}")),
            }
        }
        let call = [&asking.listener, &asking.method, &asking.host, &asking.path];
        let of_a_call = call.iter().any(|part| part.is_some()) || !asking.headers.is_empty();
        match (&asking.service, of_a_call) {
            (Some(_), true) => {
                Err("either a service is asked about or a call, which finds its own".to_owned())
            }
            (None, false) => {
                Err("a service is to be named, or a call: path, host, method, header".to_owned())
            }
            (Some(_), false) | (None, true) => Ok(asking),
        }
    }

    /// The head of the call as it would come.
    fn head(&self) -> Result<Parts, String> {
        let method = self.method.as_deref().unwrap_or("GET");
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method"))?;
        let path = self.path.as_deref().unwrap_or("/");
        let host = self.host.as_deref().unwrap_or("any");
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        for written in &self.headers {
            let (name, value) = written.split_once(':').ok_or_else(|| format!("{written:?} is no header"))?;
            let name =
                HeaderName::try_from(name.trim()).map_err(|_| format!("{name:?} is no header name"))?;
            let value = HeaderValue::try_from(value.trim()).map_err(|_| format!("{value:?} is no value"))?;
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(|why| format!("that is no call: {why}"))?;
        Ok(request.into_parts().0)
    }
}

/// Answers for a service, or for a call.
pub(super) async fn explained(
    State(office): State<Office>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let view = office.shared.view.load_full();
    let now = Moment(office.shared.clock.now());
    let told = Asking::read(pairs)
        .map_err(|why| (StatusCode::BAD_REQUEST, why))
        .and_then(|asking| tell(&view, now, &asking));
    match told {
        Ok(told) => Json(Value::Object(told)).into_response(),
        Err((status, why)) => refusal(status, why),
    }
}

/// What is wrong with a question.
type Wrong = (StatusCode, String);

fn tell(view: &View, now: Moment, asking: &Asking) -> Result<Map<String, Value>, Wrong> {
    let dice = asking.dice.unwrap_or_else(dice::seed);
    let mut told = Map::new();
    told.insert("version".into(), view.snapshot.version.into());
    told.insert("dice".into(), dice.into());
    let service = match &asking.service {
        Some(name) => {
            let unknown = || (StatusCode::NOT_FOUND, format!("no service is called {name:?}"));
            Some(view.snapshot.named(name).ok_or_else(unknown)?)
        }
        None => {
            let (route, service) = routed(view, asking, dice)?;
            told.insert("route".into(), route);
            service
        }
    };
    let caller = caller(&view.snapshot.home, asking.from.as_deref());
    let caller = caller.map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    told.insert("from".into(), format!("{}/{}", caller.region, caller.zone).into());
    match service {
        Some(service) => choice(view, service, &caller, (now, dice), asking.tried.as_deref(), &mut told)?,
        None => told.extend([("service".to_owned(), Value::Null), ("decision".to_owned(), Value::Null)]),
    }
    Ok(told)
}

fn caller(home: &Caller, from: Option<&str>) -> Result<Caller, String> {
    let Some(from) = from else { return Ok(home.clone()) };
    let (region, zone) = from.split_once('/').unwrap_or((from, "unknown"));
    let region = Region::parse(region).map_err(|why| why.to_string())?;
    Ok(Caller { region, zone: Zone::parse(zone).map_err(|why| why.to_string())? })
}

/// Which rule takes a call, and the service it leads to.
fn routed<'a>(view: &'a View, asking: &Asking, dice: u64) -> Result<(Value, Option<&'a Service>), Wrong> {
    let wrong = |why: String| (StatusCode::BAD_REQUEST, why);
    let head = asking.head().map_err(wrong)?;
    let mut listeners = view.snapshot.listeners().iter();
    let named = asking.listener.as_deref();
    let position = listeners.position(|table| named.is_none_or(|name| table.listener == name));
    let unknown = || (StatusCode::NOT_FOUND, format!("no listener is called {named:?}"));
    let position = position.ok_or_else(unknown)?;
    let table = &view.snapshot.listeners()[position];
    let listener = table.listener.as_str();
    if let Err(refused) = admit::check(&head.method, &head.uri, head.version, &head.headers) {
        let answer = json!({ "listener": listener, "refused": refused.reason(), "rules": [] });
        return Ok((answer, None));
    }
    let Routed { matched, looked } = view.snapshot.explain(position, &route::question(&head, || dice));
    let rules: Vec<_> = looked.iter().map(|looked| rule_json(table, looked)).collect();
    let (service, route, cut) = match route::led(matched) {
        Ok(led) => led,
        Err(refused) => {
            return Ok((json!({ "listener": listener, "refused": refused.reason(), "rules": rules }), None));
        }
    };
    let policy = view.snapshot.policy(position, route);
    let rewrites = route.map(|route| view.snapshot.route(position, route));
    let path = forward::rewritten(rewrites, cut, &head.uri);
    let retries = &view.settings.retries;
    let answer = json!({
        "listener": listener,
        "rules": rules,
        "refused": null,
        "id": rewrites.map(|route| route.id.as_str()),
        "path": path.map_err(|refused| wrong(refused.reason().to_owned()))?
            .map_or_else(|| head.uri.path().to_owned(), |path| path.path().to_owned()),
        "repeatable": retry::repeatable(retries, &policy, &head.method),
        "timeout_ms": policy.timeout_ms.unwrap_or(view.settings.overall_ms),
        "try_timeout_ms": policy.try_timeout_ms.unwrap_or(view.settings.try_ms),
        "tries_max": policy.tries_max.unwrap_or(retries.tries_max),
    });
    Ok((answer, Some(view.snapshot.service(service))))
}

/// A rule that was looked at, in words.
fn rule_json(table: &RouteTable, looked: &Looked) -> Value {
    let route = |position: u32| &table.routes[position as usize];
    let rule = match looked.rule {
        Rule::Route(position) => format!("route {}", route(position).id),
        Rule::ByHeader => "service by header".to_owned(),
        Rule::ByHost => "service by host".to_owned(),
        Rule::ByPath => "service by path".to_owned(),
    };
    let because = looked.misfit.map(|misfit| match (misfit, looked.rule) {
        (Misfit::Closed, _) => "this listener does not allow it".to_owned(),
        (Misfit::Host, _) => "the call is for another host".to_owned(),
        (Misfit::Path, _) => "the path begins otherwise".to_owned(),
        (Misfit::Header(at), Rule::Route(position)) => {
            let (name, value) = &route(position).headers[at as usize];
            format!("the header {name} is not {value:?}")
        }
        (Misfit::Header(_), Rule::ByHeader | Rule::ByHost | Rule::ByPath) => {
            "no header names a service".to_owned()
        }
    });
    json!({ "rule": rule, "takes": because.is_none(), "because": because })
}

/// Which endpoint of a service a call goes to.
fn choice(
    view: &View,
    service: &Service,
    caller: &Caller,
    (now, dice): (Moment, u64),
    tried: Option<&str>,
    told: &mut Map<String, Value>,
) -> Result<(), Wrong> {
    let count = service.endpoints().len();
    let tried = tried.iter().flat_map(|list| list.split(',')).filter(|text| !text.is_empty());
    let tried: Result<Vec<u32>, _> = tried.map(str::parse).collect();
    let Some(tried) = tried.ok().filter(|tried| tried.iter().all(|at| (*at as usize) < count)) else {
        return Err((StatusCode::BAD_REQUEST, format!("tried names positions below {count}")));
    };
    let ladder = view.snapshot.ladder(caller, service);
    let explained = explain(&view.settings.pick, service, &ladder, now, dice, &tried);
    let address = |at: u32| {
        let endpoint = service.endpoint(at);
        format!("{}:{}", endpoint.address, endpoint.port)
    };
    let decision = match explained.decision {
        Decision::Use(choice) => json!({
            "endpoint": address(choice.endpoint), "position": choice.endpoint,
            "rung": choice.rung.as_str(), "panic": choice.panic,
        }),
        Decision::Nobody => Value::Null,
    };
    let step = |(at, step): (usize, &Step)| {
        let weighed = explained.weighed.iter().rev().find(|weighed| weighed.step == at);
        json!({
            "rung": step.rung.as_str(), "region": step.region.as_str(), "verified": step.verified,
            "evacuated": step.leaving.is_some(),
            "weight": step.weight(), "available": weighed.map(|weighed| weighed.available),
            "share": weighed.map(|weighed| weighed.capacity),
            "slow": weighed.is_some_and(|weighed| weighed.keeps < 1.0),
            "keeps": weighed.map(|weighed| weighed.keeps),
            "endpoints": step.endpoints().map(address).collect::<Vec<_>>(),
        })
    };
    let compared = explained.compared.iter();
    let compared = compared.map(|one| json!({ "endpoint": address(one.endpoint), "cost": one.cost }));
    let endpoints = service.endpoints().iter().map(|one| endpoint_json(view, now, one));
    told.extend([
        ("service".to_owned(), service.name.to_string().into()),
        ("decision".to_owned(), decision),
        ("ladder".to_owned(), ladder.steps().iter().enumerate().map(step).collect()),
        ("compared".to_owned(), compared.collect()),
        ("endpoints".to_owned(), endpoints.collect()),
    ]);
    Ok(())
}
