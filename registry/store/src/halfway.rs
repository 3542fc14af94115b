//! Changes of voters that stopped halfway: the leader died between the two entries that make one, or a call gave up there.
//!
//! Between them every decision needs a majority of the old voters and one of the new (Ongaro, "Consensus: Bridging Theory and
//! Practice", 4.3): safe, and worse off than before or after. openraft writes the second entry for whoever asked for
//! the change, and for nobody else; here whoever leads does.
//!
//! Invariant: a group with a leader does not stay halfway.

use std::{collections::BTreeSet, time::Duration};

use openraft::{ChangeMembers, async_runtime::watch::WatchReceiver};

use crate::{failure::ProposeError, store::Store};

/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Store {
    /// Whether voters are being changed: both the old ones and the new ones must agree to everything.
    pub fn halfway(&self) -> bool {
        let metrics = self.inner.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_joint_config().len() > 1
    }

    /// Ends what stopped halfway, whenever this member leads.
    pub(crate) async fn end_changes(self) {
        let mut metrics = self.inner.raft.server_metrics();
        loop {
            // Marks what is there as seen, before it is looked at.
            metrics.borrow_and_update();
            metrics::gauge!("landbridge_store_halfway").set(f64::from(u8::from(self.halfway())));
            if self.standing().borrow().leading && self.halfway() {
                if self.end_change().await == Err(ProposeError::Stopped) {
                    return;
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            } else if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends a change, unless whoever began it does.
    async fn end_change(&self) -> Result<(), ProposeError> {
        let _turn = self.inner.changing.lock().await;
        if !self.halfway() {
            return Ok(());
        }
        let ended = self.change(ChangeMembers::AddVoterIds(BTreeSet::new()));
        let ended = tokio::time::timeout(self.inner.patience(), ended).await;
        ended.unwrap_or(Err(ProposeError::Unavailable(
            "no majority of the old and of the new voters answers",
        )))?;
        tracing::info!(event = "raft_change_ended", "a change of voters had stopped halfway");
        Ok(())
    }
}
