//! Watches SDK connections once a second: retries pushes, asks the silent, closes the dead (Nacos 2.5 `ConnectionManager`).

use std::{sync::Arc, time::Duration};

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

/// Looks until the shutdown begins.
pub(crate) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = look.tick() => look_once(&shared),
            () = shutdown.wait() => return,
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
        retried += session.outbox().retry(session.now_ms());
        subscriptions += session.outbox().subscriptions();
    }
    names::retried(retried);
    names::connections(shared.sessions.count());
    gauge!(names::SUBSCRIPTIONS).set(subscriptions as f64);
    gauge!(names::CORE_QUEUE).set(shared.orders.waiting() as f64);
    shared.udp.sweep(&shared.window);
}
