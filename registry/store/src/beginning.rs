//! How a group begins to move: the first voters, the first leader, the era; and what runs along for as long as it lives.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use landbridge_registry_core::Command;
use openraft::{
    EmptyNode, ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{InitializeError, RaftError},
};

use crate::{
    failure::{ProposeError, StoreError},
    opening::ALONE_WITHIN,
    order,
    store::{Standing, Store, member},
};

/// Between two tries of what needs other members.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Store {
    /// Sets the group in motion. A lone member leads and has an era when this returns; others go on in the background.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        let begun = self.inner.raft.is_initialized().await.map_err(stopped)?;
        let me = self.inner.config.member;
        let alone = if begun {
            self.inner.raft.voter_ids().eq([u64::from(me.0)])
        } else {
            self.inner.config.voters.keys().eq([&me])
        };
        if alone {
            self.lead_alone(begun).await?;
        }
        self.inner.raft.with_state_machine(|machine| Box::pin(machine.tell())).await.map_err(stopped)?;
        let admitted = *self.inner.admitted.borrow();
        metrics::gauge!("landbridge_store_admitted").set(f64::from(u8::from(admitted)));
        self.spawn(Self::follow_standing);
        self.spawn(Self::say_caught_up);
        self.spawn(Self::keep_room);
        self.spawn(Self::end_changes);
        if !alone {
            self.spawn(Self::found_when_leading);
        }
        if self.inner.config.voters.len() > 1 {
            self.spawn(Self::belong);
        }
        Ok(())
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: impl FnOnce(Self) -> F) {
        let task = task(self.clone());
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    async fn lead_alone(&self, begun: bool) -> Result<(), StoreError> {
        if !begun {
            self.initialize().await?;
        }
        self.inner.raft.trigger().elect(false).await.map_err(stopped)?;
        let leading = self.inner.raft.wait(Some(ALONE_WITHIN)).state(ServerState::Leader, "alone").await;
        leading.map_err(stopped)?;
        if !*self.inner.founded.borrow() {
            self.found().await.map_err(stopped)?;
        }
        Ok(())
    }

    pub(crate) async fn initialize(&self) -> Result<(), StoreError> {
        let voters = self.inner.config.voters.keys().map(|member| (u64::from(member.0), EmptyNode {}));
        match self.inner.raft.initialize(voters.collect::<BTreeMap<_, _>>()).await {
            // Another member was faster and its entries have come here already.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(stopped(error)),
        }
    }

    async fn found(&self) -> Result<(), ProposeError> {
        let order = order::encode(&Command::Found { era: self.inner.config.era });
        self.propose_here(order).await.map(|_| ())
    }

    /// Gives the group its era, if this member is the one to lead it first.
    async fn found_when_leading(self) {
        let (mut founded, mut standing) = (self.inner.founded.clone(), self.standing());
        while !*founded.borrow_and_update() {
            let leading = standing.borrow_and_update().leading;
            if leading && self.found().await.is_ok() {
                return;
            }
            tokio::select! {
                changed = founded.changed() => if changed.is_err() { return },
                changed = standing.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN_AFTER), if leading => {}
            }
        }
    }

    async fn follow_standing(self) {
        let mut metrics = self.inner.raft.server_metrics();
        loop {
            let (now, alone) = {
                let metrics = metrics.borrow_and_update();
                let leader = metrics.current_leader.and_then(member);
                let leading = metrics.state == ServerState::Leader;
                let members = metrics.membership_config.membership().nodes();
                let alone = members.map(|(id, _)| *id).eq([metrics.id]);
                (Standing { leader, term: metrics.vote.leader_id.term, leading }, alone)
            };
            // Who leads nobody but itself has nobody to send heartbeats to: it sleeps until it is asked.
            self.inner.raft.runtime_config().tick(!(now.leading && alone));
            self.inner.standing.send_if_modified(|standing| {
                let changed = *standing != now;
                *standing = now;
                changed
            });
            if metrics.changed().await.is_err() {
                // Aborted first when the store is shut down, so this is the group's own end.
                return self.inner.failed.set(StoreError::Stopped("its core ended".to_owned()));
            }
        }
    }

    /// Says once, behind everything that was applied by then, that nothing from before the start is missing.
    async fn say_caught_up(self) {
        let mut founded = self.inner.founded.clone();
        if founded.wait_for(|founded| *founded).await.is_err() {
            return;
        }
        while let Err(error) = self.read_index().await {
            if error == ProposeError::Stopped {
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        // A store that has stopped has said why elsewhere.
        let _ = self.inner.raft.with_state_machine(|machine| Box::pin(machine.tell_caught_up())).await;
    }
}

fn stopped(error: impl std::fmt::Display) -> StoreError {
    StoreError::Stopped(error.to_string())
}
