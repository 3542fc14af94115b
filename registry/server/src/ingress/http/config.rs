//! What SDKs ask a config service at start. There is none here: a config does not exist, and nothing ever changes.

use std::time::Duration;

use axum::{http::StatusCode, response::IntoResponse};
use landbridge_wire::nacos::{codes, http::answer};

use super::{
    ask::Ask,
    reply::{Answer, Said},
    routes::ConfigCall,
};
use crate::ingress::status::Refused;

/// How long a client's question for changes hangs at least and at most, milliseconds (Nacos 2.5 `LongPollingService`).
const HANG_MIN_MS: u64 = 10_000;
const HANG_MAX_MS: u64 = 29_500;

/// How much sooner than a client wants its answer leaves.
const HANG_MARGIN_MS: u64 = 500;

/// The part of `limits.request_timeout_ms` that a hanging question may use, so that its answer is ours.
const HANG_SHARE: u64 = 2;

pub(super) async fn answer(ask: &Ask, call: ConfigCall) -> Answer {
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
