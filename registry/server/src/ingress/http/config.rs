//! What SDKs ask a config service. There is none here: a config does not exist, and nothing ever changes; or a Nacos is asked.

use std::time::Duration;

use axum::{
    http::{StatusCode, Uri},
    response::IntoResponse,
};
use landbridge_wire::nacos::{codes, http::answer};

use super::{
    CONTEXT,
    ask::{Ask, Whole},
    reply::{Answer, Said},
    routes::ConfigCall,
};
use crate::{
    ingress::status::{self, Refused},
    upstream::{Call, Upstream},
};

/// How long a client's question for changes hangs at least and at most, milliseconds (Nacos 2.5 `LongPollingService`).
const HANG_MIN_MS: u64 = 10_000;
const HANG_MAX_MS: u64 = 29_500;

/// How much sooner than a client wants its answer leaves.
const HANG_MARGIN_MS: u64 = 500;

/// The part of `limits.request_timeout_ms` that a hanging question may use, so that its answer is ours.
const HANG_SHARE: u64 = 2;

/// Where configs are, below the context path; the registries for AI stand in the same table and are nobody's.
const OF_CONFIGS: [&str; 5] = ["/v1/cs", "/v2/cs", "/v3/client/cs", "/v3/admin/cs", "/v3/console/cs"];

/// The Nacos that a call is passed to, if it is about configs and there is one.
pub(super) fn upstream(ask: &Ask) -> Option<&Upstream> {
    let path = ask.whole.uri.path();
    let below =
        |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ask.shared.upstream.as_ref().filter(|_| OF_CONFIGS.iter().any(|base| below(base)))
}

/// Passes a call whole.
async fn pass(ask: &Ask, upstream: &Upstream) -> Answer {
    let Whole { method, uri, body } = &ask.whole;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri: Uri = format!("{CONTEXT}{}{query}", uri.path())
        .parse()
        .map_err(|_| Refused::invalid("the path cannot be passed on"))?;
    let call = Call { method, uri: &uri, headers: &ask.headers, body: body.clone(), caller: ask.caller };
    let answer = upstream.pass(call).await.map_err(|missed| status::missed(&missed))?;
    Ok(Said::Whole(Box::new(answer)))
}

pub(super) async fn answer(ask: &Ask, call: ConfigCall) -> Answer {
    if let Some(upstream) = upstream(ask) {
        return pass(ask, upstream).await;
    }
    match call {
        ConfigCall::Get => {
            Ok(Said::Whole(Box::new((StatusCode::NOT_FOUND, answer::CONFIG_NOT_FOUND).into_response())))
        }
        ConfigCall::GetResult => Err(Refused::missing(codes::RESULT_NOT_FOUND, codes::CONFIG_NOT_FOUND_TEXT)),
        ConfigCall::Listen => listen(ask).await,
        ConfigCall::Unserved => Err(Refused::unserved(
            "this registry keeps no configs and no AI registry: point the config client at a Nacos",
        )),
    }
}

/// Hangs as long as the client allows and tells that nothing changed; an answer at once would make Node ask in a loop.
async fn listen(ask: &Ask) -> Answer {
    let header = |name: &str| ask.headers.get(name).and_then(|value| value.to_str().ok());
    let at_once =
        header("Long-Pulling-Timeout-No-Hangup").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !at_once {
        let wanted =
            header("Long-Pulling-Timeout").and_then(|value| value.parse().ok()).unwrap_or(30_000_u64);
        let longest = (ask.shared.limits.request_timeout_ms
            - ask.shared.limits.request_timeout_ms / HANG_SHARE / 10)
            .min(HANG_MAX_MS);
        let hang_ms = wanted.saturating_sub(HANG_MARGIN_MS).max(HANG_MIN_MS).min(longest);
        tokio::time::sleep(Duration::from_millis(hang_ms)).await;
    }
    Ok(Said::Text(String::new()))
}
