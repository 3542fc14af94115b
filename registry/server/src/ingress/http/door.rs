//! What a call needs and what its caller showed: the rule of each route, applied before its handler sees anything.
//!
//! Invariant: the service that is judged is read by the same code as the service that is acted on.

use axum::http::{HeaderMap, Method, header};
use landbridge_model::ServiceKey;
use landbridge_wire::nacos::codes;

use super::{
    ask::{Ask, Whole},
    routes::{Call, InstanceCall, OperatorCall, PageCall, Right, ServiceCall},
};
use crate::{
    auth::{self, Action, Denied, Need, Principal, Shown},
    ingress::{
        admin,
        status::{self, Refused},
    },
    upstream,
};

/// The header that carries a token beside `Authorization`.
const TOKEN_HEADER: &str = "accessToken";

/// Lets a caller in and notes who it is, or tells why not; who is known and has no right is noted too.
pub(super) async fn admit(ask: &mut Ask) -> Result<(), Refused> {
    ask.principal = judged(ask).await.map_err(|(who, refused)| {
        ask.principal = who;
        refused
    })?;
    Ok(())
}

async fn judged(ask: &Ask) -> Result<Principal, (Principal, Refused)> {
    let shared = &ask.shared;
    if !shared.auth_enabled() {
        return match ask.route.right {
            Right::Admin if !admin::allows(shared, &ask.headers, ask.caller) => {
                Err((Principal::Anyone, Refused::denied(admin::mend(shared))))
            }
            Right::Admin => Ok(Principal::Operator),
            Right::Open | Right::Read | Right::Write | Right::Survey | Right::Look | Right::Govern => {
                Ok(Principal::Anyone)
            }
        };
    }
    let desk = shared.desk();
    let (shown, now_s) = (shown(ask), shared.now_s());
    let denied = match shared.auth.admit(&shown, &need(ask), desk.book(), now_s).await {
        Ok(principal) => return Ok(principal),
        Err(denied) => denied,
    };
    auth::count("http", &denied);
    let who = match denied {
        Denied::NoRight => shared.auth.identify(&shown, desk.book(), now_s).await.ok(),
        Denied::Stranger | Denied::Worthless(_) | Denied::Busy => None,
    };
    Err((who.unwrap_or(Principal::Anyone), refused(&denied)))
}

/// Refuses naming calls where the switch `overriddenServerStatus` says so, as Nacos's `TrafficReviseFilter` does; the switch
/// itself and the page that tells the status are answered whatever it says.
pub(super) fn open(ask: &Ask) -> Result<(), Refused> {
    let is_naming = match ask.route.call {
        Call::Instance(_) | Call::Service(_) | Call::Client(_) => true,
        Call::Operator(OperatorCall::PushState | OperatorCall::SetLog) => true,
        Call::Operator(OperatorCall::Switches | OperatorCall::SetSwitch | OperatorCall::Metrics)
        | Call::Core(_)
        | Call::Namespace(_)
        | Call::Page(_)
        | Call::Config(_)
        | Call::User(_) => false,
    };
    let desk = ask.shared.desk();
    let reads = [Method::GET, Method::HEAD].contains(&ask.whole.method);
    match desk.switches().overridden_status.as_deref() {
        None | Some("UP") => Ok(()),
        Some("READ_ONLY") if reads => Ok(()),
        Some("WRITE_ONLY") if !reads => Ok(()),
        Some(said) if is_naming => Err(status::unavailable(&codes::overridden(said))),
        Some(_) => Ok(()),
    }
}

/// Why a caller was turned away, as HTTP tells it.
pub(super) fn refused(denied: &Denied) -> Refused {
    match denied {
        Denied::Busy => status::busy(),
        Denied::Stranger | Denied::Worthless(_) | Denied::NoRight => Refused::denied(denied.to_string()),
    }
}

/// What the caller showed: a token in a header or a parameter, or a name and a password in parameters.
pub(super) fn shown(ask: &Ask) -> Shown {
    let token = bearer(&ask.headers).or_else(|| header_text(&ask.headers, TOKEN_HEADER));
    let token = token.or_else(|| ask.asked.access_token());
    Shown {
        operator: ask.shared.admin_token.is_some() && admin::allows(&ask.shared, &ask.headers, ask.caller),
        token: token.map(str::to_owned),
        credentials: ask.asked.credentials(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    header_text(headers, header::AUTHORIZATION.as_str())?.strip_prefix("Bearer ")
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
}

fn need(ask: &Ask) -> Need {
    if let Call::Config(_) = ask.route.call
        && super::config::upstream(ask).is_some()
    {
        let Whole { method, uri, .. } = &ask.whole;
        let read = *method == Method::GET;
        return upstream::rule::http(read, uri.path(), |name| ask.asked.value(&[name]));
    }
    match ask.route.right {
        Right::Open => Need::Nothing,
        Right::Look => Need::Somebody,
        Right::Read => Need::Resource(resource(ask), Action::Read),
        Right::Write => Need::Resource(resource(ask), Action::Write),
        Right::Survey => Need::Resource(survey(ask), Action::Read),
        Right::Govern | Right::Admin => Need::Everything,
    }
}

/// The named service; one without a name, or with a wrong one, stands for all of its group.
fn resource(ask: &Ask) -> String {
    let service = match ask.route.call {
        Call::Instance(InstanceCall::Statuses) => super::instance::by_key(ask),
        _ => ask.service(),
    };
    service.map_or_else(
        |_| {
            let part = |name, default| ask.asked.value(&[name]).unwrap_or(default);
            group_resource(part("namespaceId", "public"), part("groupName", "DEFAULT_GROUP"))
        },
        |service| service_resource(&service),
    )
}

/// The resource that a service is, in permissions.
pub(in crate::ingress) fn service_resource(service: &ServiceKey) -> String {
    format!("{}:{}:naming/{}", service.namespace(), service.group(), service.service())
}

/// All services of a group.
pub(in crate::ingress) fn group_resource(namespace: &str, group: &str) -> String {
    format!("{namespace}:{group}:naming/*")
}

/// All services of the namespace that is named; some calls mean all namespaces by none.
fn survey(ask: &Ask) -> String {
    let all_by_none = match ask.route.call {
        Call::Service(ServiceCall::AllNames) | Call::Page(PageCall::Targets) => "*",
        _ => "public",
    };
    group_resource(ask.asked.value(&["namespaceId"]).unwrap_or(all_by_none), "*")
}
