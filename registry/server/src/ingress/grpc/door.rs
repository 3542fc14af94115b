//! What a message needs and what its headers show: the rule of each type, applied before its handler sees anything.

use landbridge_wire::nacos::{
    codes,
    grpc::{Payload, Request, answer as say},
    http::Credentials,
};

use crate::{
    auth::{self, Action, Denied, Need, Principal, Shown},
    ingress::http::door::{group_resource, service_resource},
    member::Shared,
};

/// Lets a caller in, or answers it why not.
pub(super) async fn admit(
    shared: &Shared,
    payload: &Payload,
    need: impl FnOnce() -> Need,
) -> Result<Principal, Payload> {
    if !shared.auth_enabled() {
        return Ok(Principal::Anyone);
    }
    let desk = shared.desk();
    let admitted = shared.auth.admit(&shown(payload), &need(), desk.book(), shared.now_s()).await;
    admitted.map_err(|denied| {
        auth::count("grpc", &denied);
        let code = match denied {
            Denied::Busy => codes::OVER_THRESHOLD,
            Denied::Stranger | Denied::Worthless(_) | Denied::NoRight => codes::NO_RIGHT,
        };
        say::refused(payload.kind(), code, &denied.to_string())
    })
}

/// Headers hold a token, or a name and a password.
fn shown(payload: &Payload) -> Shown {
    let header = |name: &str| payload.header(name).filter(|text| !text.is_empty());
    let bearer = header("Authorization").and_then(|text| text.strip_prefix("Bearer "));
    let credentials = header("username").zip(header("password"));
    Shown {
        token: bearer.or_else(|| header("accessToken")).map(str::to_owned),
        credentials: credentials
            .map(|(name, password)| Credentials { username: name.into(), password: password.into() }),
        operator: false,
    }
}

/// What a naming request needs.
pub(super) fn need(request: &Request) -> Need {
    let of = |service, action| Need::Resource(service_resource(service), action);
    match request {
        Request::ServerCheck
        | Request::HealthCheck
        | Request::ConnectionSetup(_)
        | Request::Ack(_)
        | Request::ConfigQuery
        | Request::ConfigWrite
        | Request::ConfigListen
        | Request::Unknown(_) => Need::Nothing,
        Request::Instance { service, .. }
        | Request::BatchInstance { service, .. }
        | Request::PersistentInstance { service, .. } => of(service, Action::Write),
        Request::ServiceQuery(query) => of(&query.service, Action::Read),
        Request::Subscribe(subscribe) => of(&subscribe.service, Action::Read),
        Request::FuzzyWatch(watch) => {
            Need::Resource(group_resource(watch.pattern.namespace().as_str(), "*"), Action::Read)
        }
        Request::ServiceList(query) => {
            Need::Resource(group_resource(query.namespace.as_str(), query.group.as_str()), Action::Read)
        }
    }
}
