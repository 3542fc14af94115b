//! Asks the gRPC clients of a member that leaves to go to another one, a few at a time (R13).

use std::{sync::Arc, time::Duration};

use landbridge_runtime::shutdown::Shutdown;
use landbridge_wire::nacos::grpc;

use crate::session::Sessions;

/// All clients are asked within this time, so that the other members are not met by all of them at once.
const SPREAD: Duration = Duration::from_secs(3);

/// Between two handfuls.
const PAUSE: Duration = Duration::from_millis(100);

/// The request id of every such message; nobody waits for its answer.
const FAREWELL_ID: u64 = 0;

/// Asks everybody who is there, then whoever came meanwhile, until the process ends.
pub(crate) async fn say(sessions: Arc<Sessions>, shutdown: Shutdown) {
    let frame = grpc::answer::connect_reset(FAREWELL_ID, None).framed();
    let mut asked = rustc_hash::FxHashSet::default();
    let handfuls = usize::try_from(SPREAD.as_millis() / PAUSE.as_millis()).unwrap_or(1);
    let handful = sessions.count().div_ceil(handfuls).max(1);
    loop {
        let waiting = sessions.all().into_iter().filter(|session| !asked.contains(&session.number()));
        for session in waiting.take(handful).collect::<Vec<_>>() {
            asked.insert(session.number());
            // A client whose outbox is full reads nothing, and hears of the end by the end.
            let _ = session.outbox().control(frame.clone());
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
