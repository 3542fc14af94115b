//! Watches SDK connections once a second: retries pushes, asks the silent, closes the dead (Nacos 2.5 `ConnectionManager`).

use std::{sync::Arc, time::Duration};

use landbridge_model::Region;
use landbridge_runtime::shutdown::Shutdown;
use metrics::gauge;

use crate::{
    answer,
    member::Shared,
    metrics as names,
    session::{SILENCE_ASK_MS, SILENCE_CLOSE_MS},
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Every so many looks it counts what is shown, which takes a step for each service.
const COUNT_EVERY: u64 = 5;

/// Looks until the shutdown begins.
pub(crate) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    for looks in 0_u64.. {
        tokio::select! {
            _ = look.tick() => look_once(&shared),
            () = shutdown.wait() => return,
        }
        if looks.is_multiple_of(COUNT_EVERY) {
            count_shown(&shared);
        }
    }
}

fn look_once(shared: &Shared) {
    let mut subscriptions = 0;
    let mut retried = 0;
    for session in shared.sessions.all() {
        let silent_ms = session.silent_ms();
        if silent_ms >= SILENCE_CLOSE_MS {
            names::connection_closed("silent");
            session.close();
        } else if silent_ms >= SILENCE_ASK_MS
            && session.ask()
            && !session.outbox().control(answer::detection())
        {
            names::connection_closed("control_full");
            session.close();
        }
        if session.overstays() {
            names::connection_closed("sent_away");
            session.close();
        }
        retried += session.outbox().retry(session.now_ms());
        subscriptions += session.outbox().subscriptions();
    }
    names::retried(retried);
    shared.sessions.pushes_retried(retried as u64);
    names::connections(shared.sessions.count());
    gauge!(names::FUZZY_WATCHES).set(shared.fuzzy.count() as f64);
    gauge!(names::SUBSCRIPTIONS).set(subscriptions as f64);
    gauge!(names::RAFT_LEADER).set(f64::from(u8::from(shared.store.leading(LOOK_EVERY).is_some())));
    gauge!(names::CORE_QUEUE).set(shared.orders.waiting() as f64);
    shared.udp.sweep(&shared.window);
    if shared.desk().book().has_users() {
        shared.auth.bootstrap().end();
    }
}

/// Tells what is shown of each origin; one of which nothing is left is told as 0.
fn count_shown(shared: &Shared) {
    let census = shared.window.census();
    let of = |origin: &Option<Region>| census.get(origin).copied().unwrap_or_default();
    names::shown(&shared.region, of(&None));
    for origin in shared.state.sight().origins.iter().map(|status| status.region.clone()) {
        if origin != shared.region {
            names::shown(&origin, of(&Some(origin.clone())));
        }
    }
}
