//! The demo's sample service: says where it is, and registers and beats the way a Nacos 1.x client does.

use std::net::SocketAddr;
use std::time::Duration;

use axum::{Json, Router};
use http::Method;
use landbridge_runtime::http::{HttpLimits, Serving, serve};
use landbridge_runtime::listen::listen;
use landbridge_runtime::shutdown::Shutdown;
use serde_json::{Value, json};

use crate::arguments::SampleWish;
use crate::call::Caller;
use crate::ending::Trouble;

/// Nacos clients beat this often.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// A registry that does not answer is asked again after this.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A registry has so long to answer.
const ANSWER_MS: u64 = 3_000;

/// At the end open answers and farewells get so long.
const FINISH_MS: u64 = 5_000;

/// What Nacos answers to a beat of an instance it does not know.
const UNKNOWN_INSTANCE: u64 = 20_404;

/// Runs the instances until the process is told to end, then takes them away again.
pub(crate) fn run(wish: &SampleWish) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::failed(format!("cannot start: {error}")))?;
    runtime.block_on(offer(wish)).map_err(Trouble::failed)
}

async fn offer(wish: &SampleWish) -> Result<(), String> {
    let shutdown = Shutdown::on_signals().map_err(|error| format!("signals cannot be heard: {error}"))?;
    let caller = Caller::new(&wish.registry.to_string(), None, ANSWER_MS);
    for offset in 0..wish.count {
        let address = SocketAddr::from(([127, 0, 0, 1], wish.port + offset));
        let listener = listen(address, "sample")?;
        let answer = json!({ "region": wish.region, "zone": wish.zone, "port": address.port() });
        let app = Router::new().fallback(move || std::future::ready(Json(answer.clone())));
        let limits = HttpLimits::recommended();
        let serving = Serving { listener, what: "sample", tls: None, limits, shutdown: shutdown.clone() };
        shutdown.spawn(serve(serving, app));
        for service in &wish.services {
            let instance = Registrant {
                caller: caller.clone(),
                named: format!("serviceName={service}&ip=127.0.0.1&port={}&ephemeral=true", address.port()),
                zone: wish.zone.clone(),
            };
            shutdown.spawn(instance.keep(shutdown.clone()));
        }
    }
    shutdown.wait().await;
    shutdown.finish(FINISH_MS).await.map_err(|left| format!("{} tasks did not end", left.tasks))
}

/// What a registry said.
enum Said {
    Fine,
    Unknown,
}

/// One registered address.
struct Registrant {
    caller: Caller,
    named: String,
    zone: String,
}

impl Registrant {
    /// Registers, beats, registers again when the registry says so, and deregisters at the end.
    async fn keep(self, shutdown: Shutdown) {
        let mut known = false;
        while !shutdown.begun() {
            let said = if known { self.beat().await } else { self.register().await };
            let wait = match said {
                Some(Said::Fine) => {
                    known = true;
                    BEAT_EVERY
                }
                Some(Said::Unknown) => {
                    known = false;
                    Duration::ZERO
                }
                None => RETRY_AFTER,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.wait() => {}
            }
        }
        self.ask(Method::DELETE, "instance", "").await;
    }

    async fn register(&self) -> Option<Said> {
        let metadata = format!("&metadata=%7B%22zone%22%3A%22{}%22%7D", self.zone);
        self.ask(Method::POST, "instance", &metadata).await.map(|_| Said::Fine)
    }

    async fn beat(&self) -> Option<Said> {
        let text = self.ask(Method::PUT, "instance/beat", "").await?;
        let code = serde_json::from_str::<Value>(&text).ok()?.get("code")?.as_u64()?;
        Some(if code == UNKNOWN_INSTANCE { Said::Unknown } else { Said::Fine })
    }

    /// Asks the registry; none unless it answered with success.
    async fn ask(&self, method: Method, path: &str, more: &str) -> Option<String> {
        let path = format!("/nacos/v1/ns/{path}?{}{more}", self.named);
        let (status, text) = self.caller.text(method, &path).await.ok()?;
        status.is_success().then_some(text)
    }
}
